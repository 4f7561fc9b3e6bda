"""How often the context is relevant, against N (synthetic-transformer-p_relevant).

python launch/run.py --config=configs/icl_iwl/p_relevant.py:quick --workdir=out/p_relevant
"""

from configs.icl_iwl import claims, paper


def get_config(arg=""):
    return paper.config(
        arg,
        name="Share of relevant contexts",
        description="p_relevant, in training and in the default evaluation, against training sequences N.",
        axes={"task.p_relevant": (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)},
        sizes=tuple(2**k for k in (6, 8, 10, 12, 14, 18, 20)),
        baselines=False,
        claims=claims.P_RELEVANT_CLAIMS,
    )
