"""Bursts in the context make in-context learning, and unmake in-weight learning (Chan et al. 2022, "Data distributional
properties drive emergent in-context learning in transformers", arXiv 2205.05055), on the data of Reddy 2023.

    python launch/run.py --config=configs/sequences/burstiness.py --workdir=out/burstiness

A share of all sequences has bursts, four of 1,024 classes twice each, one of which is asked; the others are of classes
at random, which only the weights can answer. All shares run in one program. Words: see common.py.
"""

from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import CIWL, CIWL_RESTRICTED, ICL, IWL, SWAP, Scale, of
from configs.words import words
from icl_sim.studies.claims import Difference, Trend, above, below
from icl_sim.tasks.sequences.presets import reddy

SHARE = "task.p_bursty"
SHARES = (0.0, 0.5, 0.75, 0.9, 1.0)
SCALES = {"reference": Scale(steps=2_000, seeds=3, points=16), "quick": Scale(steps=1_200, seeds=1, points=8)}


claim = claims_of("Chan et al. 2022", min_steps=2_000)


def at(share, eval_set):
    return of("error", eval_set, **{SHARE: share})


CLAIMS = (
    claim(
        "icl",
        "The more sequences have bursts, the more is learned in context: from none to all the error on new classes "
        "falls by more than a half.",
        Difference(at(0.0, "icl"), at(1.0, "icl")),
        above(0.5),
    ),
    claim(
        "icl.trend",
        "It rises nowhere on the way (by more than .05).",
        Trend(of("error", "icl"), over=SHARE, rising=False),
        above(-0.05),
    ),
    claim(
        "iwl",
        "And the less in weights: the error on classes that the context does not show rises by more than a half.",
        Difference(at(1.0, "iwl"), at(0.0, "iwl")),
        above(0.5),
    ),
    claim(
        "iwl.trend",
        "It falls nowhere on the way (by more than .05).",
        Trend(of("error", "iwl"), over=SHARE),
        above(-0.05),
    ),
    claim(
        "none",
        "Without bursts nothing is learned in context: the error on new classes is that of guessing among 32 labels.",
        at(0.0, "icl"),
        above(0.9),
    ),
    claim("none.iwl", "And everything in weights.", at(0.0, "iwl"), below(0.1)),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    return common.swept(
        f"Burstiness ({chosen['scale']})",
        "Reddy 2023's data: 1,024 classes, four of them twice each where a context of 8 pairs has bursts.",
        reddy(num_classes=1024, burst=2),
        scale,
        SHARE,
        SHARES,
        CLAIMS,
        title="Bursts make in-context learning",
        over=(ICL, SWAP, IWL, CIWL_RESTRICTED),
        while_training=(ICL, IWL, CIWL),
    )
