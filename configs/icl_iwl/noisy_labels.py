"""Label noise against N, with clean inputs (synthetic-transformer-noisy_labels).

python launch/run.py --config=configs/icl_iwl/noisy_labels.py:quick --workdir=out/noisy_labels
"""

from configs.icl_iwl import claims, paper
from icl_sim.tasks import ClassMixture, Prototypes


def get_config(arg=""):
    return paper.config(
        arg,
        name="Noisy labels",
        description="Probability that a label reads (y + 1) mod C, against the number of training sequences N.",
        task=ClassMixture(inputs=Prototypes(noise=0.0)),
        axes={"task.label_noise": (0.001, 0.01, 0.1)},
        sizes=tuple(2**k for k in range(6, 15, 2)),
        claims=claims.NOISY_LABELS_CLAIMS,
    )
