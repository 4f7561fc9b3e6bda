"""Trained networks, written as flax NNX modules behind one seam."""

from icl_sim.predictors.networks.encoder import Encoder, ResidualEncoder
from icl_sim.predictors.networks.induction import InductionNetwork
from icl_sim.predictors.networks.induction_head import InductionHead
from icl_sim.predictors.networks.linear_attention import LinearAttention
from icl_sim.predictors.networks.recurrent import Recurrent
from icl_sim.predictors.networks.transformer import Transformer

__all__ = [
    "Encoder",
    "InductionHead",
    "InductionNetwork",
    "LinearAttention",
    "Recurrent",
    "ResidualEncoder",
    "Transformer",
]
