"""Where in-context and where in-weight learning wins, over the number of classes K and the size of bursts B (Reddy
2023, "The mechanistic basis of data dependence and abrupt learning in an in-context classification task", arXiv
2312.03002).

    python launch/run.py --config=configs/sequences/reddy_phase_diagram.py --workdir=out/reddy_phase_diagram

Every sequence has bursts, 8 / B classes B times each. K and B are structure: each pair is a program, in which all seeds
run. Words: see common.py.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import CIWL_RESTRICTED, ICL, ICL_RESTRICTED, IWL, NETWORK, Scale, of
from configs.words import words
from icl_sim.predictors import InductionNetwork
from icl_sim.studies.claims import Difference, Trend, above, below
from icl_sim.studies.figures import STEP, Heat, Lines
from icl_sim.tasks.sequences.presets import reddy

CLASSES, BURSTS = "task.num_classes", "task.bursts"
NUMBERS = (64, 256, 1024)
SIZES = {1: (1,) * 8, 2: (2,) * 4, 4: (4,) * 2}
SCALES = {"reference": Scale(steps=1_200, seeds=3, points=6), "quick": Scale(steps=900, seeds=1, points=4)}
QUICK_NUMBERS, QUICK_SIZES = (64, 1024), (1, 4)


claim = claims_of("Reddy 2023", min_steps=1_200)


def spelt(size):
    """A tuple of bursts as results have it."""
    return ", ".join(map(str, SIZES[size]))


def at(number, size, eval_set, metric="error"):
    return of(metric, eval_set, **{CLASSES: number, BURSTS: spelt(size)})


def row(size, eval_set):
    return of("error", eval_set, **{BURSTS: spelt(size)})


FEWEST, MOST = NUMBERS[0], NUMBERS[-1]
CLAIMS = (
    *(
        claim(
            f"icl.B={size}",
            f"With bursts of {size}, more classes make more in-context learning: from 64 to 1,024 the error on new "
            "classes falls by more than .3.",
            Difference(at(FEWEST, size, "icl"), at(MOST, size, "icl")),
            above(0.3),
        )
        for size in SIZES
    ),
    *(
        claim(
            f"iwl.B={size}",
            f"With bursts of {size}, more classes nowhere make more in-weight learning (by more than .05).",
            Trend(row(size, "iwl"), over=CLASSES),
            above(-0.05),
        )
        for size in SIZES
    ),
    claim(
        "icl.B",
        "Larger bursts make more in-context learning: of 1,024 classes, bursts of 4 rather than 1.",
        Difference(at(1024, 1, "icl"), at(1024, 4, "icl")),
        above(0),
    ),
    claim(
        "iwl.B",
        "And less in-weight learning, by more than .3: of 256 classes, bursts of 4 rather than 1.",
        Difference(at(256, 4, "iwl"), at(256, 1, "iwl")),
        above(0.3),
    ),
    claim(
        "ciwl",
        "Of 256 classes in bursts of 2, weights know more than is seen without the label in the context: where it is "
        "there, beside another class, the error is lower by more than .2.",
        Difference(at(256, 2, "iwl"), at(256, 2, "ciwl")),
        above(0.2),
    ),
    claim(
        "memory",
        "Of 64 classes in bursts of 1 all are answered from the weights.",
        at(64, 1, "iwl"),
        below(0.05),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale, quick = SCALES[chosen["scale"]], chosen["scale"] == "quick"
    bursts = [SIZES[size] for size in (QUICK_SIZES if quick else SIZES)]
    study = icl.Study(
        name=f"Phase diagram ({chosen['scale']})",
        description="Reddy 2023's data: contexts of 8 pairs, of 8 / B classes B times each, under 32 labels.",
        task=reddy(num_classes=1024, burst=1),
        predictors={NETWORK: InductionNetwork()},
        training=common.training(scale, learning_rate=1e-3),
        evaluation=common.evaluation(scale),
        sweep=icl.product({BURSTS: bursts, CLASSES: QUICK_NUMBERS if quick else NUMBERS, "seed": range(scale.seeds)}),
        claims=CLAIMS,
        figures=(
            Heat(
                name="phases",
                title="Errors in context and in weights, over classes and bursts",
                quantities=(ICL, IWL, ICL_RESTRICTED, CIWL_RESTRICTED),
                x=CLASSES,
                y=BURSTS,
            ),
            Lines(
                name="steps",
                title="Errors while training",
                quantities=(ICL, IWL),
                x=STEP,
                lines=CLASSES,
                columns=BURSTS,
            ),
        ),
        headline=("icl_error", "iwl_error"),
    )
    return icl.config_of(study)
