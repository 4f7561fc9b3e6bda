"""Context and memory compete, and cooperate (Singh et al. 2025, "Strategy coopetition explains the emergence and
transience of in-context learning", arXiv 2503.05631).

    python launch/run.py --config=configs/sequences/coopetition.py --workdir=out/coopetition

A sequence is A a B b and A, each class under its own label, so that both strategies answer: copy the label of the same
class (in-context learning), or know which of the two labels is its own (context-constrained in-weight learning, CIWL).
Two classes with each other's label ("flip") tell them apart. The network is the paper's, two layers of attention alone.
It trains on 1,024 classes of 20 items each instead of 12,800, at a rate of 1e-3 instead of 1e-5 and on a hundredth of
the sequences; `paper` is as theirs. At this scale memory is faster than the induction head, which never forms: what
wins is what the paper says, and what comes first is not. With 12,800 classes (one seed, 8,000 steps) memory is first
too, and a head forms beside it. Words: see common.py.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import NETWORK, Scale, of
from configs.words import words
from icl_sim.predictors.networks import published
from icl_sim.studies.claims import Smallest, above, below
from icl_sim.studies.figures import STEP, Lines, Quantity
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.presets import singh_coopetition

EXEMPLARS = "task.exemplars"
ANY, MATCHED = "any", "matched"
SCALES = {
    "reference": Scale(steps=6_000, seeds=3, points=30),
    "quick": Scale(steps=2_000, seeds=1, points=15),
    "paper": Scale(steps=2_000_000, seeds=3, points=100),
}


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


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale, full = SCALES[chosen["scale"]], chosen["scale"] == "paper"
    task = singh_coopetition() if full else singh_coopetition(1024, Clusters(dim=64, noise=0.3, exemplars=20))
    study = icl.Study(
        name=f"Coopetition ({chosen['scale']})",
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
    return icl.config_of(study)
