"""Recurrent networks of as many parameters do not learn in context what a transformer does (Chan et al. 2022, "Data
distributional properties drive emergent in-context learning in transformers", arXiv 2205.05055), on data of Singh et
al. 2025, whose bursts are the shortest.

    python launch/run.py --config=configs/sequences/recurrent.py --workdir=out/recurrent

A sequence is A a B b and A, the two pairs in any order, of 1,024 classes under 32 labels. Of width 64 all, a
transformer of two layers of attention alone has 33,000 parameters besides its embeddings, an LSTM and a GRU of two
layers 66,000 and 50,000. In one of three seeds the transformer copies from its context, in two it knows the classes
instead; the recurrent networks do neither within 4,000 steps. Words: see common.py.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import CIWL_RESTRICTED, ICL, ICL_RESTRICTED, IWL, Scale, of
from configs.words import words
from icl_sim.predictors import Recurrent
from icl_sim.predictors.networks import published
from icl_sim.studies.claims import Smallest, above, below
from icl_sim.studies.figures import PREDICTOR, STEP, Lines, Quantity
from icl_sim.tasks.sequences.presets import singh_coopetition

TRANSFORMER, LSTM, GRU = "transformer", "lstm", "gru"
SCALES = {"reference": Scale(steps=4_000, seeds=3, points=12), "quick": Scale(steps=1_500, seeds=1, points=8)}
TRAINED = Quantity("error", "default", "As in training")


claim = claims_of("Chan et al. 2022", min_steps=4_000)


def never(predictor, name):
    return claim(
        f"{predictor}",
        f"The {name} never tells which label of the context is that of a new class: at no step is the error among its "
        "two labels below .4, where guessing leaves a half.",
        Smallest(of("restricted_error", predictor=predictor), over="step"),
        above(0.4),
        "at chance",
    )


CLAIMS = (
    claim(
        "transformer",
        "The transformer learns in context: in the end the error on new classes, of all labels, is below .25.",
        of("error", predictor=TRANSFORMER),
        below(0.25),
        "learns",
    ),
    never(LSTM, "LSTM"),
    never(GRU, "GRU"),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    study = icl.Study(
        name=f"Recurrent networks ({chosen['scale']})",
        description="A a B b and A; 1,024 classes of 20 items each, under 32 labels.",
        task=common.few_labels(singh_coopetition),
        predictors={
            TRANSFORMER: published.singh_coopetition(),
            LSTM: Recurrent(cell="lstm"),
            GRU: Recurrent(cell="gru"),
        },
        training=icl.Training(steps=scale.steps, batch_size=32, learning_rate=1e-3),
        evaluation=common.evaluation(scale),
        sweep=icl.product({"seed": range(scale.seeds)}),
        claims=CLAIMS,
        figures=(
            Lines(
                name="steps",
                title="A transformer and recurrent networks while training",
                quantities=(ICL, ICL_RESTRICTED, IWL, CIWL_RESTRICTED, TRAINED),
                x=STEP,
                lines=PREDICTOR,
                columns=None,
            ),
        ),
        headline=("icl_error", "iwl_error"),
    )
    return icl.config_of(study)
