"""The switch from context to memory: predicted from g and h, measured on networks that are trained on everything.

python launch/run.py --config=configs/icl_iwl/switch.py:quick --workdir=out/switch

S0 with fresh sequences in every step. Theory says that a learner turns to memory where the in-weight predictor g has
lost less than the in-context predictor h on the class so far, which takes equal exposures N_x of common and rare
classes, so that rare ones switch later by the ratio of the priors, 9. Predicted here are the steps at which the summed
losses of a trained g fall below those of h on contexts as the training has them; measured are those at which the
preference (`icl_sim.metrics.preference`) of a network falls below 0, and the exposures that training counted until
then. The networks are the transformer, the gated mixture trained end to end, and the mixture trained as in Algorithm 1:
g and h on their own losses, under a gate that knows the query alone.
"""

import dataclasses
import math

import icl_sim as icl
from configs.words import words
from icl_sim.predictors import Gated, InWeightMLP, KernelCopy, Transformer
from icl_sim.studies.claims import At, Claim, Crossing, Ratio, Value, near
from icl_sim.studies.figures import Lines, Mark, Quantity
from icl_sim.tasks import ClassMixture
from icl_sim.theory.switch import mixed_loss, switch_exposures, switch_steps

SOURCE = "Theory of Chan et al. 2025 (docs/theory.md)"
GROUPS = {"high": "common", "low": "rare"}
TASK, H, TRAINING = ClassMixture(), KernelCopy(), icl.Training()
SCALES = {"paper": (5, 30_000), "quick": (3, 10_000)}  # seeds, steps
MIXTURES = ("algorithm1", "gated", "transformer")


def get_config(arg=""):
    seeds, steps = SCALES[words(arg, {"scale": SCALES})["scale"]]
    study = icl.Study(
        name="Switch to memory",
        description="S0 online: where g overtakes h, and where networks turn from context to memory.",
        task=TASK,
        predictors={
            "transformer": Transformer(),
            "algorithm1": Gated(protocol="simultaneous", gate_sees="query"),
            "gated": Gated(),
            "in_weight": InWeightMLP(),
            "in_context": H,
        },
        training=dataclasses.replace(TRAINING, steps=steps),
        evaluation=icl.Evaluation(sequences=1000, points=40),
        sweep=icl.product({"seed": range(seeds)}),
        claims=tuple(_claims()),
        figures=(
            Lines(
                name="preference",
                title="Preference while training: 1 in-context, -1 in-weight",
                quantities=tuple(
                    Quantity(f"preference_{g}", label=f"Preference, {name}") for g, name in GROUPS.items()
                ),
                x="step",
                predictors=MIXTURES,
                marks=tuple(Mark(predicted(g), "g overtakes h", f"preference_{g}") for g in GROUPS),
            ),
            Lines(
                name="losses",
                title="Cross-entropy while training",
                quantities=tuple(
                    Quantity("cross_entropy", f"eval-default-{g}_prob", f"Cross-entropy, {name}")
                    for g, name in GROUPS.items()
                ),
                x="step",
            ),
        ),
    )
    return icl.config_of(study)


def predicted(group):
    g, h = (
        Value(predictor=name, metric="cross_entropy", eval_set=f"eval-default-{group}_prob")
        for name in ("in_weight", "in_context")
    )
    return Crossing(g, h, summed=True)


def tabular(group):
    """The step at which a table of counts would overtake copying, from prior, p_relevant and label noise alone."""
    # With one pair, a relevant context costs h nothing and an irrelevant one its floor.
    in_context_loss = mixed_loss(TASK.p_relevant, 0.0, -math.log(H.floor))
    exposures = switch_exposures(in_context_loss, TASK.num_classes, label_noise=TASK.label_noise)
    mass = TASK.p_high / TASK.num_high if group == "high" else (1 - TASK.p_high) / TASK.num_low
    return float(switch_steps(exposures, mass, TRAINING.batch_size))


def measured(predictor, group):
    return Crossing(Value(predictor=predictor, metric=f"preference_{group}"), 0.0)


def exposures(predictor, group, crossing):
    return At(Value(predictor=predictor, metric=f"exposures_{group}", eval_set="training"), crossing)


def _claims():
    shared = {"source": SOURCE, "min_steps": 10_000}
    for name, low, high in (
        ("g overtakes h", predicted("low"), predicted("high")),
        *((f"{mixture} turns to memory", measured(mixture, "low"), measured(mixture, "high")) for mixture in MIXTURES),
    ):
        who = "in_weight" if name.startswith("g ") else name.split()[0]
        yield Claim(
            id=f"time.{who}",
            statement=f"Where {name}, the steps of rare classes are those of common ones times the ratio of priors.",
            measure=Ratio(low, high),
            condition=near(9.0, 3.5),
            published=9.0,
            **shared,
        )
        yield Claim(
            id=f"exposures.{who}",
            statement=f"Where {name}, rare and common classes have been seen equally often.",
            measure=Ratio(exposures(who, "low", low), exposures(who, "high", high)),
            condition=near(1.0, 0.5),
            published=1.0,
            **shared,
        )
    for group, name in GROUPS.items():
        step = tabular(group)
        yield Claim(
            id=f"tabular.{group}",
            statement=f"A network overtakes h on {name} classes when a table of counts would, within a factor of 2.",
            measure=predicted(group),
            condition=near(1.25 * step, 0.75 * step),
            published=round(step, 1),
            **shared,
        )
    for mixture in MIXTURES:
        for group, name in GROUPS.items():
            yield Claim(
                id=f"predicted.{mixture}.{group}",
                statement=f"{mixture} turns to memory on {name} classes when g overtakes h, within a factor of 2.",
                measure=Ratio(measured(mixture, group), predicted(group)),
                condition=near(1.25, 0.75),
                published=1.0,
                **shared,
            )
