"""Induction heads form on repeated random tokens, all at once, and it takes two layers (Olsson et al. 2022, "In-context
learning and induction heads", arXiv 2209.11895).

    python launch/run.py --config=configs/sequences/repeats.py --workdir=out/repeats

Theirs are language models; here networks of attention alone see nothing but blocks of 8 to 20 random tokens, again and
again. Where all blocks are of one length, one layer can copy from a fixed distance instead. Words: see common.py.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences.common import Scale, of
from configs.words import words
from icl_sim.predictors import Transformer
from icl_sim.studies.claims import At, Crossing, Difference, Largest, above, below
from icl_sim.studies.figures import POSITION, PREDICTOR, STEP, Lines, Quantity
from icl_sim.tasks import Repeats

ONE, TWO = "one_layer", "two_layers"
LENGTH, SHORTEST = 20, 8
SCALES = {"reference": Scale(steps=800, seeds=3, points=24), "quick": Scale(steps=600, seeds=1, points=16)}

claim = claims_of("Olsson et al. 2022", min_steps=800)
own = claims_of("this study", min_steps=800)


def network(depth):
    """Attention alone, with rotary positions."""
    return Transformer(
        tokens="inputs", depth=depth, width=64, heads=2, mlp_ratio=0, position="rotary", position_base=100.0
    )


def at(metric, predictor, eval_set="repeated", shortest=SHORTEST):
    return of(metric, eval_set, predictor, **{"task.min_length": shortest})


FORMED = Crossing(at("error", TWO), 0.5)
CLAIMS = (
    claim(
        "two_layers",
        "Two layers of attention learn to continue what is repeated: the loss there ends below .2 nats.",
        at("cross_entropy", TWO),
        below(0.2),
    ),
    claim(
        "one_layer",
        "One layer does not: its loss stays above 1.",
        at("cross_entropy", ONE),
        above(1),
    ),
    claim(
        "score.two_layers",
        "The in-context learning score of two layers, the loss at the 12th token less that at the 72nd, is above 2.",
        Difference(at("cross_entropy/10", TWO, "fixed"), at("cross_entropy/70", TWO, "fixed")),
        above(2),
    ),
    claim(
        "score.one_layer",
        "That of one layer is below 2.",
        Difference(at("cross_entropy/10", ONE, "fixed"), at("cross_entropy/70", ONE, "fixed")),
        below(2),
    ),
    claim(
        "together",
        "The head forms as the error falls: when this passes a half, the prefix matching of the best head has doubled.",
        At(at("prefix_matching", TWO), FORMED),
        above(0.2),
    ),
    claim(
        "before",
        "Before, it is below .1.",
        Largest(at("prefix_matching", TWO), over="step", at_most=100.0),
        below(0.1),
    ),
    claim(
        "previous",
        "A head of attention to the slot before, which it composes with, has formed by then.",
        At(at("previous_slot", TWO), FORMED),
        above(0.15),
    ),
    claim(
        "head.one_layer",
        "In one layer none forms.",
        Largest(at("prefix_matching", ONE), over="step"),
        below(0.1),
    ),
    own(
        "distance",
        "Where all blocks are of one length, one layer does it too: it copies from a fixed distance.",
        at("error", ONE, shortest=LENGTH),
        below(0.05),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    study = icl.Study(
        name=f"Repeated random tokens ({chosen['scale']})",
        description="Olsson et al. 2022: blocks of up to 20 of 40 tokens, 80 slots, attention-only networks.",
        task=Repeats(vocabulary=40, length=LENGTH, blocks=4, min_length=SHORTEST),
        predictors={ONE: network(1), TWO: network(2)},
        training=icl.Training(steps=scale.steps, batch_size=32, learning_rate=1e-3),
        evaluation=icl.Evaluation(sequences=128, batch_size=128, points=scale.points),
        sweep=icl.product({"task.min_length": (SHORTEST, LENGTH), "seed": range(scale.seeds)}),
        claims=CLAIMS,
        figures=(
            Lines(
                name="mechanism",
                title="An induction head forms as repeated tokens are learned",
                quantities=(
                    Quantity("error", "repeated", "Error on repeated tokens"),
                    Quantity("prefix_matching", "repeated", "Prefix matching, best head"),
                    Quantity("previous_slot", "repeated", "Attention to the slot before, best head"),
                ),
                x=STEP,
                lines="quantity",
                columns=PREDICTOR,
                where={"task.min_length": SHORTEST},
            ),
            Lines(
                name="slots",
                title="Loss over the slots of four blocks of 20 tokens",
                quantities=(Quantity("cross_entropy", "fixed", "Loss (nats)"),),
                x=POSITION,
                lines=STEP,
                columns=PREDICTOR,
                predictors=(ONE, TWO),
                where={"task.min_length": SHORTEST},
                x_label="slot",
            ),
            Lines(
                name="distance",
                title="Blocks of 8 to 20 tokens, and all of 20",
                quantities=(Quantity("cross_entropy", "repeated", "Loss on repeated tokens (nats)"),),
                x=STEP,
                columns="task.min_length",
            ),
        ),
        headline=("repeated_error",),
    )
    return icl.config_of(study)
