"""A transformer trained on linear regression, on prompts of other laws (Garg et al. 2022, section 4).

    python launch/run.py --config=configs/regression/shifts.py:reference --workdir=out/shifts

Words: see common.py.
"""

import dataclasses
import fractions

import icl_sim as icl
from configs.claiming import claims_of
from configs.regression.common import Scale, value
from configs.regression.function_classes import SCALES, plain
from configs.words import words
from icl_sim.predictors import LeastSquares, Nearest
from icl_sim.studies.claims import Difference, Ratio, above, below, near
from icl_sim.studies.figures import Lines, Mark, Quantity
from icl_sim.tasks import Regression
from icl_sim.tasks.regression import Curriculum

SHIFTS = {
    "skewed": "covariance with eigenvalues 1/i²",
    "half_subspace": "inputs in d/2 dimensions",
    "label_noise": "label noise",
    "orthants": "context in one orthant",
    "orthogonal_query": "query orthogonal to the context",
    "matching_query": "query from the context",
    "x_scale:1/3": "inputs x 1/3",
    "x_scale:2": "inputs x 2",
    "x_scale:3": "inputs x 3",
    "w_scale:1/3": "weights x 1/3",
    "w_scale:2": "weights x 2",
    "w_scale:3": "weights x 3",
    "query_scale:2": "query x 2",
}
claim = claims_of("Garg et al. 2022, section 4", min_steps=8_000)


def claims(scale: Scale):
    dim, last, bounds = scale.dim, scale.pairs - 1, scale.more["bounds"]

    def error(eval_set, at, predictor="transformer"):
        return value(f"normalized_error/{at}", predictor, eval_set)

    return (
        claim(
            "C2.orthogonal",
            "A query that the context tells nothing about has the error of answering 0, 1, to .15.",
            error("orthogonal_query", dim - 1),
            near(1, 0.15),
            "about 1",
            seeds=2,
        ),
        claim(
            "C2.matching",
            "A query that stands in the context is answered: error below "
            f"{plain(bounds['C2.matching'])} after {last} examples.",
            error("matching_query", last),
            below(bounds["C2.matching"]),
            0.0005,
            seeds=2,
        ),
        claim(
            "C2.orthants",
            f"A context from one orthant costs less than {plain(bounds['C2.orthants'])} after {last} examples.",
            Difference(error("orthants", last), error("default", last)),
            below(bounds["C2.orthants"]),
            0.0034,  # .004 against .0006
            seeds=2,
        ),
        claim(
            "C2.subspace",
            f"Inputs in a subspace are learned: error below {plain(bounds['C2.subspace'])} after {last} examples.",
            error("half_subspace", last),
            below(bounds["C2.subspace"]),
            0.0006,
            seeds=2,
        ),
        claim(
            "C2.skewed",
            f"On skewed inputs it follows least squares for d/2 = {dim // 2} examples: its error is that, to .1.",
            Difference(error("skewed", dim // 2), error("skewed", dim // 2, "ols")),
            near(0, 0.1),
            "follows least squares up to d/2",
            seeds=2,
        ),
        claim(
            "C2.skewed_last",
            f"And then it no longer does: after {last} examples its error is above that on inputs as trained.",
            Difference(error("skewed", last), error("default", last)),
            above(0),
            "a plateau",
            seeds=2,
        ),
        claim(
            "C2.scale",
            "Larger inputs cost more than larger weights: three times as large, at the last example.",
            Ratio(error("x_scale:3", last), error("w_scale:3", last)),
            above(1),
            ".58 against .028",
            seeds=2,
        ),
        claim(
            "C2.noise",
            f"With label noise its error at k = d = {dim}, where that of least squares has no mean, is below that of "
            "answering 0.",
            value(f"clean_error/{dim}", "transformer", "label_noise"),
            below(1),
            "a bump, but smaller",
            seeds=2,
        ),
    )


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    task = Regression(dim=scale.dim, context_length=scale.pairs - 1, shifts=tuple(SHIFTS))
    if scale.more["curriculum"]:
        task = task.replace(curriculum=Curriculum())
    study = icl.Study(
        name=f"Linear regression under other laws ({chosen['scale']})",
        description=f"Garg et al. 2022: trained on d = {scale.dim}, normal inputs, {scale.pairs} pairs.",
        task=task,
        predictors={"transformer": scale.network, "ols": LeastSquares(), "knn": Nearest(neighbours=3)},
        training=scale.training,
        # Where the query is shifted each sequence asks one slot.
        evaluation=dataclasses.replace(scale.evaluation, sequences=8 * scale.evaluation.sequences, points=4),
        sweep=icl.product({"seed": range(scale.seeds)}),
        claims=claims(scale),
        figures=tuple(
            Lines(
                name=name.replace(":", "_").replace("/", "_"),
                title=f"Error over examples in context: {told}",
                quantities=(
                    Quantity("clean_error" if name == "label_noise" else "normalized_error", name, "Squared error / d"),
                ),
                x="position",
                lines="predictor",
                marks=(Mark(float(scale.dim), "k = d"),),
                limits=(0.0, 2.0 * float(fractions.Fraction(name.partition(":")[2] or 1)) ** 2),
            )
            for name, told in {"default": "as trained", **SHIFTS}.items()
        ),
    )
    return icl.config_of(study)
