"""Predictors: anything that answers the query of a sequence, trained or explicit, by name."""

from icl_sim.predictors.gated import Gated, with_parts
from icl_sim.predictors.in_weight import InWeightMLP
from icl_sim.predictors.learners import KernelCopy, Nearest
from icl_sim.predictors.networks import Encoder, ResidualEncoder, Transformer
from icl_sim.types import Predictor

PREDICTORS: dict[str, type[Predictor]] = {
    "transformer": Transformer,
    "in_weight": InWeightMLP,
    "kernel_copy": KernelCopy,
    "nearest": Nearest,
    "gated": Gated,
}

__all__ = [
    "PREDICTORS",
    "Encoder",
    "Gated",
    "InWeightMLP",
    "KernelCopy",
    "Nearest",
    "ResidualEncoder",
    "Transformer",
    "with_parts",
]
