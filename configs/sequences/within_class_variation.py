"""Variation within classes makes in-context learning, and unmakes in-weight learning (Chan et al. 2022, "Data
distributional properties drive emergent in-context learning in transformers", arXiv 2205.05055; Reddy 2023, arXiv
2312.03002), on the data of Reddy 2023.

    python launch/run.py --config=configs/sequences/within_class_variation.py --workdir=out/within_class_variation

Items scatter around their class by epsilon times the distance between classes, anew at every occurrence; at 0 all items
of a class are one. Three of four sequences have bursts, four of 1,024 classes twice each. All levels run in one
program. Words: see common.py.
"""

from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import CIWL_RESTRICTED, ICL, ICL_RESTRICTED, IWL, Scale, of
from configs.words import words
from icl_sim.studies.claims import Difference, Trend, above
from icl_sim.tasks.sequences.presets import reddy

NOISE = "task.inputs.noise"
LEVELS = (0.0, 0.2, 0.4, 0.6)
SCALES = {"reference": Scale(steps=1_600, seeds=3, points=10), "quick": Scale(steps=1_600, seeds=1, points=8)}


claim = claims_of("Chan et al. 2022; Reddy 2023", min_steps=1_600)


def at(level, eval_set):
    return of("error", eval_set, **{NOISE: level})


CLAIMS = (
    claim(
        "icl",
        "The more items of a class vary, the more is learned in context: from epsilon 0 to .6 the error on new classes "
        "falls by more than .2.",
        Difference(at(LEVELS[0], "icl"), at(LEVELS[-1], "icl")),
        above(0.2),
    ),
    claim(
        "icl.trend",
        "It rises nowhere on the way (by more than .05).",
        Trend(of("error", "icl"), over=NOISE, rising=False),
        above(-0.05),
    ),
    claim(
        "iwl",
        "And the less in weights: the error on classes that the context does not show rises by more than .2.",
        Difference(at(LEVELS[-1], "iwl"), at(LEVELS[0], "iwl")),
        above(0.2),
    ),
    claim(
        "iwl.trend",
        "It falls nowhere on the way (by more than .05).",
        Trend(of("error", "iwl"), over=NOISE),
        above(-0.05),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    return common.swept(
        f"Variation within classes ({chosen['scale']})",
        "Reddy 2023's data: 1,024 classes, four of them twice each in three of four contexts of 8 pairs.",
        reddy(num_classes=1024, burst=2).replace(p_bursty=0.75),
        scale,
        NOISE,
        LEVELS,
        CLAIMS,
        title="Variation makes in-context learning",
        over=(ICL, ICL_RESTRICTED, IWL, CIWL_RESTRICTED),
        while_training=(ICL, IWL),
    )
