"""What an induction head takes (Singh et al. 2024, "What needs to go right for an induction head? A mechanistic study
of in-context learning circuits and their formation", arXiv 2404.07129).

    python launch/run.py --config=configs/sequences/induction_heads.py --workdir=out/induction_heads
    python launch/run.py --config=configs/sequences/induction_heads.py:clamps --workdir=out/induction_clamps

A sequence is A a B b and A or B, of 50 classes, under labels drawn for the sequence out of 5; the network is the
paper's, two layers of 8 heads and nothing else. At a rate of 1e-3 instead of the paper's 1e-5 a tenth of its steps do,
and inputs have 64 coordinates instead of 512; `paper` is as theirs. Words: see common.py, and

    heads     nothing clamped: the induction strength of each head, and errors without it and with it alone; this is
              what runs without any word
    clamps    networks that are given a part of the circuit throughout training: labels that hold their items, where
              the query looks, or that what is looked at is copied
    data      more classes, and more labels
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import NETWORK, Scale, of
from configs.words import words
from icl_sim.predictors import Ablated, Clamped
from icl_sim.predictors.clamped import CopiedItems, CopiedLabels, InductionPattern
from icl_sim.predictors.networks import published
from icl_sim.studies.claims import At, Crossing, Difference, Ratio, above, below
from icl_sim.studies.figures import STEP, Lines, Quantity
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.presets import singh_induction

HEADS = 8
RATE = 1e-3
SCALES = {
    "reference": Scale(steps=3_000, seeds=3, points=40),
    "quick": Scale(steps=2_000, seeds=1, points=25),
    "paper": Scale(steps=31_250, seeds=3, points=50),
}
CLASSES, LABELS = (50, 200), (5, 15)
ITEMS, PATTERN, COPIES = "items_copied", "pattern_given", "labels_copied"

claim = claims_of("Singh et al. 2024", min_steps=3_000)


def formed(predictor=NETWORK, error=0.25, **where):
    """The step from which on fewer of training's sequences than this are answered wrongly."""
    return Crossing(of("error", "default", predictor, **where), error)


def without(what):
    return of(f"error_{what}", "default")


def heads_claims():
    single = (
        claim(
            f"redundant.{head}",
            f"Without head {head} of the second layer alone the error stays below .1.",
            without(f"without/1.{head}"),
            below(0.1),
            "redundant and additive",
        )
        for head in range(HEADS)
    )
    return (
        claim("learns", "In the end nearly all is right.", of("error", "default"), below(0.02), "error 1e-5"),
        claim(
            "plateau",
            "Where a third is still wrong the query has only begun to look at the right label: strength below .3.",
            At(of("induction_strength", "default"), Crossing(of("error", "default"), 0.35)),
            below(0.3),
        ),
        claim(
            "strength",
            "In the end the induction strength is above .3, the mean of the second layer's heads.",
            of("induction_strength", "default"),
            above(0.3),
            ".53, of .42 .74 .71 .85 .29 .55 .10 .57",
        ),
        *single,
        claim(
            "direct",
            "What the first layer adds to the answer directly, besides what the second reads of it, is not needed.",
            Difference(without("without_keeping_both/0.all"), of("error", "default")),
            below(0.05),
            "costs 1e-4",
        ),
        claim(
            "composed",
            "What the second layer reads of it is: without the first layer the error is above .4. Guessing one of the "
            "context's two labels leaves .5, and one of all five .8.",
            without("without/0.all"),
            above(0.4),
        ),
    )


def sooner(id, predictor, statement, published=""):
    return claim(
        id,
        f"{statement} the error falls below a quarter in less than half of the steps.",
        Ratio(formed(predictor), formed()),
        below(0.5),
        published,
    )


CLAMPS_CLAIMS = (
    sooner("items", ITEMS, "Given the first layer's work, that label tokens hold their items,", "most of the plateau"),
    sooner("pattern", PATTERN, "Given where the query looks,"),
    sooner("copies", COPIES, "Given that what a head looks at is copied to the answer,"),
)
CLASSES_AT, LABELS_AT = "task.num_classes", "task.relabels"


def at(classes, labels):
    return formed(**{CLASSES_AT: classes, LABELS_AT: labels})


DATA_CLAIMS = (
    claim(
        "classes",
        "With 200 classes instead of 50 the circuit takes longer: matching is slower to learn.",
        Ratio(at(CLASSES[1], LABELS[0]), at(CLASSES[0], LABELS[0])),
        above(1),
        "later",
    ),
    claim(
        "labels",
        "With 15 labels instead of 5 it takes longer: copying is slower to learn.",
        Ratio(at(CLASSES[0], LABELS[1]), at(CLASSES[0], LABELS[0])),
        above(1),
        "later",
    ),
)


def lines(name, title, quantities, **how):
    return Lines(name=name, title=title, quantities=quantities, x=STEP, **how)


ERRORS = (
    Quantity("error", "default", "Classes of training, labels of the sequence"),
    Quantity("error", "icl", "Classes and pairs of labels held out"),
)
ALONE = tuple(Quantity(f"error_only/1.{head}", "default", f"Head {head} alone") for head in range(HEADS))
STRENGTHS = tuple(Quantity(f"induction_strength/1.{head}", "default", f"Head {head}") for head in range(HEADS))
PARTS_LOST = (
    Quantity("error_without/0.all", "default", "Without the first layer"),
    Quantity("error_without_keeping_patterns/0.all", "default", "Without it, later maps kept"),
    Quantity("error_without_keeping_values/0.all", "default", "Without it, later values kept"),
    Quantity("error_without_keeping_both/0.all", "default", "Without it, both kept"),
    Quantity("error", "default", "The whole network"),
)


def get_config(arg=""):
    chosen = words(arg, {"part": PARTS, "scale": SCALES})
    scale, full = SCALES[chosen["scale"]], chosen["scale"] == "paper"
    predictors, claims, figures, axes = PARTS[chosen["part"]](published.singh_induction())
    inputs = None if full else Clusters(dim=64, noise=0.0, exemplars=1)
    study = icl.Study(
        name=f"Induction heads, {chosen['part']} ({chosen['scale']})",
        description="A a B b and A or B, under labels of the sequence; two layers of attention alone.",
        task=singh_induction(inputs=inputs),
        predictors=predictors,
        training=icl.Training(steps=scale.steps, batch_size=32, learning_rate=1e-5 if full else RATE),
        evaluation=common.evaluation(scale),
        sweep=icl.product(*axes, {"seed": range(scale.seeds)}),
        claims=claims,
        figures=figures,
        headline=("icl_error",),
    )
    return icl.config_of(study)


def heads_part(network):
    predictors = {NETWORK: Ablated(network=network, preserve=("nothing", "patterns", "values", "both"))}
    figures = (
        lines("errors", "In-context learning forms at once: errors", ERRORS, lines="quantity"),
        lines(
            "strength",
            "Induction strength of the second layer's heads",
            STRENGTHS,
            lines="quantity",
            limits=(-0.1, 1.0),
        ),
        lines("alone", "Errors with one head of the second layer alone", ALONE, lines="quantity"),
        lines("composition", "What the second layer reads of the first: errors", PARTS_LOST, lines="quantity"),
    )
    return predictors, heads_claims(), figures, ()


def clamps_part(network):
    predictors = {
        NETWORK: network,
        ITEMS: Clamped(network=network, clamps=(CopiedItems(layer=0),)),
        PATTERN: Clamped(network=network, clamps=(InductionPattern(layer=1),)),
        COPIES: Clamped(network=network, clamps=(CopiedLabels(layer=1),)),
    }
    figures = (lines("errors", "Parts of the circuit given: errors", ERRORS[:1]),)
    return predictors, CLAMPS_CLAIMS, figures, ()


def data_part(network):
    axes = (
        {CLASSES_AT: CLASSES},
        icl.zip_({LABELS_AT: LABELS}, {"task.num_labels": LABELS}),
    )
    figures = (lines("errors", "More classes, more labels: errors", ERRORS[:1], lines=CLASSES_AT, columns=LABELS_AT),)
    return {NETWORK: network}, DATA_CLAIMS, figures, axes


PARTS = {"heads": heads_part, "clamps": clamps_part, "data": data_part}
