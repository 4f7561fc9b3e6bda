"""With noisy labels a transformer answers as the ridge regression that is Bayes-optimal for the noise (Akyurek et al.
2023, "What Learning Algorithm Is In-Context Learning?", arXiv 2211.15661, section 4.2).

    python launch/run.py --config=configs/regression/bayes_noise.py:reference --workdir=out/bayes_noise

Five settings of noise sigma and weight scale tau; the distance to ridge regression with each of the five penalties
sigma^2/tau^2. Words: see common.py.
"""

import dataclasses

import icl_sim as icl
from configs.claiming import claims_of
from configs.regression.common import REFERENCE, Scale, fast, value
from configs.words import words
from icl_sim.predictors import Ridge
from icl_sim.predictors.networks import published
from icl_sim.studies.claims import Lowest, above
from icl_sim.studies.figures import Closest, Lines, Quantity
from icl_sim.tasks import Regression

# sigma, tau; the penalty sigma^2 / tau^2 by the name of its reference.
SETTINGS = ((0.0, 1.0), (0.25, 1.0), (0.5, 1.5), (0.5, 1.0), (0.5, 0.75))
PENALTIES = {"ols": 0.0, "ridge_1_16": 1 / 16, "ridge_1_9": 1 / 9, "ridge_1_4": 1 / 4, "ridge_4_9": 4 / 9}
AKYUREK = published.akyurek(block="pre_norm")
SCALES = {
    "paper": Scale(
        dim=8,
        pairs=40,
        network=AKYUREK,
        training=dataclasses.replace(
            fast(500_000, learning_rate=1e-4), warmup_steps=100_000, adam_b2=0.98, adam_epsilon=1e-9
        ),
        seeds=3,
    ),
    "reference": Scale(dim=4, pairs=12, network=REFERENCE, training=fast(8_000), seeds=2),
    "quick": Scale(dim=4, pairs=12, network=REFERENCE, training=fast(1_500)),
}
claim = claims_of("Akyurek et al. 2023, section 4.2", min_steps=8_000)


def diagonal(dim):
    """The nearest ridge regression of each setting is its own: the ordering, since the printed values do not
    reproduce (they cannot be means of the distance over k = 1..d-1; see docs/regression.md)."""
    found = []
    for (noise, scale), (own, penalty) in zip(SETTINGS, PENALTIES.items(), strict=True):
        where = {"task.noise": noise, "task.function.scale": scale}
        found.append(
            claim(
                f"A3.{own}",
                f"With noise {noise:g} and weights of scale {scale:g} the nearest ridge regression is that of penalty "
                f"{penalty:.3g}.",
                Lowest(
                    value(f"spd_{own}/1-{dim - 1}", where=where),
                    tuple(value(f"spd_{other}/1-{dim - 1}", where=where) for other in PENALTIES if other != own),
                ),
                above(0),
                "nearest",
                seeds=2,
            )
        )
    return found


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    noises, scales = zip(*SETTINGS, strict=True)
    distances = tuple(Quantity(f"mspd_{name}", "default", f"ridge {p:.3g}") for name, p in PENALTIES.items())
    study = icl.Study(
        name=f"Ridge regression of the noise ({chosen['scale']})",
        description=f"Akyurek et al. 2023: linear regression with noise, d = {scale.dim}, {scale.pairs} pairs.",
        task=Regression(dim=scale.dim, context_length=scale.pairs - 1),
        predictors={"transformer": scale.network},
        references={name: Ridge(penalty=penalty) for name, penalty in PENALTIES.items()},
        training=scale.training,
        evaluation=scale.evaluation,
        sweep=icl.product(
            icl.zip_({"task.noise": noises, "task.function.scale": scales}), {"seed": range(scale.seeds)}
        ),
        claims=diagonal(scale.dim),
        figures=(
            Closest(
                name="closest",
                title="The nearest ridge regression",
                quantities=distances,
                x="task.noise",
                y="task.function.scale",
            ),
            Lines(
                name="distances",
                title="Squared difference of answers to ridge regression",
                quantities=tuple(dataclasses.replace(q, metric=q.metric.replace("mspd", "spd")) for q in distances),
                x="position",
                lines="quantity",
                columns="task.noise",
                where={"task.function.scale": 1.0},
                log_y=True,
            ),
            Lines(
                name="positions",
                title="Error over examples in context",
                quantities=(Quantity("clean_error", "default", "Error to the function itself / d"),),
                x="position",
                lines="task.noise",
                columns=None,
                where={"task.function.scale": 1.0},
            ),
        ),
    )
    return icl.config_of(study)
