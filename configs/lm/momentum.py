"""Attention with momentum: does what gradient descent gains from it carry over (Dai et al. 2023, section 5)?

    python launch/run.py --config=configs/lm/momentum.py --workdir=out/momentum
    python launch/run.py --config=configs/lm/momentum.py:classes --workdir=out/momentum_classes

If attention is a step of gradient descent, a running sum of earlier values, sum_{i<t} eta^(t-i) v_i, is its momentum.
The paper trained two GPTs of 350M parameters on a corpus that it does not name with an eta that it does not tell. Here
eta is swept, 0 being ordinary attention, all in one program. Words: scales as in sequences/common.py; and

    text      language models of the bytes of Python's standard library, which is what runs without any word: the loss
              on text held out, at three lengths of context
    classes   transformers on Reddy's sequences of new classes: when do they learn in context?
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences.common import Scale, of
from configs.words import words
from icl_sim.predictors import Transformer
from icl_sim.studies.claims import Crossing, Difference, Smallest, above, below
from icl_sim.studies.figures import POSITION, STEP, Lines, Quantity
from icl_sim.tasks import Corpus
from icl_sim.tasks.sequences.presets import reddy

MODEL, ETA = "model", "predictors.model.momentum"
ETAS = (0.0, 0.1, 0.3, 0.5)
SCALES = {
    "text": {"reference": Scale(steps=1_000, seeds=3, points=12), "quick": Scale(steps=300, seeds=1, points=6)},
    "classes": {"reference": Scale(steps=3_000, seeds=3, points=40), "quick": Scale(steps=1_500, seeds=1, points=15)},
}
# The widths of heads and the shape of blocks are GPT's.
TEXT = Transformer(
    tokens="inputs",
    embedding="table",
    depth=3,
    width=64,
    heads=4,
    position="rotary",
    position_base=1_000.0,
    momentum_attention=True,
)
CLASSES = Transformer(depth=2, width=64, heads=1, momentum_attention=True)
claim = claims_of("Dai et al. 2023, section 5", min_steps=1_000)


def at(metric, eval_set, eta):
    return of(metric, eval_set, MODEL, **{ETA: eta})


def gain(eval_set):
    """By how much momentum of .3 lowers the loss, in nats per byte: minus the log of the ratio of perplexities."""
    return Difference(at("cross_entropy", eval_set, 0.0), at("cross_entropy", eval_set, 0.3))


CLAIMS = {
    "text": tuple(
        claim(
            f"perplexity.{name}",
            f"With momentum of .3 the perplexity of text held out is lower at {length}.",
            gain(name),
            above(0),
            published,
        )
        for name, length, published in (
            ("default", "the full length", "15.14 -> 15.02"),
            ("half", "half of it", "16.87 -> 16.73"),
            ("quarter", "a quarter of it", "19.50 -> 19.37"),
        )
    ),
    "classes": (
        claim(
            "with",
            "With momentum of .3 new classes are learned in context within 2,500 steps: the error falls below a half.",
            Crossing(at("error", "icl", 0.3), 0.5),
            below(2_500),
        ),
        claim(
            "without",
            "Without it they are not within 3,000: any of the context's 8 labels is guessed, an error of 7/8.",
            Smallest(at("error", "icl", 0.0), over="step"),
            above(0.75),
        ),
        claim(
            "better",
            "And in the end fewer answers are wrong.",
            Difference(at("error", "icl", 0.0), at("error", "icl", 0.3)),
            above(0),
            "51.9 -> 54.7 % right, mean of six tasks",
        ),
    ),
}


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES["text"], "part": SCALES})
    part = chosen["part"]
    scale = SCALES[part][chosen["scale"]]
    if part == "text":
        task, network = Corpus(length=128), TEXT
        training = icl.Training(steps=scale.steps, batch_size=16, learning_rate=1e-3, warmup_steps=100)
        evaluation = icl.Evaluation(sequences=256, batch_size=32, points=scale.points)
        loss = Quantity("cross_entropy", "default", "Loss on text held out (nats per byte)")
        lengths = {"quarter": "32 bytes", "half": "64 bytes", "default": "128 bytes"}
        figures = (
            Lines(
                name="eta",
                title="Loss on text held out, by momentum and length",
                quantities=tuple(Quantity("cross_entropy", k, f"{v} (nats per byte)") for k, v in lengths.items()),
                x=ETA,
                lines="quantity",
                columns=None,
            ),
            Lines(name="steps", title="Loss while training", quantities=(loss,), x=STEP, lines=ETA, columns=None),
            Lines(
                name="slots", title="Loss after so many bytes", quantities=(loss,), x=POSITION, lines=ETA, columns=None
            ),
        )
        name, headline = "Momentum attention on text", ("loss",)
    else:
        task, network = reddy(num_classes=1024, burst=1, p_novel=1.0), CLASSES
        training = icl.Training(steps=scale.steps, batch_size=128, learning_rate=1e-3)
        evaluation = icl.Evaluation(sequences=512, batch_size=128, points=scale.points)
        error = Quantity("error", "icl", "Error on new classes")
        figures = (
            Lines(
                name="steps",
                title="In-context learning of new classes",
                quantities=(error,),
                x=STEP,
                lines=ETA,
                columns=None,
            ),
        )
        name, headline = "Momentum attention on classes", ("icl_error",)
    study = icl.Study(
        name=f"{name} ({chosen['scale']})",
        description="Dai et al. 2023, section 5: eta of sum_{i<t} eta^(t-i) v_i, 0 without momentum.",
        task=task,
        predictors={MODEL: network},
        training=training,
        evaluation=evaluation,
        sweep=icl.product({ETA: ETAS, "seed": range(scale.seeds)}),
        claims=CLAIMS[part],
        figures=figures,
        headline=headline,
    )
    return icl.config_of(study)
