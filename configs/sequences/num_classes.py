"""Many classes make in-context learning, and unmake in-weight learning (Chan et al. 2022, "Data distributional
properties drive emergent in-context learning in transformers", arXiv 2205.05055), on the data of Reddy 2023.

    python launch/run.py --config=configs/sequences/num_classes.py --workdir=out/num_classes

Nine of ten sequences have bursts, four classes twice each. What few classes teach is shown by the evaluation set in
which the query's label stands in the context, beside another class: there the weights alone can be right. Words: see
common.py.
"""

from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import CIWL_RESTRICTED, ICL, ICL_RESTRICTED, IWL, Scale, of
from configs.words import words
from icl_sim.studies.claims import Difference, Trend, above, below
from icl_sim.tasks.sequences.presets import reddy

CLASSES = "task.num_classes"
NUMBERS = (64, 256, 1024, 4096)
SCALES = {"reference": Scale(steps=1_200, seeds=3, points=10), "quick": Scale(steps=1_200, seeds=1, points=8)}


claim = claims_of("Chan et al. 2022", min_steps=1_200)


def at(number, eval_set, metric="error"):
    return of(metric, eval_set, **{CLASSES: number})


FEWEST, MOST = NUMBERS[0], NUMBERS[-1]
CLAIMS = (
    claim(
        "icl",
        "The more classes, the more is learned in context: from 64 to 4,096 the error on new classes falls by more "
        "than a half.",
        Difference(at(FEWEST, "icl"), at(MOST, "icl")),
        above(0.5),
    ),
    claim(
        "icl.trend",
        "It rises nowhere on the way (by more than .05).",
        Trend(of("error", "icl"), over=CLASSES, rising=False),
        above(-0.05),
    ),
    claim(
        "iwl",
        "And the less in weights: the error on classes that the context does not show rises by more than a half.",
        Difference(at(MOST, "iwl"), at(FEWEST, "iwl")),
        above(0.5),
    ),
    claim(
        "iwl.trend",
        "It falls nowhere on the way (by more than .05).",
        Trend(of("error", "iwl"), over=CLASSES),
        above(-0.05),
    ),
    claim(
        "few",
        "With 64 classes the weights tell which label of the context it is, although none of its items is alike.",
        at(FEWEST, "ciwl", "restricted_error"),
        below(0.05),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    return common.swept(
        f"Number of classes ({chosen['scale']})",
        "Reddy 2023's data: four classes twice each in nine of ten contexts of 8 pairs, 32 labels.",
        reddy(num_classes=1024, burst=2).replace(p_bursty=0.9),
        scale,
        CLASSES,
        NUMBERS,
        CLAIMS,
        title="Many classes make in-context learning",
        over=(ICL, ICL_RESTRICTED, IWL, CIWL_RESTRICTED),
        while_training=(ICL, IWL),
    )
