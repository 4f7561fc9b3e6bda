"""Linear self-attention runs gradient descent in its forward pass (von Oswald et al. 2023, "Transformers Learn
In-Context by Gradient Descent", arXiv 2212.07677).

    python launch/run.py --config=configs/regression/lsa_is_gd.py --workdir=out/lsa_is_gd
    python launch/run.py --config=configs/regression/lsa_is_gd.py:lengths --workdir=out/lsa_lengths

The part after the colon: how much (`paper`, or nothing; `quick`: a fifth of the steps) and what of it:

    one_layer     one layer beside one step of gradient descent: errors, sensitivities, other laws, the averaged layer
    layers        2 layers with one set of weights, beside two steps of GD and of GD++
    untied        5 layers with weights of their own, beside five steps
    recurrent     10 layers with one set of weights, beside 5 with weights of their own
    lengths       the shrinkage gamma of two tuned steps of GD++, at N = 10, 25, 50, 100
    softmax       one layer of one, or two, heads of softmax attention
    interleaved   x and y in tokens of their own, two layers, the first of softmax attention
    prompts       a training set of 128 to 8,192 fixed prompts
    sine          sine waves, embedded by an MLP

x is uniform on (-.5, .5)^d as in the released code, which the published losses fit, and not on (-1, 1)^d as in the
paper. Losses are squared errors; the paper halves them.
"""

import dataclasses

import icl_sim as icl
from configs.words import words
from icl_sim.metrics import CopySensitivity, Distance, Interpolation, Rollout, Sensitivity
from icl_sim.predictors import GradientDescent, GradientDescentPlusPlus, LinearAttention, Tuned
from icl_sim.studies.claims import Claim, Ratio, Value, above, below, near
from icl_sim.studies.figures import Lines, Quantity
from icl_sim.tasks import Regression
from icl_sim.tasks.regression import Linear, Sine, Uniform
from icl_sim.theory import Constructed, risks

SOURCE = "von Oswald et al. 2023"
HALF_WIDTH = 0.5
OTHER_LAWS = ("x_scale:0.5", "x_scale:2", "w_scale:0.5", "w_scale:2", "other_laws:3", "noisy_targets:2")
TASK = Regression(
    function=Linear(), inputs=Uniform(half_width=HALF_WIDTH), dim=10, context_length=10, scored="last"
)
TRAINING = icl.Training(steps=5_000, batch_size=2048, learning_rate=1e-3, clip_norm=10.0)
EVALUATION = icl.Evaluation(sequences=10_000, batch_size=1_000, points=6)
SCALES = {"paper": 1, "quick": 5}
LAW = "x uniform on (-.5, .5)^10, y = w.x, w normal, 10 pairs and a query"

ETA = float(risks.best_rate_uniform(10, 10, half_width=HALF_WIDTH))
GD, GD_LOSS = GradientDescent(rate=ETA), float(risks.best_one_step_uniform(10, 10, half_width=HALF_WIDTH))
# The best two steps of GD++ with one rate and one shrinkage, tuned on 20,000 prompts: half the loss .1104 on others.
GDPP_RATE, GDPP_SHRINK = 13.47, 0.1755


def tuned(steps: int, plus_plus: bool = False, per_step: bool = False, rate: float = 1.0) -> Tuned:
    """Gradient descent, or GD++, with the rates that fit the task best, sought from this one on."""
    kind = GradientDescentPlusPlus if plus_plus else GradientDescent
    return Tuned(learner=kind(steps=steps, learned=True, per_step=per_step, rate=rate))


def value(metric, predictor="lsa", eval_set="default", **where):
    return Value(predictor=predictor, metric=metric, eval_set=eval_set, where=where)


def claim(id, statement, measure, condition, published=None, **kwargs):
    return Claim(
        id=id, statement=statement, source=SOURCE, measure=measure, condition=condition, published=published, **kwargs
    )


def _loss_ratio(a, b, eval_set="default"):
    return Ratio(value("squared_error", a, eval_set), value("squared_error", b, eval_set))


ONE_LAYER = (
    claim(
        "B1.loss",
        "A trained layer has the loss of the best step of gradient descent, to 1 %.",
        _loss_ratio("lsa", "gd"),
        near(1, 0.01),
        "equal",
        min_steps=4_000,
    ),
    claim(
        "B1.closed_form",
        "And that is the closed form, a squared error of 2 x .2062 in 10 dimensions, to 5 %.",
        value("normalized_error"),
        near(GD_LOSS, 0.05 * GD_LOSS),
        "a loss of about .2, here .04",
        min_steps=4_000,
    ),
    claim(
        "B1.cosine",
        "Both answers turn with the query in the same direction.",
        value("sensitivity_cosine_gd"),
        above(0.99),
        "above .99",
        min_steps=4_000,
    ),
    claim(
        "B1.averaged",
        "The layer halfway to the constructed one keeps the loss: they are one solution up to scale.",
        Ratio(value("interpolation_loss_constructed"), value("squared_error", "gd")),
        near(1, 0.02),
        "equal",
        min_steps=4_000,
    ),
    *(
        claim(
            f"B1.{law}",
            f"Other laws change nothing: the losses are equal at {law.replace('_', ' ').replace(':', ' ')}, to 5 %.",
            _loss_ratio("lsa", "gd", law),
            near(1, 0.05),
            "curves coincide",
            min_steps=4_000,
        )
        for law in OTHER_LAWS
    ),
)
LAYERS = (
    claim(
        "B2.gd",
        "Two recurrent layers are better than two steps of gradient descent.",
        _loss_ratio("lsa_2", "gd_2"),
        below(1),
        "better",
        min_steps=4_000,
    ),
    claim(
        "B2.plus_plus",
        "They are as good as two steps of GD++, to 10 %.",
        _loss_ratio("lsa_2", "gdpp_2"),
        near(1, 0.1),
        "equal",
        min_steps=4_000,
    ),
    claim(
        "B2.averaged",
        "The layer halfway to that of GD++ has the loss of both, to 10 %: they are one solution up to scale.",
        Ratio(value("interpolation_loss_constructed", "lsa_2"), value("squared_error", "gdpp_2")),
        near(1, 0.1),
        "equal",
        min_steps=4_000,
    ),
)
UNTIED = (
    claim(
        "B3",
        "Five layers of their own have a loss of at most 2 x .04.",
        value("squared_error", "lsa_5"),
        below(0.08),
        "near 0",
        min_steps=40_000,
    ),
)
RECURRENT = (
    claim(
        "B7",
        "Ten layers with one set of weights are worse than five with weights of their own.",
        _loss_ratio("lsa_10", "lsa_5"),
        above(1),
        "worse",
        min_steps=40_000,
    ),
)
HEADS = (
    claim(
        "B4.one",
        "One head of softmax attention does not reach gradient descent.",
        _loss_ratio("softmax_1", "gd"),
        above(1.1),
        "fails",
        min_steps=4_000,
    ),
    claim(
        "B4.two",
        "Two heads nearly do, to 10 %.",
        _loss_ratio("softmax_2", "gd"),
        near(1, 0.1),
        "nearly",
        min_steps=4_000,
    ),
)
INTERLEAVED = (
    claim(
        "B5",
        "Two layers on tokens of one kind each have the loss of one step, to 5 %.",
        _loss_ratio("copying", "gd"),
        near(1, 0.05),
        "equal, a loss of .205",
        min_steps=40_000,
    ),
)
PROMPTS = (
    claim(
        "B6.few",
        "128 fixed prompts do not suffice.",
        value("sensitivity_cosine_gd", **{"task.prompts": 128.0}),
        below(0.9),
        "fails",
        min_steps=4_000,
    ),
    claim(
        "B6.many",
        "8,192 prompts do.",
        value("sensitivity_cosine_gd", **{"task.prompts": 8192.0}),
        above(0.95),
        "about 2,048 suffice",
        min_steps=4_000,
    ),
)
SHRINK = {10: 0.179, 25: 0.099, 50: 0.056, 100: 0.029}
LENGTHS = tuple(
    claim(
        f"B2.gamma.{pairs}",
        f"With {pairs} pairs two tuned steps of GD++ shrink inputs by {gamma}, to 15 %.",
        value("shrink", "gdpp_2", "parameters", **{"task.context_length": pairs}),
        near(gamma, 0.15 * gamma),
        gamma,
    )
    for pairs, gamma in SHRINK.items()
)
_GD = {"gd": GD}
_ONE = Constructed(network=LinearAttention(), construction="gd", rate=ETA)
_TIED = LinearAttention(depth=2, tied=True)
_TWO = Constructed(network=_TIED, construction="gd++", rate=GDPP_RATE, shrink=GDPP_SHRINK)
_SENSED = {"distance": Distance(), "sensitivity": Sensitivity()}
_ONE_ONLY = {
    "interpolation": Interpolation(references=("constructed",)),
    "rollout": Rollout(references=("constructed",)),
}
_LOSS = Quantity("squared_error", "default", "Squared error")
_SHOWN = (
    _LOSS,
    Quantity("sensitivity_cosine_gd", "default", "Cosine of sensitivities to GD"),
    Quantity("sensitivity_difference_gd", "default", "Difference of sensitivities"),
    Quantity("prediction_difference_gd", "default", "Difference of answers"),
)
_STEPS = Lines(name="steps", title="While training", quantities=_SHOWN, x="step", lines="predictor")
_LAYERS = Lines(name="steps", title="While training", quantities=(_LOSS,), x="step", lines="predictor", log_y=True)
_FIVE, _LONG = LinearAttention(depth=5, clip=10.0), {"steps": 50_000, "learning_rate": 5e-4}
PARTS = {
    "one_layer": {
        "predictors": {"lsa": LinearAttention(), "constructed": _ONE, **_GD},
        "seeds": 5,
        "task": TASK.replace(shifts=OTHER_LAWS),
        "references": {**_GD, "constructed": _ONE},
        "comparisons": {**_SENSED, **_ONE_ONLY},
        "claims": ONE_LAYER,
        "figures": (
            _STEPS,
            Lines(
                name="rollout",
                title="One layer used again and again, damped",
                quantities=(Quantity("rollout_loss_constructed", "default", "Squared error"),),
                x="position",
                x_label="uses",
                lines="predictor",
                predictors=("lsa", "constructed"),
                log_y=True,
            ),
        ),
    },
    "layers": {
        "predictors": {
            "lsa_2": _TIED,
            "gd_2": tuned(2),
            "gdpp_2": tuned(2, plus_plus=True),
        },
        "references": {"constructed": _TWO},
        "comparisons": {"interpolation": Interpolation()},
        "claims": LAYERS,
        "figures": (_LAYERS,),
    },
    "untied": {
        "predictors": {
            "lsa_5": _FIVE,
            "gd_5": tuned(5),
            "gdpp_5": tuned(5, plus_plus=True, per_step=True),
        },
        "claims": UNTIED,
        "figures": (_LAYERS,),
        "training": _LONG,
    },
    "recurrent": {
        "predictors": {"lsa_5": _FIVE, "lsa_10": LinearAttention(depth=10, tied=True, clip=10.0)},
        "claims": RECURRENT,
        "figures": (_LAYERS,),
        "training": _LONG,
    },
    "softmax": {
        "predictors": {
            "softmax_1": LinearAttention(softmax_layers=(0,)),
            "softmax_2": LinearAttention(softmax_layers=(0,), heads=2),
            "lsa": LinearAttention(),
            **_GD,
        },
        "references": _GD,
        "comparisons": _SENSED,
        "claims": HEADS,
        "figures": (_STEPS,),
    },
    "interleaved": {
        "predictors": {
            "copying": LinearAttention(
                depth=2, tokens="interleaved", position="sinusoid", key_size=20, softmax_layers=(0,)
            ),
            **_GD,
        },
        "references": _GD,
        "comparisons": {**_SENSED, "copy": CopySensitivity()},
        "claims": INTERLEAVED,
        "figures": (
            _STEPS,
            Lines(
                name="copy",
                title="What the first layer's x tokens depend on",
                quantities=(
                    Quantity("sensitivity_own_gd", "default", "themselves"),
                    Quantity("sensitivity_next_gd", "default", "the next token, their y"),
                    Quantity("sensitivity_other_gd", "default", "the others"),
                ),
                x="step",
                lines="quantity",
            ),
        ),
        "training": {"steps": 50_000},
    },
    "prompts": {
        "predictors": {"lsa": LinearAttention(), **_GD},
        "references": _GD,
        "comparisons": _SENSED,
        "sweep": {"task.prompts": tuple(2.0**k for k in (7, 9, 11, 13))},
        "claims": PROMPTS,
        "figures": (_STEPS,),
    },
    "lengths": {
        # At 100 pairs there are worse minima; from here no seed that was tried ends in one.
        "predictors": {"gdpp_2": tuned(2, plus_plus=True, rate=5.0)},
        "law": "x uniform on (-.5, .5)^10, y = w.x, w normal, 10 to 100 pairs and a query",
        "sweep": icl.zip_(
            {
                "task.context_length": tuple(SHRINK),
                "predictors.gdpp_2.learner.shrink": tuple(2 / pairs for pairs in SHRINK),
            }
        ),
        "claims": LENGTHS,
        "figures": (
            Lines(
                name="shrink",
                title="How far GD++ shrinks inputs",
                quantities=(Quantity("shrink", "parameters", "gamma"),),
                x="task.context_length",
                columns=None,
                predictors=("gdpp_2",),
            ),
            dataclasses.replace(_LAYERS, columns="task.context_length"),
        ),
    },
    "sine": {
        "predictors": {"embedded": LinearAttention(embedding=40, mlp_ratio=4), "lsa": LinearAttention()},
        "task": TASK.replace(function=Sine(), inputs=Uniform(half_width=5.0), dim=1),
        "law": "x uniform on (-5, 5), y = a sin(x + rho), a uniform on (.1, 5), rho on (0, pi), 10 pairs and a query",
        "figures": (_LAYERS,),
        "training": {"steps": 20_000},
    },
}


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES, "part": PARTS})
    part, share = PARTS[chosen["part"]], SCALES[chosen["scale"]]
    training = dataclasses.replace(TRAINING, **part.get("training", {}))
    study = icl.Study(
        name=f"Linear attention and gradient descent ({', '.join(chosen.values())})",
        description=f"von Oswald et al. 2023: {part.get('law', LAW)}.",
        task=part.get("task", TASK),
        predictors=part["predictors"],
        references=part.get("references", {}),
        comparisons=part.get("comparisons", {}),
        training=dataclasses.replace(training, steps=training.steps // share),
        evaluation=EVALUATION,
        sweep=icl.product(part.get("sweep", {}), {"seed": range(part.get("seeds", 3))}),
        claims=part.get("claims", ()),
        figures=part["figures"],
    )
    return icl.config_of(study)
