"""Measures of predictions, by the names that rows use."""

from icl_sim.metrics.accuracy import cross_entropy, error, loss, squared_error
from icl_sim.metrics.preference import memory, preference

CLASSIFICATION = {"error": error, "cross_entropy": cross_entropy}
REGRESSION = {"squared_error": squared_error}

__all__ = [
    "CLASSIFICATION",
    "REGRESSION",
    "cross_entropy",
    "error",
    "loss",
    "memory",
    "preference",
    "squared_error",
]
