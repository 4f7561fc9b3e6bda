"""Input noise against N: noise hurts memory, copying survives it (synthetic-transformer-noisy_inputs).

python launch/run.py --config=configs/icl_iwl/noisy_inputs.py:quick --workdir=out/noisy_inputs
"""

from configs.icl_iwl import claims, paper


def get_config(arg=""):
    return paper.config(
        arg,
        name="Noisy inputs",
        description="Standard deviation of the input noise, against the number of training sequences N.",
        axes={"task.inputs.noise": (0.0, 0.02, 0.2, 0.4)},
        quick={"task.inputs.noise": (0.0, 0.2, 0.4)},
        steps=100_000,
        claims=claims.NOISE_CLAIMS,
    )
