"""Context and memory compete, and cooperate (Singh et al. 2025, "Strategy coopetition explains the emergence and
transience of in-context learning", arXiv 2503.05631).

    python launch/run.py --config=configs/sequences/coopetition.py --workdir=out/coopetition

A sequence is A a B b and A, each class under its own label, so that both strategies answer: copy the label of the same
class (in-context learning), or know which of the two labels is its own (context-constrained in-weight learning, CIWL).
Two classes with each other's label ("flip") tell them apart. The network is the paper's, two layers of attention alone.
It trains on 1,024 classes of 20 items each instead of 12,800, at a rate of 1e-3 instead of 1e-5 and on a hundredth of
the sequences; `paper` is as theirs. At this scale memory is faster than the induction head, which never forms: what
wins is what the paper says, and what comes first is not. With 12,800 classes (one seed, 8,000 steps) memory is first
too, and a head forms beside it. Words: see common.py, and

    compete   the above; this is what runs without any word
    icl_only  what memory has built is of use to the context: after 1,000 steps on data that only memory answers, the
              network trains on data that only the context does, as a whole, or with its second layer and read-out
              as memory left them; beside it a network that sees these alone
    restart   the same, with the paper's data after those of memory; and without memory before, networks whose first or
              second layer stops after a tenth of training

In the last two parts classes share 32 labels, with which a head does form on 1,024 classes at times: in one of three
seeds within 4,000 steps (recurrent.py), in the others memory is first, and stays. A head that forms stays too, for as
long as we looked, 30,000 steps, whether items scatter by .1 or by .7; on 256 or 512 classes memory is first (one seed
each). So nothing fades that was there first. Neither part has a run of three seeds in docs/reference yet.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import NETWORK, Scale, of
from configs.words import words
from icl_sim.predictors import Frozen
from icl_sim.predictors.networks import published
from icl_sim.studies.claims import Ratio, Smallest, above, below
from icl_sim.studies.figures import STEP, Lines, Quantity
from icl_sim.tasks import Switched
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.presets import singh_ciwl, singh_coopetition, singh_icl

EXEMPLARS = "task.exemplars"
ANY, MATCHED = "any", "matched"
SCALES = {
    "reference": Scale(steps=6_000, seeds=3, points=30),
    "quick": Scale(steps=2_000, seeds=1, points=15),
    "paper": Scale(steps=2_000_000, seeds=3, points=100),
}
SWITCHED = {"reference": Scale(steps=4_000, seeds=3, points=30), "quick": Scale(steps=2_000, seeds=1, points=15)}
AFTER = 1_000
HELD, FIRST_HELD, SECOND_HELD = "second_from_memory", "first_held", "second_held"


claim = claims_of("Singh et al. 2025", min_steps=6_000)


def restricted(eval_set, exemplars=ANY):
    return of("restricted_error", eval_set, **{EXEMPLARS: exemplars})


CLAIMS = (
    claim(
        "rises",
        "In-context learning comes first: at some step fewer than a quarter of flipped labels are answered by memory.",
        Smallest(restricted("flip"), over="step"),
        below(0.25),
        "flip accuracy peaks after 4 million sequences",
    ),
    claim(
        "falls",
        "And goes: in the end nearly all flipped labels are answered by memory.",
        restricted("flip"),
        above(0.9),
        ".985",
    ),
    claim(
        "asymptote",
        "What wins is knowing the label among those of the context.",
        restricted("ciwl"),
        below(0.05),
        "error .013",
    ),
    claim(
        "not_memory",
        "It needs them there: without, a class is not named.",
        of("error", "iwl", **{EXEMPLARS: ANY}),
        above(0.9),
        "error 1.000",
    ),
    claim(
        "matched",
        "Where query and context show the same item, in-context learning stays: fewer than a quarter of flipped labels "
        "are answered by memory in the end.",
        restricted("flip", MATCHED),
        below(0.25),
        "persists",
    ),
)


switched = claims_of("Singh et al. 2025", min_steps=4_000)


def after(steps, metric, eval_set, predictor=NETWORK, *, until=float("inf")):
    """The smallest error from the end of so many steps on memory's data."""
    value = of(metric, eval_set, predictor, **{"task.after": steps})
    return Smallest(value, over="step", at_least=float(steps), at_most=until)


ICL_ONLY_CLAIMS = (
    switched(
        "reused",
        "With the second layer and the read-out that memory has built, and which no longer move, data that only the "
        "context can answer are learned sooner: after as many steps on them, 1,000, the error is less than half of "
        "that from scratch.",
        Ratio(
            after(AFTER, "error", "default", HELD, until=2.0 * AFTER),
            after(0, "error", "default", until=1.0 * AFTER),
        ),
        below(0.5),
        "fast, from checkpoints of 10 to 31 million sequences",
    ),
    switched(
        "trained",
        "So does the network as a whole.",
        Ratio(after(AFTER, "error", "default", until=2.0 * AFTER), after(0, "error", "default", until=1.0 * AFTER)),
        below(0.5),
    ),
    switched(
        "scratch",
        "In the end the network without memory before has learned them.",
        of("error", "default", **{"task.after": 0}),
        below(0.1),
    ),
)
RESTART_CLAIMS = (
    switched(
        "comes",
        "In-context learning comes, without memory before: at some step fewer than a quarter of flipped labels are "
        "answered by memory.",
        after(0, "restricted_error", "flip"),
        below(0.25),
        "flip accuracy peaks",
    ),
    switched(
        "restarted",
        "And after memory.",
        after(AFTER, "restricted_error", "flip"),
        below(0.25),
    ),
    switched(
        "first",
        "It needs the first layer: where that stops before, at no step are fewer than .4 answered by memory.",
        after(0, "restricted_error", "flip", FIRST_HELD),
        above(0.4),
    ),
    switched(
        "second",
        "And the second.",
        after(0, "restricted_error", "flip", SECOND_HELD),
        above(0.4),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"part": PARTS, "scale": SCALES})
    return icl.config_of(PARTS[chosen["part"]](chosen["scale"]))


def compete(scale_name):
    scale, full = SCALES[scale_name], scale_name == "paper"
    task = singh_coopetition() if full else singh_coopetition(1024, Clusters(dim=64, noise=0.3, exemplars=20))
    return icl.Study(
        name=f"Coopetition ({scale_name})",
        description="A a B b and A, every class under its own label; two layers of attention alone.",
        task=task,
        predictors={NETWORK: published.singh_coopetition()},
        training=icl.Training(steps=scale.steps, batch_size=32, learning_rate=1e-5 if full else 1e-3),
        evaluation=common.evaluation(scale),
        sweep=icl.product({EXEMPLARS: (ANY, MATCHED), "seed": range(scale.seeds)}),
        claims=CLAIMS,
        figures=(
            Lines(
                name="errors",
                title="Context against memory: errors among the two labels of the context",
                quantities=(
                    Quantity("restricted_error", "flip", "Labels flipped (right: context)"),
                    Quantity("restricted_error", "ciwl", "Label shown elsewhere (right: memory)"),
                    Quantity("error", "iwl", "Label not shown, of all labels (memory)"),
                    Quantity("restricted_error", "icl", "New classes (context)"),
                ),
                x=STEP,
                lines="quantity",
                columns=EXEMPLARS,
            ),
        ),
        headline=("flip_error", "ciwl_error"),
    )


def icl_only(scale_name):
    return switching(
        "only the context answers",
        scale_name,
        singh_icl,
        (HELD,),
        ICL_ONLY_CLAIMS,
        (Quantity("error", "default", "As in training"), Quantity("restricted_error", "icl", "New classes")),
    )


def restart(scale_name):
    return switching(
        "both answer",
        scale_name,
        singh_coopetition,
        (FIRST_HELD, SECOND_HELD),
        RESTART_CLAIMS,
        (
            Quantity("restricted_error", "flip", "Labels flipped (right: context)"),
            Quantity("restricted_error", "ciwl", "Label shown elsewhere (right: memory)"),
        ),
    )


def switching(what, scale_name, then, held, claims, quantities):
    """Training on memory's data, for 1,000 steps or none, and then on others."""
    if scale_name not in SWITCHED:
        raise ValueError(f"The part has no scale {scale_name!r}; allowed: {', '.join(SWITCHED)}.")
    scale, network = SWITCHED[scale_name], published.singh_coopetition()
    frozen = {
        HELD: Frozen(network=network, names=("blocks/1", "head"), after=AFTER / scale.steps),
        FIRST_HELD: Frozen(network=network, names=("blocks/0",), after=0.1),
        SECOND_HELD: Frozen(network=network, names=("blocks/1",), after=0.1),
    }
    return icl.Study(
        name=f"Coopetition, {what} ({scale_name})",
        description=f"Data that only memory answers, for {AFTER:,} steps or none, and then data that {what}.",
        task=Switched(first=common.few_labels(singh_ciwl), then=common.few_labels(then), after=AFTER),
        predictors={NETWORK: network, **{name: frozen[name] for name in held}},
        training=icl.Training(steps=scale.steps, batch_size=32, learning_rate=1e-3),
        evaluation=common.evaluation(scale),
        sweep=icl.product({"task.after": (0, AFTER), "seed": range(scale.seeds)}),
        claims=claims,
        figures=tuple(
            Lines(name=f"errors_{n}", title=q.label, quantities=(q,), x=STEP, lines="predictor", columns="task.after")
            for n, q in enumerate(quantities)
        ),
        headline=("icl_error",),
    )


PARTS = {"compete": compete, "icl_only": icl_only, "restart": restart}
