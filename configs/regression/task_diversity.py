"""Pretraining task diversity: from M tasks known by heart to ridge regression (Raventos et al. 2023, "Pretraining task
diversity and the emergence of non-Bayesian in-context learning for regression", arXiv 2306.15063).

    python launch/run.py --config=configs/regression/task_diversity.py:reference --workdir=out/task_diversity

Every training sequence is of one of M tasks. On tasks that it never saw ("true") a transformer is compared with ridge
regression, which is optimal for new tasks, and with dMMSE, which is optimal for the M. Words: see common.py;
`paper_small` for the 4-layer network of the paper; and one of the parts

    diversity   over M: whom it answers like, while it trains too, and between tasks (D2, D3, D5, D6 of the paper)
    threshold   two batch sizes: up to some M more data moves it away from ridge regression, above towards it (D1)
    decay       weight decay, which lowers that M (D4)
"""

import dataclasses
import math

import icl_sim as icl
from configs.claiming import claims_of
from configs.regression.common import REFERENCE, Scale, fast, value
from configs.words import words
from icl_sim.predictors import DiscreteMMSE, Ridge, SmoothedMMSE
from icl_sim.predictors.networks import published
from icl_sim.studies.claims import Crossing, Difference, Lowest, LowestAt, Range, Ratio, Smallest, above, below
from icl_sim.studies.figures import Lines, Quantity
from icl_sim.tasks import Regression
from icl_sim.tasks.regression import Linear

M, WIDTH = "task.function.pool", "predictors.smoothed.width"
BATCH, DECAY = "training.batch_size", "training.weight_decay"
PARTS = ("diversity", "threshold", "decay")
_TRIANGLE = icl.Training(
    steps=500_000, batch_size=256, learning_rate=1e-3, schedule="triangle", warmup_steps=250_000
)


def powers(*exponents):
    return tuple(2.0**exponent for exponent in exponents)


_PAPER = {"noise": 0.5, "pools": powers(*range(1, 21)), "few": 2.0**5, "middle": 2.0**10, "batches": (256, 512)}
SCALES = {  # "threshold": where M* may lie, a power of 2 more or less than was published
    "paper": Scale(
        dim=8,
        pairs=16,
        network=published.raventos(),
        training=_TRIANGLE,
        seeds=3,
        more={**_PAPER, "threshold": Range(2.0**13, 2.0**16)},
    ),
    "paper_small": Scale(
        dim=8,
        pairs=16,
        network=published.raventos("small"),
        training=_TRIANGLE,
        seeds=3,
        more={**_PAPER, "threshold": Range(2.0**10, 2.0**13)},
    ),
    "reference": Scale(
        dim=4,
        pairs=8,
        network=dataclasses.replace(REFERENCE, end_bias=False),
        training=fast(8_000),
        seeds=2,
        more={
            "noise": 0.5 * math.sqrt(0.5),
            "pools": powers(1, 3, 5, 7, 9, 12, 16),
            "few": 2.0**3,
            "middle": 2.0**7,
            "batches": (32, 64),
            "threshold": below(2.0**16),
        },
    ),
    "quick": Scale(
        dim=4,
        pairs=8,
        network=dataclasses.replace(REFERENCE, end_bias=False),
        training=fast(2_000),
        more={
            "noise": 0.5 * math.sqrt(0.5),
            "pools": powers(1, 4, 7, 10, 16),
            "few": 2.0**4,
            "middle": 2.0**7,
            "batches": (32, 64),
            "threshold": below(2.0**16),
        },
    ),
}
claim = claims_of("Raventos et al. 2023", min_steps=8_000)
SMOOTHING = (0.1, 0.2, 0.4, 0.8)  # widths of smoothed dMMSE; the best of them on new tasks is "optimally smoothed"
WEIGHT_DECAYS = (0.0, 0.1)


def of(metric, pool=None, eval_set="true", predictor="transformer", **where):
    pinned = {} if pool is None else {M: pool}
    return value(metric, predictor, eval_set, pinned | where)


def claims(part: str, scale: Scale):
    least, many = scale.more["pools"][0], scale.more["pools"][-1]
    few, middle = scale.more["few"], scale.more["middle"]
    if part == "threshold":
        fewer, more = scale.more["batches"]

        def twice(pool):
            return Ratio(of("delta_ridge", pool, **{BATCH: more}), of("delta_ridge", pool, **{BATCH: fewer}))

        return (
            claim(
                "D1.below",
                f"Twice the data, a batch of {more} in place of {fewer}, moves it away from ridge regression on new "
                f"tasks where there are {_power(few)}.",
                twice(few),
                above(1),
                "below the threshold M*",
                seeds=2,
            ),
            claim(
                "D1.above",
                f"And towards it where there are {_power(many)}.",
                twice(many),
                below(1),
                "above M*: 2^14 to 2^15, small network 2^11 to 2^12 (D = 8)",
                seeds=2,
            ),
            claim(
                "D1.threshold",
                f"In between lies M*, from which on more data helps{_within(scale.more['threshold'])}.",
                Crossing(of("delta_ridge", **{BATCH: more}), of("delta_ridge", **{BATCH: fewer}), over=M),
                scale.more["threshold"],
                "2^14 to 2^15; small network 2^11 to 2^12 (D = 8)",
                seeds=2,
            ),
        )
    if part == "decay":
        without, with_ = WEIGHT_DECAYS
        return (
            claim(
                "D4",
                f"With weight decay it is nearer to ridge regression on new tasks at M = {_power(middle)}.",
                Ratio(
                    of("delta_ridge", middle, **{DECAY: with_}), of("delta_ridge", middle, **{DECAY: without})
                ),
                below(1),
                "lowers the threshold",
                seeds=2,
            ),
        )
    return (
        claim(
            "D2.few",
            f"With {least:g} tasks it answers as dMMSE on them: delta below a tenth of ridge regression's.",
            Ratio(of("delta_dmmse", least, "default"), of("delta_ridge", least, "default")),
            below(0.1),
            "tracks dMMSE",
            seeds=2,
        ),
        claim(
            "D2.few_true",
            f"With {least:g} tasks it is far from ridge regression on new ones.",
            of("delta_ridge", least),
            above(0.3),
            "far",
            seeds=2,
        ),
        claim(
            "D2.middle",
            f"With {_power(middle)} tasks it is nearer to ridge regression than dMMSE is, on new tasks.",
            Ratio(of("delta_ridge", middle), of("delta_ridge", middle, predictor="dmmse")),
            below(1),
            "from M = 2^6 on (D = 8)",
            seeds=2,
        ),
        claim(
            "D2.beats",
            f"With {_power(middle)} tasks its error on new ones is below that of dMMSE.",
            Ratio(of("clean_error", middle), of("clean_error", middle, predictor="dmmse")),
            below(1),
            "from M = 2^6 on (D = 8)",
            seeds=2,
        ),
        claim(
            "D3.falls",
            "More tasks bring it nearer to ridge regression on new ones: delta falls to below a tenth.",
            Ratio(of("delta_ridge", many), of("delta_ridge", least)),
            below(0.1),
            "falls by orders of magnitude",
            seeds=2,
        ),
        claim(
            "D3.nears",
            f"With {_power(few)} tasks it comes nearer to ridge regression while it trains: delta falls below .8 of "
            "what it was before.",
            Ratio(Smallest(of("delta_ridge", few), "step"), Smallest(of("delta_ridge", few), "step", at_most=0.0)),
            below(0.8),
            "falls, then rises",
            seeds=2,
        ),
        claim(
            "D3.departs",
            f"And it departs again: with {_power(few)} tasks delta is at the end over 1.2 times its lowest.",
            Ratio(of("delta_ridge", few), Smallest(of("delta_ridge", few), "step")),
            above(1.2),
            "falls, then rises",
            seeds=2,
        ),
        claim(
            "D3.only_falls",
            f"With {_power(many)} tasks it only comes nearer: at the end delta is at most 1.1 times its lowest.",
            Ratio(of("delta_ridge", many), Smallest(of("delta_ridge", many), "step")),
            below(1.1),
            "falls all along",
            seeds=2,
        ),
        claim(
            "D3.later",
            f"t*, the step at which delta is lowest, comes a tenth later with {_power(middle)} tasks than with "
            f"{_power(few)}.",
            Ratio(LowestAt(of("delta_ridge", middle)), LowestAt(of("delta_ridge", few))),
            above(1.1),
            "t* grows as M^0.47",
            seeds=2,
        ),
        claim(
            "D5",
            f"With {_power(middle)} tasks its error on new ones is below that of dMMSE however smoothed.",
            Lowest(
                of("clean_error", middle),
                tuple(of("clean_error", middle, predictor="smoothed", **{WIDTH: width}) for width in SMOOTHING),
            ),
            above(0),
            "below, at intermediate M",
            seeds=2,
        ),
        claim(
            "D6.few",
            f"Half way between two of {_power(few)} tasks it answers as dMMSE rather than as ridge regression.",
            Difference(of("delta_ridge", few, "between"), of("delta_dmmse", few, "between")),
            above(0),
            "as dMMSE at 2^5",
            seeds=2,
        ),
        claim(
            "D6.many",
            f"Half way between two of {_power(many)} tasks it answers as ridge regression: delta below .02.",
            of("delta_ridge", many, "between"),
            below(0.02),
            "as ridge at 2^15",
            seeds=2,
        ),
    )


def _within(pools: Range) -> str:
    return f": it is {_power(pools.low)} to {_power(pools.high)}" if pools.low > 0 else ""


def _power(pool: float) -> str:
    return f"2^{math.log2(pool):g}"


def figures(part: str):
    ridge = Quantity("delta_ridge", "true", "Difference to ridge regression, new tasks")
    told = {"true": "new tasks", "default": "training tasks", "between": "between two tasks"}
    errors = {name: Quantity("clean_error", name, f"Error / D, {words}") for name, words in told.items()}
    learners = ("transformer", "ridge", "dmmse")
    steps = Lines(
        name="steps",
        title="Difference to ridge regression while training",
        quantities=(ridge,),
        x="step",
        lines=M,
        columns={"threshold": BATCH, "decay": DECAY}.get(part),
        predictors=("transformer",),
        log_y=True,
    )
    if part != "diversity":
        title = "Difference to ridge regression, over the number of training tasks"
        by = BATCH if part == "threshold" else DECAY
        over = Lines(name="diversity", title=title, quantities=(ridge,), x=M, lines=by, columns=None, log_y=True)
        return (dataclasses.replace(over, predictors=("transformer",)), steps)
    quantities = (
        ridge,
        Quantity("delta_dmmse", "default", "Difference to dMMSE, training tasks"),
        *errors.values(),
        Quantity("delta_dmmse", "between", "Difference to dMMSE, between two tasks"),
    )
    return (
        Lines(
            name="diversity",
            title="Over the number of training tasks",
            quantities=quantities,
            x=M,
            columns=None,
            predictors=learners,
            log_y=True,
        ),
        steps,
        Lines(
            name="smoothing",
            title="Error on new tasks, of dMMSE over the width of its smoothing",
            quantities=(errors["true"],),
            x=WIDTH,
            columns=M,
            predictors=("smoothed", *learners),
            log_y=True,
        ),
    )


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES, "part": PARTS})
    scale, part = SCALES[chosen["scale"]], chosen["part"]
    over = {
        "diversity": {M: scale.more["pools"], WIDTH: SMOOTHING},
        "threshold": {M: scale.more["pools"][1:], BATCH: scale.more["batches"]},
        "decay": {M: scale.more["pools"][1:], DECAY: WEIGHT_DECAYS},
    }[part]
    smoothed = {"smoothed": SmoothedMMSE()} if part == "diversity" else {}
    training = dataclasses.replace(scale.training, weight_decay=0.0) if part == "decay" else scale.training
    study = icl.Study(
        name=f"Pretraining task diversity ({chosen['scale']}{'' if part == 'diversity' else ', ' + part})",
        description=f"Raventos et al. 2023: M linear regression tasks, D = {scale.dim}, {scale.pairs} pairs, noise.",
        task=Regression(
            function=Linear(pool=2.0**10),
            noise=scale.more["noise"],
            dim=scale.dim,
            context_length=scale.pairs - 1,
            shifts=("true", "between"),
        ),
        predictors={"transformer": scale.network, "ridge": Ridge(), "dmmse": DiscreteMMSE(), **smoothed},
        references={"ridge": Ridge(), "dmmse": DiscreteMMSE()},
        training=training,
        evaluation=dataclasses.replace(scale.evaluation, bootstrap=0, points=10),
        sweep=icl.product({**over, "seed": range(scale.seeds)}),
        claims=claims(part, scale),
        figures=figures(part),
    )
    return icl.config_of(study)
