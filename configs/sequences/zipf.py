"""A long tail lets in-context and in-weight learning live together (Chan et al. 2022, "Data distributional properties
drive emergent in-context learning in transformers", arXiv 2205.05055), on the data of Reddy 2023.

    python launch/run.py --config=configs/sequences/zipf.py --workdir=out/zipf

Of ten sequences nine have bursts, four classes twice each; the class of rank r occurs with frequency r^-alpha. Common
classes are the ten most frequent ones. All exponents run in one program. With a long tail the context helps more often
than bursts alone would: the support shown is what it really is. Words: see common.py.
"""

from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import ICL, Scale, of
from configs.words import words
from icl_sim.studies.claims import Smallest, above, below
from icl_sim.studies.figures import QUANTITY, Lines, Quantity
from icl_sim.tasks.sequences.presets import reddy

EXPONENT = "task.zipf_exponent"
EXPONENTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
SCALES = {"reference": Scale(steps=1_200, seeds=3, points=10), "quick": Scale(steps=1_200, seeds=1, points=8)}
COMMON = Quantity("error", "iwl_common", "Common classes, not in the context")
RARE = Quantity("error", "iwl_rare", "Rare classes, not in the context")


claim = claims_of("Chan et al. 2022", min_steps=1_200)


def at(exponent, eval_set):
    return of("error", eval_set, **{EXPONENT: exponent})


CLAIMS = (
    claim("even.icl", "Where classes are alike, new ones are answered from the context.", at(0.0, "icl"), below(0.3)),
    claim("even.iwl", "And none from the weights.", at(0.0, "iwl_common"), above(0.7)),
    claim("both.icl", "At alpha = 1 both are: new classes from the context,", at(1.0, "icl"), below(0.5)),
    claim("both.iwl", "and common ones from the weights.", at(1.0, "iwl_common"), below(0.3)),
    claim("steep.icl", "At alpha = 3 nothing is learned in context.", at(3.0, "icl"), above(0.8)),
    claim("steep.iwl", "And the ten most common classes are known.", at(3.0, "iwl_common"), below(0.3)),
    claim(
        "rare",
        "Rare classes are memorised at no exponent.",
        Smallest(of("error", "iwl_rare"), over=EXPONENT, ends=(EXPONENTS[0], EXPONENTS[-1])),
        above(0.85),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    return common.swept(
        f"Zipf exponent ({chosen['scale']})",
        "Reddy 2023's data with a long tail: 4,096 classes of frequency r^-alpha, four of them twice each "
        "in nine of ten contexts of 8 pairs, 32 labels.",
        reddy(num_classes=4096, burst=2).replace(p_bursty=0.9, ways="distinct", num_common=10),
        scale,
        EXPONENT,
        EXPONENTS,
        CLAIMS,
        title="A long tail keeps both kinds of learning",
        over=(ICL, COMMON, RARE),
        while_training=(ICL, COMMON, RARE),
        figures=(
            Lines(
                name="support",
                title="How often the context holds the query's class",
                quantities=(
                    Quantity("support", "default", "As in training"),
                    Quantity("support", "iid", "Sequences without bursts"),
                ),
                x=EXPONENT,
                lines=QUANTITY,
                columns=None,
            ),
        ),
    )
