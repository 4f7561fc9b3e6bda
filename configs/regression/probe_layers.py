"""What the layers of a transformer know: probes of the moment X^T y and of the least-squares weights in its hidden
states (Akyurek et al. 2023, section 5).

    python launch/run.py --config=configs/regression/probe_layers.py:reference --workdir=out/probe_layers

The first part of the steps trains the network, the rest the probes of all layers on it, frozen, at the same rate. The
control is a network trained where all weights are 1, which needs no learning in context; its probes see ordinary
prompts. Words: see common.py.

Scaled down, the weights are also read out in closed form, which trains nothing and so tells every evaluation; for the
width of the paper that takes batches of more than 1,026 prompts.
"""

import dataclasses

import icl_sim as icl
from configs.claiming import claims_of
from configs.regression.bayes_noise import AKYUREK
from configs.regression.common import REFERENCE, Scale, value
from configs.words import words
from icl_sim.metrics import Readout
from icl_sim.predictors import LeastSquares, Probed
from icl_sim.studies.claims import Difference, Ratio, above, below
from icl_sim.studies.figures import Lines, Quantity
from icl_sim.tasks import Regression

_MANY = icl.Evaluation(sequences=1280, batch_size=640, points=8)  # for a closed form, 320 for 65 numbers
SCALES = {
    "paper": Scale(
        dim=4,
        pairs=40,
        network=AKYUREK,
        training=icl.Training(
            steps=600_000, batch_size=64, learning_rate=2.5e-4, warmup_steps=100_000, adam_b2=0.98, adam_epsilon=1e-9
        ),
        seeds=3,
        more={"hidden": 512, "share": 500 / 600, "prefixes": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32), "readout": False},
    ),
    "reference": Scale(
        dim=4,
        pairs=10,
        network=dataclasses.replace(REFERENCE, depth=4),
        training=icl.Training(steps=12_000, batch_size=64, learning_rate=1e-3, warmup_steps=600),
        seeds=2,
        evaluation=_MANY,
        more={"hidden": 64, "share": 0.7, "prefixes": (2, 4, 8), "readout": True},
    ),
    "quick": Scale(
        dim=4,
        pairs=10,
        network=REFERENCE,
        training=icl.Training(steps=2_000, batch_size=64, learning_rate=1e-3, warmup_steps=200),
        evaluation=_MANY,
        more={"hidden": 32, "share": 0.7, "prefixes": (4, 8), "readout": True},
    ),
}
TARGETS = {"moment": "X'y", "weights": "least-squares weights"}
claim = claims_of("Akyurek et al. 2023, section 5", min_steps=8_000)


def claims(depth: int):
    def error(target, layer, predictor="mlp"):
        return value(f"probe_{target}_error/{layer}", predictor)

    middle = depth // 2
    return (
        claim(
            "A5.input",
            "The least-squares weights are not in the embeddings: the error there is more than twice the last layer's.",
            Ratio(error("weights", 0), error("weights", depth)),
            above(2),
            "input layer fails",
            seeds=2,
        ),
        claim(
            "A5.control",
            "A network that never had to learn in context encodes them worse in its last layer.",
            Difference(error("weights", depth, "control"), error("weights", depth)),
            above(0),
            "clearly worse",
            seeds=2,
        ),
        claim(
            "A5.nonlinear",
            "They are encoded nonlinearly: an MLP reads them better than a linear probe.",
            Difference(error("weights", depth, "linear"), error("weights", depth)),
            above(0),
            "MLP better",
            seeds=2,
        ),
        claim(
            "A5.moment",
            "X'y comes first: half way up its error is below half of that in the embeddings.",
            Ratio(error("moment", middle), error("moment", 0)),
            below(0.5),
            "layer 7 of 16",
            seeds=2,
        ),
        claim(
            "A5.weights",
            "The weights come later: half way up their error is more than twice that of the last layer.",
            Ratio(error("weights", middle), error("weights", depth)),
            above(2),
            "layer 12 of 16",
            seeds=2,
        ),
    )


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    mlp = Probed(
        network=scale.network,
        targets=tuple(TARGETS),
        prefixes=scale.more["prefixes"],
        head="mlp",
        hidden=scale.more["hidden"],
        network_share=scale.more["share"],
    )
    study = icl.Study(
        name=f"Probes of layers ({chosen['scale']})",
        description=f"Akyurek et al. 2023: noiseless linear regression, d = {scale.dim}, {scale.pairs} pairs.",
        task=Regression(dim=scale.dim, context_length=scale.pairs - 1),
        predictors={"mlp": mlp, "linear": dataclasses.replace(mlp, head="linear"), "control": mlp},
        trained_on={"control": {"function.scale": 0.0, "function.mean": 1.0}},
        references={"ols": LeastSquares()} if scale.more["readout"] else {},
        comparisons={"readout": Readout(prefixes=scale.more["prefixes"])} if scale.more["readout"] else {},
        training=scale.training,
        evaluation=dataclasses.replace(scale.evaluation, bootstrap=0),
        sweep=icl.product({"seed": range(scale.seeds)}),
        claims=claims(scale.network.depth),
        figures=(
            Lines(
                name="layers",
                title="Error of probes over layers",
                quantities=tuple(
                    Quantity(f"probe_{target}_error", "default", f"Squared error, {told}")
                    for target, told in TARGETS.items()
                ),
                x="position",
                x_label="layer",
                lines="predictor",
            ),
            Lines(
                name="attention",
                title="Attention of probes to the token of y_n",
                quantities=tuple(
                    Quantity(f"probe_{target}_attention_y", "default", told) for target, told in TARGETS.items()
                ),
                x="position",
                x_label="layer",
                lines="predictor",
            ),
            *(
                Lines(
                    name="readout",
                    title="Least-squares weights, read out linearly in closed form",
                    quantities=(Quantity("readout_error_ols", "default", "Squared error / variance"),),
                    x="position",
                    x_label="layer",
                    lines="predictor",
                    predictors=("mlp", "control"),  # "linear" has the network of "mlp"
                    limits=(0.0, 1.5),
                )
                for _ in range(scale.more["readout"])
            ),
        ),
    )
    return icl.config_of(study)
