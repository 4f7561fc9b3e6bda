"""In-context learning comes, and goes while the training loss still falls (Singh et al. 2023, "The transient nature of
emergent in-context learning in transformers", arXiv 2311.08360), on the data of Reddy 2023.

    python launch/run.py --config=configs/sequences/transience.py --workdir=out/transience

Of ten sequences nine have bursts, four classes twice each of 1,024, and one is of classes at random, which only the
weights can answer. A penalty on weights slows what ends it. Words: see common.py.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import NETWORK, Scale, of
from configs.words import words
from icl_sim.predictors import InductionNetwork
from icl_sim.studies.claims import Largest, Ratio, Smallest, above, below
from icl_sim.studies.figures import STEP, Lines, Quantity
from icl_sim.tasks.sequences.presets import reddy

L2 = (0.0, 1e-3)
SCALES = {"reference": Scale(steps=12_000, seeds=3, points=40), "quick": Scale(steps=5_000, seeds=1, points=25)}


claim = claims_of("Singh et al. 2023", min_steps=12_000)


def free(metric, eval_set="icl"):
    """Without a penalty on weights."""
    return of(metric, eval_set, **{"training.l2": L2[0]})


LATER = {"over": "step", "at_least": 3_000.0, "at_most": 5_000.0}
CLAIMS = (
    claim(
        "rises",
        "In-context learning rises: at some step the error on new classes is below .15.",
        Smallest(free("error"), over="step"),
        below(0.15),
    ),
    claim("falls", "And falls again: in the end the error is above a half.", free("error"), above(0.5)),
    claim(
        "memory",
        "While classes at random are answered from the weights.",
        free("error", "iid"),
        below(0.1),
    ),
    claim(
        "penalty",
        "A penalty of 1e-3 on weights slows it: up to step 5,000 the error rises less than without.",
        Ratio(Largest(of("error", **{"training.l2": L2[1]}), **LATER), Largest(free("error"), **LATER)),
        below(1),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    study = icl.Study(
        name=f"Transience ({chosen['scale']})",
        description="Reddy 2023's data: 1,024 classes, four of them twice each in nine of ten contexts of 8 pairs.",
        task=reddy(num_classes=1024, burst=2).replace(p_bursty=0.9),
        predictors={NETWORK: InductionNetwork()},
        training=common.training(scale, learning_rate=1e-3),
        evaluation=common.evaluation(scale),
        sweep=icl.product({"training.l2": L2, "seed": range(scale.seeds)}),
        claims=CLAIMS,
        figures=(
            Lines(
                name="errors",
                title="In-context learning comes and goes",
                quantities=(
                    Quantity("error", "icl", "New classes (in-context)"),
                    Quantity("restricted_error", "icl", "New classes, of the context's labels"),
                    Quantity("error", "swap", "Labels one further (in-context)"),
                    Quantity("error", "iid", "Classes at random (in-weight)"),
                    Quantity("restricted_error", "ciwl", "Label shown elsewhere (in-weight)"),
                ),
                x=STEP,
                lines="quantity",
                columns="training.l2",
            ),
            Lines(
                name="mechanism",
                title="The head while it happens",
                quantities=(
                    Quantity("previous_token", "icl", "Attention of label tokens to their item (ILA1)"),
                    Quantity("induction_strength", "icl", "Induction strength"),
                    Quantity("from_context", "icl", "Answers that are in the context (CLA)"),
                ),
                x=STEP,
                lines="quantity",
                columns="training.l2",
            ),
        ),
        headline=("icl_error", "iwl_error"),
    )
    return icl.config_of(study)
