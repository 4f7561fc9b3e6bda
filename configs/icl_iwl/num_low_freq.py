"""How many rare classes there are, against N (synthetic-transformer-num_low_freq).

python launch/run.py --config=configs/icl_iwl/num_low_freq.py:quick --workdir=out/num_low_freq
"""

from configs.icl_iwl import claims, paper


def get_config(arg=""):
    return paper.config(
        arg,
        name="Number of rare classes",
        description="Number of rare classes sharing 1 - p_high, against the number of training sequences N.",
        axes={"task.num_low": (5, 45, 95, 495)},
        quick={"task.num_low": (5, 45, 495)},
        sizes=tuple(2**k for k in range(10, 21, 2)),
        steps=1_000_000,
        claims=claims.NUM_LOW_CLAIMS,
    )
