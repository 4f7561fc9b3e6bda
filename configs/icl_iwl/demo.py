"""The demo: S0 at 24 transformers and the gated family, 2,500 steps each, about two minutes on 2 cores.

python launch/run.py --config=configs/icl_iwl/demo.py --workdir=out/demo
"""

import icl_sim as icl
from configs.icl_iwl import claims, paper
from icl_sim.tasks import ClassMixture


def get_config(arg=""):
    if arg:
        raise ValueError(f"The demo has no variant {arg!r}; see s0.py for quick, reference and gated.")
    study = icl.Study(
        name="Demo: ICL emerges, then in-weight learning overwrites it",
        description=paper.S0,
        task=ClassMixture(),
        predictors={name: paper.FAMILIES["all"][name] for name in ("transformer", "gated", "in_context", "in_weight")},
        training=icl.Training(steps=2_500),
        evaluation=icl.Evaluation(sequences=400, points=10),
        sweep=icl.product({paper.N: tuple(map(float, paper.SIZES)), "seed": range(3)}),
        headline=("icl_error_low", "iwl_error_low"),
        claims=claims.S0_CLAIMS,
    )
    return icl.config_of(study)
