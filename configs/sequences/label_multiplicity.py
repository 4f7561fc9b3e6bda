"""Labels that change make in-context learning (Chan et al. 2022, "Data distributional properties drive emergent
in-context learning in transformers", arXiv 2205.05055), on their data with Gaussian clusters.

    python launch/run.py --config=configs/sequences/label_multiplicity.py --workdir=out/label_multiplicity

Every class has several labels, of which a sequence uses one: memory knows which they are, and only the context which of
them it is. In-weight answers are right with any of the class's labels. The number of labels is structure: a program
each. Words: see common.py.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import NETWORK, Scale, of
from configs.words import words
from icl_sim.predictors import InductionNetwork
from icl_sim.studies.claims import Difference, Largest, Trend, above, below
from icl_sim.studies.figures import QUANTITY, STEP, Lines, Quantity
from icl_sim.tasks.sequences.presets import chan

LABELS = "task.multiplicity"
NUMBERS = (1, 2, 5, 10)
SCALES = {"reference": Scale(steps=1_200, seeds=3, points=10), "quick": Scale(steps=1_200, seeds=1, points=8)}
FEW_SHOT = (
    Quantity("restricted_error", "icl", "Held-out classes, of the context's labels"),
    Quantity("error", "icl", "Held-out classes (in-context)"),
)
MEMORY = Quantity("class_error", "iwl", "Not in the context, any label of the class (in-weight)")
TRAINED = Quantity("error", "default", "As in training")


claim = claims_of("Chan et al. 2022", min_steps=1_200)


def at(number):
    return of("restricted_error", "icl", **{LABELS: number})


CLAIMS = (
    claim(
        "icl",
        "The more labels a class has, the more is learned in context: from 1 to 10 the few-shot error among the "
        "context's two labels falls by more than .2.",
        Difference(at(1), at(10)),
        above(0.2),
    ),
    claim("one", "With one label it is that of guessing, a half.", at(1), above(0.4)),
    claim(
        "icl.trend",
        "It rises nowhere on the way (by more than .05).",
        Trend(of("restricted_error", "icl"), over=LABELS, rising=False),
        above(-0.05),
    ),
    claim(
        "memory",
        "Memory knows the class's labels however many there are: it is right with one of them.",
        Largest(of("class_error", "iwl"), over=LABELS, ends=(NUMBERS[0], NUMBERS[-1])),
        below(0.1),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    study = icl.Study(
        name=f"Label multiplicity ({chosen['scale']})",
        description="Chan et al. 2022's data with Gaussian clusters: 128 classes of 20 items each; nine of ten "
        "contexts of 8 pairs have two classes three times each and any others besides.",
        task=chan(num_classes=128),
        predictors={NETWORK: InductionNetwork()},
        training=common.training(scale, learning_rate=1e-3),
        evaluation=common.evaluation(scale),
        sweep=icl.product({LABELS: NUMBERS, "seed": range(scale.seeds)}),
        claims=CLAIMS,
        figures=(
            Lines(
                name="errors",
                title="Several labels for a class make in-context learning",
                quantities=(*FEW_SHOT, MEMORY, TRAINED),
                x=LABELS,
                lines=QUANTITY,
                columns=None,
            ),
            Lines(
                name="steps",
                title="Errors while training",
                quantities=(*FEW_SHOT, MEMORY, TRAINED),
                x=STEP,
                lines=LABELS,
                columns=None,
            ),
        ),
        headline=("icl_error", "iwl_error"),
    )
    return icl.config_of(study)
