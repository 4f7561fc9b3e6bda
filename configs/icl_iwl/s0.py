"""S0, the setting of most figures of Chan et al. 2025: ICL emerges with N, then in-weight learning overwrites it.

    python launch/run.py --config=configs/icl_iwl/s0.py:quick --workdir=out/s0

8 sizes N x 5 seeds, 100,000 steps: 4 million updates for `s0.py:alone`, some 45 minutes on 2 cores; three times that
with the baselines.
"""

from configs.icl_iwl import claims, paper


def get_config(arg=""):
    return paper.config(
        arg,
        name="S0",
        description=paper.S0,
        axes={},
        steps=100_000,
        claims=claims.S0_CLAIMS,
    )
