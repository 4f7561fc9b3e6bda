"""How common the common classes are, against N (synthetic-transformer-p_high).

python launch/run.py --config=configs/icl_iwl/p_high.py:quick --workdir=out/p_high
"""

from configs.icl_iwl import claims, paper


def get_config(arg=""):
    return paper.config(
        arg,
        name="Share of common classes",
        description="p_high, the probability mass of the 5 common classes, against the number of training sequences N.",
        axes={"task.p_high": (0.5, 0.9, 0.99)},
        sizes=tuple(2**k for k in (6, 8, 10, 12, 14, 18, 20)),
        gated={paper.N: paper.SIZES},
        claims=claims.P_HIGH_CLAIMS,
    )
