"""Pretraining task diversity: from M tasks known by heart to ridge regression (Raventos et al. 2023, "Pretraining task
diversity and the emergence of non-Bayesian in-context learning for regression", arXiv 2306.15063).

    python launch/run.py --config=configs/regression/task_diversity.py:reference --workdir=out/task_diversity

Every training sequence is of one of M tasks. On tasks that it never saw ("true") a transformer is compared with ridge
regression, which is optimal for new tasks, and with dMMSE, which is optimal for the M. Words: see common.py; and
`paper_small` for the 4-layer network of the paper.
"""

import dataclasses
import math

import icl_sim as icl
from configs.regression import common
from configs.regression.common import REFERENCE, Scale, fast, value
from configs.words import words
from icl_sim.predictors import DiscreteMMSE, Ridge
from icl_sim.predictors.networks import published
from icl_sim.studies.claims import Crossing, Difference, Ratio, above, below
from icl_sim.studies.figures import Lines, Quantity
from icl_sim.tasks import Regression
from icl_sim.tasks.regression import Linear

M = "task.function.pool"
_TRIANGLE = icl.Training(
    steps=500_000, batch_size=256, learning_rate=1e-3, schedule="triangle", warmup_steps=250_000
)


def powers(*exponents):
    return tuple(2.0**exponent for exponent in exponents)


SCALES = {
    "paper": Scale(
        dim=8,
        pairs=16,
        network=published.raventos(),
        training=_TRIANGLE,
        seeds=3,
        more={"noise": 0.5, "pools": powers(*range(1, 21))},
    ),
    "paper_small": Scale(
        dim=8,
        pairs=16,
        network=published.raventos("small"),
        training=_TRIANGLE,
        seeds=3,
        more={"noise": 0.5, "pools": powers(*range(1, 21))},
    ),
    "reference": Scale(
        dim=4,
        pairs=8,
        network=dataclasses.replace(REFERENCE, end_bias=False),
        training=fast(8_000),
        seeds=2,
        more={"noise": 0.5 * math.sqrt(0.5), "pools": powers(1, 3, 5, 7, 9, 12, 16)},
    ),
    "quick": Scale(
        dim=4,
        pairs=8,
        network=dataclasses.replace(REFERENCE, end_bias=False),
        training=fast(2_000),
        more={"noise": 0.5 * math.sqrt(0.5), "pools": powers(1, 4, 7, 10, 16)},
    ),
}
claim = common.claims_of("Raventos et al. 2023", min_steps=8_000)


def claims(scale: Scale):
    few, many = scale.more["pools"][0], scale.more["pools"][-1]

    def of(metric, pool, eval_set="true", predictor="transformer"):
        return value(metric, predictor, eval_set, {M: pool})

    return (
        claim(
            "D2.few",
            f"With {few:g} tasks it answers as dMMSE on them: delta below a tenth of ridge regression's.",
            Ratio(of("delta_dmmse", few, "default"), of("delta_ridge", few, "default")),
            below(0.1),
            "tracks dMMSE",
            seeds=2,
        ),
        claim(
            "D2.few_true",
            f"With {few:g} tasks it is far from ridge regression on new ones.",
            of("delta_ridge", few),
            above(0.3),
            "far",
            seeds=2,
        ),
        claim(
            "D2.many",
            f"With 2^{math.log2(many):g} tasks it is nearer to ridge regression than to dMMSE on new tasks.",
            Difference(of("delta_dmmse", many), of("delta_ridge", many)),
            above(0),
            "as ridge, while dMMSE departs",
            seeds=2,
        ),
        claim(
            "D2.beats",
            "From some M on it is better than dMMSE on new tasks.",
            Crossing(
                value("normalized_error", eval_set="true"), value("normalized_error", "dmmse", "true"), over=M
            ),
            below(many),
            "above 2^6 (D = 8)",
            seeds=2,
        ),
        claim(
            "D3.falls",
            "More tasks bring it nearer to ridge regression on new ones: delta falls to below a tenth.",
            Ratio(of("delta_ridge", many), of("delta_ridge", few)),
            below(0.1),
            "falls by orders of magnitude",
            seeds=2,
        ),
    )


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    delta = (
        Quantity("delta_ridge", "true", "Difference to ridge regression, new tasks"),
        Quantity("delta_dmmse", "default", "Difference to dMMSE, training tasks"),
        Quantity("normalized_error", "true", "Error / D, new tasks"),
        Quantity("normalized_error", "default", "Error / D, training tasks"),
    )
    study = icl.Study(
        name=f"Pretraining task diversity ({chosen['scale']})",
        description=f"Raventos et al. 2023: M linear regression tasks, D = {scale.dim}, {scale.pairs} pairs, noise.",
        task=Regression(
            function=Linear(pool=2.0**10),
            noise=scale.more["noise"],
            dim=scale.dim,
            context_length=scale.pairs - 1,
            shifts=("true",),
        ),
        predictors={"transformer": scale.network, "ridge": Ridge(), "dmmse": DiscreteMMSE()},
        references={"ridge": Ridge(), "dmmse": DiscreteMMSE()},
        training=scale.training,
        evaluation=dataclasses.replace(scale.evaluation, bootstrap=0, points=10),
        sweep=icl.product({M: scale.more["pools"], "seed": range(scale.seeds)}),
        claims=claims(scale),
        figures=(
            Lines(name="diversity", title="Over the number of training tasks", quantities=delta, x=M, log_y=True),
            Lines(
                name="steps",
                title="Difference to ridge regression while training",
                quantities=delta[:1],
                x="step",
                lines=M,
                columns=None,
                predictors=("transformer",),
                log_y=True,
            ),
        ),
    )
    return icl.config_of(study)
