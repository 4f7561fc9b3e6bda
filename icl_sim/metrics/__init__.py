"""Measures of predictions, by the names that rows use."""

from icl_sim.metrics.accuracy import cross_entropy, error, log_loss, loss, squared_error
from icl_sim.metrics.preference import context, memory, preference

CLASSIFICATION = {"error": error, "cross_entropy": cross_entropy}
REGRESSION = {"squared_error": squared_error}

__all__ = [
    "CLASSIFICATION",
    "REGRESSION",
    "context",
    "cross_entropy",
    "error",
    "log_loss",
    "loss",
    "memory",
    "preference",
    "squared_error",
]
