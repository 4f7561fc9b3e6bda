"""How many of 4 context pairs are relevant, against N (synthetic-transformer-num_relevant_contexts).

python launch/run.py --config=configs/icl_iwl/num_relevant_contexts.py:quick --workdir=out/num_relevant_contexts
"""

from configs.icl_iwl import claims, paper
from icl_sim.tasks import ClassMixture


def get_config(arg=""):
    return paper.config(
        arg,
        name="Relevant context pairs",
        description="Exactly L_relevant of the 4 context pairs hold the query's class, against training sequences N.",
        task=ClassMixture(context_length=4),
        axes={"task.num_relevant": (1, 2, 3, 4)},
        claims=claims.NUM_RELEVANT_CLAIMS,
    )
