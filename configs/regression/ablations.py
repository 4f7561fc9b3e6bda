"""What training needs to learn linear functions in context: a curriculum, and how much data (Garg et al. 2022, "What
Can Transformers Learn In-Context?", arXiv 2208.01066, sections 5 and 6 and appendix).

    python launch/run.py --config=configs/regression/ablations.py:reference,weights --workdir=out/few_weights

The part after the colon: a scale (see common.py), and one of

    curriculum   the same training with a curriculum over coordinates and pairs, and without (C7)
    weights      weight vectors are drawn from few; beside the stored vector that fits the context best (C8)
    prompts      training shows few prompts, again and again (C8)
"""

import dataclasses
import math

import icl_sim as icl
from configs.claiming import claims_of
from configs.regression import function_classes
from configs.regression.common import Scale, value
from configs.words import words
from icl_sim.predictors import DiscreteMMSE, LeastSquares
from icl_sim.studies.claims import Crossing, Ratio, above, below, near
from icl_sim.studies.figures import Lines, Mark, Quantity
from icl_sim.tasks import Regression
from icl_sim.tasks.regression import Curriculum, Linear

WEIGHTS, PROMPTS = "task.function.pool", "task.prompts"
MORE = {
    "paper": {
        "curriculum": Curriculum(),
        "weights": (10.0**2, 10.0**3, 10.0**4, math.inf),
        "prompts": (10.0**4, 10.0**5, 10.0**6, math.inf),
    },
    "reference": {
        "curriculum": Curriculum(dims=2, pairs=5, every=100),
        "weights": (10.0, 10.0**2, 10.0**3, math.inf),
        "prompts": (10.0**3, 10.0**4, 10.0**5, math.inf),
    },
    "quick": {
        "curriculum": Curriculum(dims=2, pairs=5, every=20),
        "weights": (10.0, 10.0**3, math.inf),
        "prompts": (10.0**3, 10.0**5, math.inf),
    },
}
SCALES = {name: dataclasses.replace(scale, more=MORE[name]) for name, scale in function_classes.SCALES.items()}
PARTS = ("curriculum", "weights", "prompts")
claim = claims_of("Garg et al. 2022", min_steps=8_000)


def claims(part: str, scale: Scale):
    last = scale.pairs - 1

    def error(predictor="transformer", eval_set="default", **where):
        return value(f"normalized_error/{last}", predictor, eval_set, where)

    if part == "curriculum":
        return (
            claim(
                "C7",
                f"With a curriculum the error after {last} examples falls below .25 in fewer updates.",
                Ratio(Crossing(error(), 0.25), Crossing(error("plain"), 0.25)),
                below(1),
                "about 4 times fewer",
                seeds=2,
            ),
        )
    name, sizes = (WEIGHTS, scale.more["weights"]) if part == "weights" else (PROMPTS, scale.more["prompts"])
    eval_set = "true" if part == "weights" else "default"
    few, enough = sizes[0], sizes[-2]
    all_alike = (
        claim(
            "C8.few",
            f"With {few:,.0f} {part} the error on new ones after {last} examples is over twice that without a limit.",
            Ratio(error(eval_set=eval_set, **{name: few}), error(eval_set=eval_set, **{name: math.inf})),
            above(2),
            "does not suffice",
            seeds=2,
        ),
        claim(
            "C8.enough",
            f"With {enough:,.0f} it is that without a limit, to a factor of 1.5.",
            Ratio(error(eval_set=eval_set, **{name: enough}), error(eval_set=eval_set, **{name: math.inf})),
            near(1, 0.5),
            "10,000 weights or a million prompts at d = 20",
            seeds=2,
        ),
    )
    if part == "prompts":
        return all_alike
    return (
        *all_alike,
        claim(
            "C8.stored",
            f"It does not look weights up: with {enough:,.0f} it errs less on new ones than the best stored one.",
            Ratio(
                error(eval_set="true", **{name: enough}), error("best_stored", eval_set="true", **{name: enough})
            ),
            below(1),
            "best of 10,000 stored .5",
            seeds=2,
        ),
    )


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES, "part": PARTS})
    scale, part = SCALES[chosen["scale"]], chosen["part"]
    task = Regression(dim=scale.dim, context_length=scale.pairs - 1)
    predictors = {"transformer": scale.network, "ols": LeastSquares()}
    trained_on, over, lines = {}, {}, "predictor"
    if part == "curriculum":
        task = task.replace(curriculum=scale.more["curriculum"])
        predictors["plain"], trained_on = scale.network, {"plain": {"curriculum": None}}
    elif part == "weights":
        task = task.replace(function=Linear(pool=scale.more["weights"][0]), shifts=("true",))
        # Without noise all that counts is which of them fits best.
        predictors["best_stored"] = DiscreteMMSE(noise=0.0)
        if scale.dim > 5:  # the paper's standard training
            task = task.replace(curriculum=scale.more["curriculum"])
        over = {WEIGHTS: scale.more["weights"]}
    else:
        over, lines = {PROMPTS: scale.more["prompts"]}, PROMPTS
    eval_set = "true" if part == "weights" else "default"
    error = Quantity("normalized_error", eval_set, "Squared error / d")
    study = icl.Study(
        name=f"Ablations: {part} ({chosen['scale']})",
        description=f"Garg et al. 2022: linear functions, d = {scale.dim}, {scale.pairs} pairs.",
        task=task,
        predictors=predictors,
        trained_on=trained_on,
        training=scale.training,
        evaluation=dataclasses.replace(scale.evaluation, points=16 if part == "curriculum" else 8),
        sweep=icl.product({**over, "seed": range(scale.seeds)}),
        claims=claims(part, scale),
        figures=(
            Lines(
                name="positions",
                title="Error over examples in context, on new functions",
                quantities=(error,),
                x="position",
                lines=lines,
                columns=WEIGHTS if part == "weights" else None,
                marks=(Mark(float(scale.dim), "k = d"),),
                limits=(0.0, 1.5),
            ),
            Lines(
                name="steps",
                title=f"Error while training, after {scale.pairs - 1} examples",
                quantities=(dataclasses.replace(error, metric=f"normalized_error/{scale.pairs - 1}"),),
                x="step",
                lines=lines,
                columns=WEIGHTS if part == "weights" else None,
            ),
        ),
    )
    return icl.config_of(study)
