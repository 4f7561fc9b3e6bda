"""Context length L against N, at least one relevant pair (synthetic-transformer-num_contexts).

    python launch/run.py --config=configs/icl_iwl/num_contexts.py:quick --workdir=out/num_contexts

Each length is a program of its own; 16 pairs cost about ten times one pair.
"""

from configs.icl_iwl import claims, paper


def get_config(arg=""):
    return paper.config(
        arg,
        name="Context length",
        description="Number of context pairs L, of which at least one is relevant, against training sequences N.",
        axes={"task.context_length": (1, 2, 4, 8, 16)},
        quick={"task.context_length": (1, 2, 4)},
        sizes=tuple(2**k for k in range(6, 15, 2)),
        gated={"task.context_length": (1, 2, 4, 8), paper.N: paper.SIZES},
        claims=claims.NUM_CONTEXTS_CLAIMS,
    )
