"""Algorithm 1 of Chan et al. 2025, simulated: a gate that learns online whether to trust memory or the context.

python launch/run.py --config=configs/icl_iwl/algorithm1.py --workdir=out/algorithm1

20,000 sequences, one after the other, of 5 common and 5 rare classes and L = 4, some of whose labels are irrelevant.
The switch to memory happens at a number of exposures of a class, so that rare classes switch later by the ratio of the
priors, 9. The published numbers are of a simulation in numpy, medians of 5 seeds (docs/theory.md).
"""

import math

import icl_sim as icl
from configs.words import words
from icl_sim.studies.claims import Claim, Ratio, Value, above, below, near
from icl_sim.studies.figures import Lines, Quantity
from icl_sim.tasks import ClassMixture, Symbols
from icl_sim.theory import OnlineGated
from icl_sim.theory.switch import mixed_loss, switch_exposures, switch_steps

SOURCE = "Algorithm 1 (Chan et al. 2025), simulated in numpy"
LENGTH, BATCH, ROUNDS = 4, 100, 20_000
PRIOR_RATIO = 9.0  # .18 / .02
NAMES = {"high": "Common", "low": "Rare"}
SOFTMAX, UNIFORM = "softmax", "uniform"
PREDICTORS = {SOFTMAX: OnlineGated(), UNIFORM: OnlineGated(temperatures=(math.inf,))}
# (h, p_relevant, matches, label noise) -> N_x of common and of rare classes at the switch.
PUBLISHED = {
    (SOFTMAX, 1.0, 2, 0.0): (1694.0, None),
    (UNIFORM, 1.0, 2, 0.0): (15.0, 15.0),
    (SOFTMAX, 0.9, 2, 0.0): (31.0, 34.0),
    (SOFTMAX, 1.0, 2, 0.1): (83.0, 80.0),
}
SCALES = {"paper": 40, "quick": 5}  # seeds


def get_config(arg=""):
    seeds = SCALES[words(arg, {"scale": SCALES})["scale"]]
    study = icl.Study(
        name="Algorithm 1",
        description="Tabular g with add-1/2 counts, h copies labels by similarity, the gate is Hedge; 20,000 rounds.",
        task=ClassMixture(inputs=Symbols(), context_length=LENGTH, p_relevant=1.0),
        predictors=PREDICTORS,
        training=icl.Training(steps=ROUNDS // BATCH, batch_size=BATCH),
        evaluation=icl.Evaluation(sequences=100, points=30),
        sweep=icl.product(
            {
                "task.p_relevant": (0.9, 1.0),
                "task.num_relevant": (1, 2, 3, 4),
                "task.label_noise": (0.0, 0.1),
                "seed": range(seeds),
            }
        ),
        headline=("icl_error_low", "iwl_error_low"),
        claims=tuple(_claims()),
        figures=(
            Lines(
                name="gate",
                title="Gate: trust in memory",
                quantities=(
                    Quantity("gate_high", "online", "Common classes"),
                    Quantity("gate_low", "online", "Rare classes"),
                ),
                x="step",
                columns="task.num_relevant",
                where={"task.p_relevant": 1.0, "task.label_noise": 0.0},
            ),
            Lines(
                name="regret",
                title="Regret of the mixture against the better of g and h for every class, and its bound",
                quantities=(Quantity("regret", "online"), Quantity("regret_bound", "online", "its bound")),
                x="step",
                columns="task.label_noise",
                where={"task.p_relevant": 0.9, "task.num_relevant": 2},
            ),
        ),
    )
    return icl.config_of(study)


def predicted(h, p_relevant, matches):
    """N_x at the switch without label noise, from p_relevant and the loss of h on a context with so many matches."""
    weight = 1.0 if h == UNIFORM else math.exp(-4.0)
    relevant = math.log1p((LENGTH - matches) * weight / matches)
    in_context_loss = mixed_loss(p_relevant, relevant, -math.log(PREDICTORS[h].floor))
    return float(switch_exposures(in_context_loss, ClassMixture().num_classes))


def _claims():
    for h, p_relevant, matches, noise in PUBLISHED:
        if noise == 0.0:
            exposures = predicted(h, p_relevant, matches)
            where = {"task.p_relevant": p_relevant, "task.num_relevant": matches, "task.label_noise": noise}
            for name, published in (("exposures", exposures), ("time", float(switch_steps(exposures, 0.18, 1)))):
                yield Claim(
                    id=f"predicted.{name}.{h}.p={p_relevant:g}.matches={matches}",
                    statement=f"The {name} at which common classes switch, from p_relevant and the loss of h alone.",
                    source="icl_sim.theory.switch",
                    measure=Value(predictor=h, metric=f"switch_{name}_high", eval_set="online", where=where),
                    condition=near(published, (0.02 if p_relevant == 1 and name == "exposures" else 0.4) * published),
                    published=published,
                )
    for (h, p_relevant, matches, noise), counts in PUBLISHED.items():
        where = {"task.p_relevant": p_relevant, "task.num_relevant": matches, "task.label_noise": noise}
        label = f"{h}.p={p_relevant:g}.matches={matches}.noise={noise:g}"

        def value(metric, h=h, where=where):
            return Value(predictor=h, metric=metric, eval_set="online", where=where)

        for group, published in zip(("high", "low"), counts, strict=True):
            if published is not None:
                yield Claim(
                    id=f"exposures.{group}.{label}",
                    statement=f"{NAMES[group]} classes switch to memory at N_x = {published:g}.",
                    source=SOURCE,
                    measure=value(f"switch_exposures_{group}"),
                    condition=near(published, 0.35 * published if p_relevant < 1 or noise else 0.02 * published),
                    published=published,
                )
        if counts[1] is not None:
            for name, published, tolerance in (("exposures", 1.0, 0.35), ("time", PRIOR_RATIO, 3.5)):
                yield Claim(
                    id=f"ratio.{name}.{label}",
                    statement=f"The {name} at the switch: rare over common classes.",
                    source=SOURCE,
                    measure=Ratio(value(f"switch_{name}_low"), value(f"switch_{name}_high")),
                    condition=near(published, tolerance),
                    published=published,
                )
    for group in ("high", "low"):
        where = {"task.p_relevant": 1.0, "task.num_relevant": LENGTH, "task.label_noise": 0.0}
        yield Claim(
            id=f"persistent.{group}",
            statement="Where every label of the context is right, the gate never turns to memory.",
            source=SOURCE,
            measure=Value(predictor=SOFTMAX, metric=f"gate_{group}", eval_set="online", where=where),
            condition=below(0.5),
            published="never",
        )
    where = {
        "task.p_relevant": 1.0,
        "task.num_relevant": 2,
        "task.label_noise": 0.0,
        "training.steps": ROUNDS // BATCH,
        "training.batch_size": BATCH,
    }
    for name, metric, statement, condition, published in (
        (
            "not_yet.low",
            "gate_low",
            "Rare classes with two of four labels right have not switched after 20,000 rounds.",
            below(0.5),
            "not yet",
        ),
        ("switched.high", "gate_high", "... and common classes have.", above(0.5), "1694"),
    ):
        yield Claim(
            id=name,
            statement=statement,
            source=SOURCE,
            measure=Value(predictor=SOFTMAX, metric=metric, eval_set="online", where=where),
            condition=condition,
            published=published,
        )
