"""What the comparisons of in-context learning with finetuning on real tasks share.

Three scales: "small", 3 seeds, 3 learning rates and 200 queries, with what Deutch et al. compare with; "grid", the
search of Dai et al. over 7 seeds and 36 rates on all queries, hours on a CPU; "quick", a tiny random model on invented
rows, which says nothing about language and runs in a minute.
"""

import dataclasses

import icl_sim as icl
from configs.words import words
from icl_sim.lm.study import LAYERS, Finetuned, InContext, LabelledText, ZeroShot
from icl_sim.studies.claims import Claim, Difference, Ratio, Value, above, below
from icl_sim.studies.claims import Range as Within
from icl_sim.studies.figures import Lines, Quantity

DAI, DEUTCH = "Dai et al. 2023 (arXiv 2212.10559)", "Deutch et al. 2024 (arXiv 2311.07772)"
OURS = "icl_sim, SmolLM2-135M"
RATE = "predictors.finetuned.learning_rate"
LOW, MIDDLE, HIGH = 0.001, 0.01, 0.1
LAYER_CAUSAL_RATE = 0.003


@dataclasses.dataclass(frozen=True)
class Scale:
    seeds: tuple
    rates: tuple
    task: dict
    claims: bool = True


SCALES = {
    "small": Scale((1, 2, 3), (LOW, MIDDLE, HIGH), {"queries": 200}),
    "grid": Scale(tuple(range(1, 8)), tuple(d * 10.0**-e for e in range(4, 0, -1) for d in range(1, 10)), {}),
    "quick": Scale((1, 2, 3), (MIDDLE, HIGH), {"model": "tiny", "data": "fixture", "shots": 4, "queries": 16}, False),
}


def comparison(data, name, arg):
    """The config of the comparison on a data set."""
    scale = SCALES[words(arg, {"scale": SCALES})["scale"]]
    predictors = {"zero_shot": ZeroShot(), "in_context": InContext(), "finetuned": Finetuned()}
    if compared := scale is not SCALES["grid"]:
        predictors |= {
            "layer_causal": Finetuned(method="lcgd", learning_rate=LAYER_CAUSAL_RATE, alpha_rate=MIDDLE),
            "trained_embeddings": Finetuned(weights="trained_embeddings", learning_rate=MIDDLE),
            "untrained": Finetuned(weights="untrained", learning_rate=MIDDLE),
        }
    study = icl.Study(
        name=f"In-context learning and finetuning on {name}",
        description=f"{name}: the model as it is, with demonstrations in its context, and finetuned on them one by one "
        "(keys and values only). Similarities compare the changes that both make to attention. Beside them: "
        "untrained, with random weights; trained embeddings, with random layers; layer causal, with a loss per layer.",
        task=LabelledText(**{"data": data, **scale.task}),
        predictors=predictors,
        training=icl.Training(steps=0),
        sweep=icl.product({"seed": scale.seeds, RATE: scale.rates}),
        claims=(*CLAIMS, *(COMPARED if compared else ())) if scale.claims else (),
        figures=FIGURES,
    )
    return icl.config_of(study)


def finetuned(metric, rate=MIDDLE):
    return Value(predictor="finetuned", metric=metric, where={RATE: rate})


def of(predictor, metric):
    return Value(predictor=predictor, metric=metric)


def claim(id, statement, source, measure, condition, published=None):
    return Claim(id=id, statement=statement, source=source, measure=measure, condition=condition, published=published)


# What Dai et al. state, what Deutch et al. found of it, and what a small model of today added.
CLAIMS = (
    claim(
        "icl.auc",
        "Demonstrations add information: the AUC of ICL is above that of ZSL.",
        OURS,
        Difference(of("in_context", "auc"), of("zero_shot", "auc")),
        above(0.0),
    ),
    claim(
        "ft.accuracy",
        f"Finetuning at a rate of {MIDDLE} answers better than ZSL.",
        DAI,
        Difference(finetuned("accuracy"), of("zero_shot", "accuracy")),
        above(0.0),
    ),
    claim(
        "rec2ftp",
        "ICL is right on most of what finetuning corrects.",
        DAI,
        finetuned("rec2ftp"),
        above(85.0),
        "85.6 on average (1.3B)",
    ),
    claim(
        "aou.random",
        "Output updates of finetuning, normalised, are more like those of ICL than random ones are.",
        DAI,
        Difference(finetuned("sim_aou_norm"), finetuned("sim_aou_norm_uniform")),
        above(0.05),
        "0.186 against 0.002 (1.3B)",
    ),
    claim(
        "aou.halved",
        "Without normalising, about half of that is left.",
        DEUTCH,
        Ratio(finetuned("sim_aou_norm"), finetuned("sim_aou")),
        Within(1.5, 3.0),
        "0.187 to 0.102 (1.3B)",
    ),
    claim(
        "aou.same_norm",
        "A random step as long as that of finetuning scores well, too, where outputs are normalised.",
        OURS,
        finetuned("sim_aou_norm_same_norm"),
        above(0.05),
    ),
    claim(
        "am.after",
        "Finetuning brings attention maps nearer to those of ICL.",
        DAI,
        Difference(finetuned("sim_am_after"), finetuned("sim_am_before")),
        above(0.0),
        "0.338 to 0.442 on average (1.3B)",
    ),
    claim(
        "am.after.low",
        f"Finetuning at a rate of {LOW} brings attention maps nearer to those of ICL.",
        DAI,
        Difference(finetuned("sim_am_after", LOW), finetuned("sim_am_before", LOW)),
        above(0.0),
    ),
    claim(
        "kendall",
        "Finetuning weighs the demonstrations' tokens more like ICL than random weights do.",
        DAI,
        Difference(finetuned("kendall"), finetuned("kendall_random")),
        above(0.0),
        "0.193 against 0.000 (1.3B)",
    ),
    claim(
        "rate.aou",
        f"At a rate of {HIGH} output updates are more like those of ICL than at {MIDDLE}, ...",
        OURS,
        Difference(finetuned("sim_aou", HIGH), finetuned("sim_aou")),
        above(0.0),
    ),
    claim(
        "rate.accuracy",
        "... where answers are worse: similarity says nothing without accuracy beside it.",
        OURS,
        Difference(finetuned("accuracy", HIGH), finetuned("accuracy")),
        below(0.0),
    ),
)
# The same beside what Deutch et al. compare with.
COMPARED = (
    claim(
        "aou.untrained",
        "An untrained network scores at least as high as the trained one.",
        DEUTCH,
        Difference(of("untrained", "sim_aou"), finetuned("sim_aou")),
        above(0.0),
        "0.09 against 0.05 (SST-2, 1.3B)",
    ),
    claim(
        "lcgd.aou",
        "A loss per layer makes output updates more like those of ICL.",
        DEUTCH,
        Difference(of("layer_causal", "sim_aou"), finetuned("sim_aou")),
        above(0.0),
        "0.102 to 0.167 on average (1.3B)",
    ),
    claim(
        "lcgd.am_delta",
        "A loss per layer makes changes of attention maps more like those of ICL.",
        DEUTCH,
        Difference(of("layer_causal", "sim_am_delta"), finetuned("sim_am_delta")),
        above(0.0),
        "0.267 to 0.336 on average (1.3B)",
    ),
    claim(
        "lcgd.am",
        "A loss per layer moves attention maps further from those of ICL.",
        DEUTCH,
        Difference(of("layer_causal", "sim_am_after"), finetuned("sim_am_after")),
        below(0.0),
        "0.435 to 0.283 on average (1.3B)",
    ),
    claim(
        "lcgd.alpha",
        "A loss per layer does not approximate gradient descent: they change attention maps in other directions.",
        DEUTCH,
        of("layer_causal", "alpha"),
        below(0.3),
        "0.1 to 0.2 on most data sets (1.3B)",
    ),
)

ANSWERS = (
    Quantity("accuracy", label="Accuracy"),
    Quantity("calibrated_accuracy", label="Accuracy, batch-calibrated"),
    Quantity("auc", label="AUC"),
)
SIMILARITIES = (
    Quantity("sim_aou_norm", LAYERS, "SimAOU, normalised"),
    Quantity("sim_aou", LAYERS, "SimAOU"),
    Quantity("sim_am_delta", LAYERS, "SimAM of changes"),
    Quantity("kendall", LAYERS, "Kendall's tau"),
)
RELAXED = (
    Quantity("relaxation_cosine", LAYERS, "Cosine"),
    Quantity("relaxation_scaled_error", LAYERS, "Relative error, best scaled"),
)
BY_LAYER = Lines(
    name="layers",
    title="Similarity to ICL, by layer",
    quantities=SIMILARITIES,
    x="position",
    x_label="layer",
    columns=None,
)
FIGURES = (
    Lines(name="answers", title="Answers over the learning rate of finetuning", quantities=ANSWERS, x=RATE),
    dataclasses.replace(BY_LAYER, where={RATE: MIDDLE}),
    Lines(
        name="rates",
        title="Similarity to ICL over the learning rate",
        quantities=tuple(Quantity(q.metric, label=q.label) for q in SIMILARITIES),
        x=RATE,
    ),
    Lines(
        name="relaxation",
        title="Attention without its softmax beside attention, in context, by layer",
        quantities=RELAXED,
        x="position",
        x_label="layer",
    ),
)
