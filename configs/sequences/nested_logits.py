"""When an induction head forms, by the loss of three nested logits (Reddy 2023, arXiv 2312.03002).

    python launch/run.py --config=configs/sequences/nested_logits.py --workdir=out/nested_logits

Nothing is trained on sequences: gradient descent on a closed form, in seconds. The more labels there are beside the 8
of the context, the sooner the loss drops; where there is none, nothing drives it but rounding (`NestedDescent`). The
published numbers are of the reconstruction that `icl_sim.theory.induction` has; the paper states the shape.
"""

import icl_sim as icl
from configs.words import words
from icl_sim.studies.claims import Claim, Value, above, near
from icl_sim.studies.figures import Lines, Quantity
from icl_sim.theory import NestedDescent, NestedLogits

SOURCE = "Reddy 2023, phenomenological loss"
CONTEXT, STEPS = 8, 40_000
# L -> the step at which the loss falls below .02 nats.
PUBLISHED = {8: None, 9: 3324, 16: 2119, 32: 1876}


def get_config(arg=""):
    words(arg, {})
    never = f"does not drop in {STEPS:,} steps; in the end rounding alone would make it."
    claims = [
        Claim(
            id=f"drop.labels={labels}",
            statement=f"With {labels} labels, {CONTEXT} of them in the context, the loss "
            + (f"drops at step {step:,}." if step else never),
            source=SOURCE,
            measure=_value("drop_step", labels),
            condition=near(step, 2) if step else above(STEPS - 1),
            published=step or "never",
            exact=True,
        )
        for labels, step in PUBLISHED.items()
    ]
    claims += [
        Claim(
            id=f"plateau.labels={labels}",
            statement="Half of that time most of the loss is still there: it drops at once.",
            source=SOURCE,
            measure=_value("plateau_loss", labels),
            condition=above(0.7),
            exact=True,
        )
        for labels, step in PUBLISHED.items()
        if step
    ]
    claims += [
        Claim(
            id=f"drive.labels={labels}",
            statement=f"At first the loss falls along the last logit alone, by 1/{CONTEXT} - 1/{labels}.",
            source=SOURCE,
            measure=_value("drive", labels),
            condition=near(1 / CONTEXT - 1 / labels, 1e-9),
            published=f"{1 / CONTEXT - 1 / labels:.5g}",
            exact=True,
        )
        for labels in PUBLISHED
    ]
    study = icl.Study(
        name="Nested logits",
        description="Gradient descent from 0 on the loss of three nested logits, 8 pairs, of 8 to 32 labels.",
        task=NestedLogits(context=CONTEXT),
        predictors={"descent": NestedDescent(steps=STEPS)},
        training=icl.Training(steps=0),
        sweep=icl.product({"task.labels": tuple(PUBLISHED)}),
        claims=tuple(claims),
        figures=(
            Lines(
                name="drop",
                title="When the loss drops",
                quantities=(Quantity("drop_step", label="step"),),
                x="task.labels",
                log_y=True,
            ),
        ),
    )
    return icl.config_of(study)


def _value(metric, labels):
    return Value(predictor="descent", metric=metric, where={"task.labels": labels})
