"""Algorithmic phases: which learner a transformer answers like, by depth and width (Akyurek et al. 2023, section 4.3).

    python launch/run.py --config=configs/regression/depth_phases.py:reference --workdir=out/depth_phases

Noiseless linear regression; the mean squared difference of answers to each learner over the under-determined prefixes.
Words: see common.py.
"""

import dataclasses

import icl_sim as icl
from configs.claiming import claims_of
from configs.regression.bayes_noise import AKYUREK
from configs.regression.common import REFERENCE, Scale, fast, value
from configs.words import words
from icl_sim.metrics import Distance, ImpliedWeights
from icl_sim.predictors import GradientDescent, LeastSquares, Nearest, OnePassSGD, Ridge
from icl_sim.studies.claims import Difference, Lowest, Trend, above, below
from icl_sim.studies.figures import Closest, Lines, Mark, Quantity
from icl_sim.tasks import Regression

LEARNERS = {  # section 6 of the paper: SGD and GD with alpha and the penalty
    "ols": LeastSquares(),
    "ridge_1": Ridge(penalty=0.1),
    "ridge_5": Ridge(penalty=0.5),
    "knn": Nearest(neighbours=3),
    "sgd": OnePassSGD(rate=0.03, penalty=0.01),
    "gd": GradientDescent(rate=0.02, penalty=0.01, convention="sum"),
}
WORDS = {
    "ols": "least squares",
    "ridge_1": "ridge .1",
    "ridge_5": "ridge .5",
    "knn": "3 nearest",
    "sgd": "one-pass SGD",
    "gd": "one GD step",
}
DEPTH, WIDTH = "predictors.transformer.depth", "predictors.transformer.width"
SCALES = {
    "paper": Scale(
        dim=8,
        pairs=40,
        network=AKYUREK,
        training=dataclasses.replace(
            fast(500_000, learning_rate=1e-4), warmup_steps=100_000, adam_b2=0.98, adam_epsilon=1e-9
        ),
        seeds=3,
        more={"depths": (1, 2, 4, 8, 12, 16), "widths": (16, 32, 64, 128, 256, 512)},
    ),
    "reference": Scale(
        dim=4,
        pairs=10,
        network=REFERENCE,
        training=fast(8_000),
        seeds=2,
        more={"depths": (1, 2, 4, 8), "widths": (16, 64)},
    ),
    "quick": Scale(
        dim=4, pairs=10, network=REFERENCE, training=fast(1_500), more={"depths": (1, 2, 4), "widths": (16, 64)}
    ),
}
claim = claims_of("Akyurek et al. 2023, section 4.3", min_steps=8_000)


def claims(scale: Scale):
    widest, deepest = max(scale.more["widths"]), max(scale.more["depths"])

    def distance(learner, depth, width=widest):
        return value(f"mspd_{learner}", where={DEPTH: depth, WIDTH: width})

    def nearest(id, statement, depth, learners):
        others = tuple(distance(name, depth) for name in LEARNERS if name not in learners)
        return claim(id, statement, Lowest(distance(learners[0], depth), others), above(0), "nearest", seeds=2)

    return (
        claim(
            "A1.deep",
            f"{deepest} layers answer nearly as least squares: squared difference / d below .01.",
            distance("ols", deepest),
            below(0.01),
            "below .01",
            seeds=2,
        ),
        claim(
            "A1.weights",
            f"{deepest} layers imply nearly the weights of least squares: squared difference / d below .01, mean over "
            f"1 to {2 * scale.dim} examples.",
            value(f"ilwd_ols/1-{2 * scale.dim}", where={DEPTH: deepest, WIDTH: widest}),
            below(0.01),
            "below .01 for almost every k",
            seeds=2,
        ),
        nearest("A4.one", "One layer is nearest to one step of gradient descent.", 1, ("gd",)),
        claim(
            "A4.two",
            "Two layers are nearer to ridge regression with penalty .5 than to least squares.",
            Difference(distance("ols", 2), distance("ridge_5", 2)),
            above(0),
            "ridge at 2 to 4 layers",
            seeds=2,
        ),
        nearest("A4.deep", f"{deepest} layers are nearest to least squares.", deepest, ("ols",)),
        claim(
            "A4.depth",
            "Every step of depth brings it nearer to least squares.",
            Trend(value("mspd_ols", where={WIDTH: widest}), DEPTH, rising=False),
            above(0),
            "falls",
            seeds=2,
        ),
        claim(
            "A4.width",
            "A narrow network is farther from least squares than a wide one of the same depth.",
            Difference(distance("ols", deepest, min(scale.more["widths"])), distance("ols", deepest)),
            above(0),
            "farther below width 16 (d = 8)",
            seeds=2,
        ),
    )


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    distances = tuple(Quantity(f"mspd_{name}", "default", WORDS[name]) for name in LEARNERS)
    by_position = tuple(Quantity(f"spd_{name}", "default", WORDS[name]) for name in LEARNERS)
    study = icl.Study(
        name=f"Algorithmic phases ({chosen['scale']})",
        description=f"Akyurek et al. 2023: noiseless linear regression, d = {scale.dim}, {scale.pairs} pairs.",
        task=Regression(dim=scale.dim, context_length=scale.pairs - 1),
        predictors={"transformer": scale.network},
        references=LEARNERS,
        comparisons={
            "distance": Distance(),
            "weights": ImpliedWeights(
                queries=8 * scale.dim, positions=tuple(range(1, 2 * scale.dim + 1)), references=("ols",)
            ),
        },
        training=scale.training,
        evaluation=dataclasses.replace(scale.evaluation, points=3),
        sweep=icl.product(
            {DEPTH: scale.more["depths"], WIDTH: scale.more["widths"], "seed": range(scale.seeds)}
        ),
        claims=claims(scale),
        figures=(
            Closest(name="closest", title="The nearest learner", quantities=distances, x=DEPTH, y=WIDTH),
            Lines(
                name="distances",
                title="Squared difference of answers, by depth",
                quantities=by_position,
                x="position",
                lines="quantity",
                columns=DEPTH,
                log_y=True,
                marks=(Mark(float(scale.dim), "k = d"),),
            ),
            Lines(
                name="weights",
                title="The linear function that it implies",
                quantities=(
                    Quantity("ilwd_ols", "default", "Squared difference of weights to least squares / d"),
                    Quantity("linearity_ols", "default", "R² of a linear fit"),
                ),
                x="position",
                lines=DEPTH,
                columns=None,
                marks=(Mark(float(scale.dim), "k = d"),),
            ),
        ),
    )
    return icl.config_of(study)
