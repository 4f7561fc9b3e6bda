"""Who lives where: memory against context in a language model (Chan et al. 2025, section on language models).

    python launch/lm.py --config=configs/lm/conflict.py:quick --workdir=out/lm_conflict_quick
    python launch/lm.py --config=configs/lm/conflict.py --workdir=out/lm_conflict

After the colon: `long`, 1,500 steps at the rate of the released notebook, two hours; `quick`, a random model.

SmolLM2-135M is finetuned on four invented pairs of a name and a city and four word-like ones, and asked with a context
that says another city. The paper does so with a model that is not public and gives no statistics: what it states is
checked, its numbers cannot be. Pairs come 1, 2, 4 and 8 times as often as each other, for the curve over repetitions.
The learning rate is what one pair a step stands: of two seeds at .001 one ended with the same answer to everything, and
so did one at .01.
"""

import icl_sim as icl
from configs.words import words
from icl_sim.lm.conflict_study import EXPOSURES, STEPS, Memorising, NamesAndCities
from icl_sim.studies.claims import Claim, Difference, Value, above
from icl_sim.studies.figures import Lines, Quantity

SOURCE = "Chan et al. 2025, finetuned language model"
REPETITIONS = (1, 2, 4, 8, 1, 2, 4, 8)
SCALES = {
    "paper": ("smollm2", Memorising(repetitions=REPETITIONS, steps=60, every=20, learning_rate=0.0005)),
    "long": ("smollm2", Memorising(repetitions=REPETITIONS, steps=1500, every=250, learning_rate=0.0001)),
    "quick": ("tiny", Memorising(repetitions=REPETITIONS, steps=40, every=20, learning_rate=0.1)),
}
SHARES = (
    ("memorised", "as trained, asked alone"),
    ("from_weights", "as trained, against the context"),
    ("from_context", "as the context says"),
)


def get_config(arg=""):
    scale = words(arg, {"scale": SCALES})["scale"]
    model, memorising = SCALES[scale]
    study = icl.Study(
        name="Who lives where" + (f" ({scale})" if scale != "paper" else ""),
        description="A language model finetuned on pairs of a name and a city, asked where a name lives, alone and "
        "after a context that says another city.",
        task=NamesAndCities(model=model),
        predictors={"finetuned": memorising},
        training=icl.Training(steps=0),
        sweep=icl.product({"seed": range(3)}),
        claims=CLAIMS if model != "tiny" else (),
        figures=(_figure("steps", "Answers over steps of finetuning", STEPS, "steps"),)
        + (_figure("exposures", "Answers over repetitions of a pair", EXPOSURES, "times that a pair was seen"),),
    )
    return icl.config_of(study)


def of(metric):
    return Value(predictor="finetuned", metric=metric)


def _figure(name, title, over, label):
    shares = tuple(Quantity(metric, over, text) for metric, text in SHARES)
    return Lines(name=name, title=title, quantities=shares, x="position", lines="quantity", x_label=label)


CLAIMS = (
    Claim(
        id="memorised",
        statement="Finetuning makes the model answer as trained.",
        source=SOURCE,
        measure=Difference(of("memorised"), of("base_memorised")),
        condition=above(0.0),
    ),
    Claim(
        id="from_weights",
        statement="After it, contexts that say another city are answered as trained more often than before.",
        source=SOURCE,
        measure=Difference(of("from_weights"), of("base_from_weights")),
        condition=above(0.0),
    ),
    Claim(
        id="from_context",
        statement="... and as the context says less often.",
        source=SOURCE,
        measure=Difference(of("base_from_context"), of("from_context")),
        condition=above(0.0),
    ),
)
