"""An induction head forms at once, after a long plateau (Reddy 2023, "The mechanistic basis of data dependence and
abrupt learning in an in-context classification task", arXiv 2312.03002).

    python launch/run.py --config=configs/sequences/abrupt_transition.py --workdir=out/abrupt_transition

Every sequence is of classes that it alone has, so that only the context tells. First the network learns to name a
label of the context, any of the 8; then, within some hundred steps, label tokens attend to their items, the query to
the right label, and the error falls. Words: see common.py; and

    full   Reddy's two attention layers, which is what runs without any word
    head   an induction head of three numbers in their place (his minimal model). Where it forms, the same plateau and
           the same drop; but 0, where it starts, is a saddle, and some seeds leave it on the side from which there is
           no way (beta1 and alpha below 0), 3 of the 6 here
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import NETWORK, Scale, of
from configs.words import words
from icl_sim.predictors import InductionHead, InductionNetwork
from icl_sim.studies.claims import At, Crossing, Largest, Smallest, above, below
from icl_sim.studies.figures import STEP, Lines, Quantity
from icl_sim.tasks.sequences.presets import reddy

SCALES = {"reference": Scale(steps=4_000, seeds=3, points=80), "quick": Scale(steps=3_500, seeds=1, points=50)}
# Adam moves every number as far in a step: with a gain the head's three keep pace with the classifier.
NETWORKS = {"full": InductionNetwork(), "head": InductionHead(gain=10.0)}
PLATEAU = {"over": "step", "at_least": 700.0, "at_most": 1_500.0}
FORMED = Crossing(of("error"), 0.5)


claim = claims_of("Reddy 2023", min_steps=3_500)


CLAIMS = (
    claim(
        "plateau.error",
        "From step 700 to 1,500 the error stays near 7/8, that of guessing one of the context's 8 labels.",
        Smallest(of("error"), **PLATEAU),
        above(0.8),
    ),
    claim(
        "plateau.labels",
        "By then the answer is one of the context's labels.",
        Smallest(of("from_context"), **PLATEAU),
        above(0.75),
    ),
    claim(
        "plateau.previous",
        "While label tokens do not attend to their items yet.",
        Largest(of("previous_token"), **PLATEAU),
        below(0.25),
    ),
    claim(
        "together",
        "When the error falls below a half, they do: the head's first half forms as the error falls.",
        At(of("previous_token"), FORMED),
        above(0.35),
    ),
    claim(
        "strength",
        "And the query tells right labels from wrong ones.",
        At(of("induction_strength"), FORMED),
        above(0.1),
    ),
    claim("after", "In the end nearly all are answered from the context.", of("error"), below(0.1)),
)


EARLY = {"over": "step", "at_least": 300.0, "at_most": 600.0}
HEAD_CLAIMS = (
    claim(
        "head.plateau.error",
        "From step 300 to 600 the error of three numbers and a classifier stays near 7/8 too.",
        Smallest(of("error"), **EARLY),
        above(0.8),
    ),
    claim(
        "head.plateau.labels",
        "While the query comes to look at labels.",
        Largest(of("label_tokens"), **EARLY),
        above(0.8),
    ),
    claim(
        "head.plateau.previous",
        "And label tokens do not look at their items.",
        Largest(of("previous_token"), **EARLY),
        below(0.25),
    ),
    claim(
        "head.together",
        "When the error falls below a half, they do.",
        At(of("previous_token"), FORMED),
        above(0.5),
    ),
    claim(
        "head.right",
        "And the query looks at the right label.",
        At(of("right_labels"), FORMED),
        above(0.4),
    ),
    claim("head.after", "In the end most are answered from the context.", of("error"), below(0.25)),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES, "network": NETWORKS})
    scale, is_head = SCALES[chosen["scale"]], chosen["network"] == "head"
    mechanism = (
        Quantity("error", "icl", "Error on new classes"),
        Quantity("from_context", "icl", "Answers that are in the context (CLA)"),
        Quantity("label_tokens", "icl", "Attention to label tokens (TLA2)"),
        Quantity("previous_token", "icl", "Attention of label tokens to their item (ILA1)"),
        Quantity("right_labels", "icl", "Attention to the right label (TILA2)"),
        Quantity("induction_strength", "icl", "Induction strength"),
    )
    study = icl.Study(
        name=f"Abrupt transition ({', '.join(['three numbers'] * is_head + [chosen['scale']])})",
        description="Reddy 2023: new classes in every sequence, 8 pairs, 32 labels, "
        + ("an induction head of three numbers." if is_head else "two attention layers."),
        task=reddy(num_classes=1024, burst=1, p_novel=1.0),
        predictors={NETWORK: NETWORKS[chosen["network"]]},
        training=common.training(scale, learning_rate=3e-4),
        evaluation=common.evaluation(scale),
        sweep=icl.product({"seed": range(scale.seeds * (2 if is_head else 1))}),
        claims=HEAD_CLAIMS if is_head else CLAIMS,
        figures=(
            Lines(
                name="mechanism",
                title="An induction head forms at once",
                quantities=mechanism,
                x=STEP,
                lines="quantity",
            ),
        ),
        headline=("icl_error",),
    )
    return icl.config_of(study)
