"""Predictors: anything that answers the query of a sequence, trained or explicit, by name."""

from icl_sim.predictors.networks import Encoder, Transformer
from icl_sim.types import Predictor

PREDICTORS: dict[str, type[Predictor]] = {"transformer": Transformer}

__all__ = ["PREDICTORS", "Encoder", "Transformer"]
