"""Measures of predictions, by the names that rows use."""

from icl_sim.metrics.accuracy import (
    answered,
    clean_error,
    cross_entropy,
    error,
    log_loss,
    loss,
    normalized_error,
    slot_weights,
    squared_error,
)
from icl_sim.metrics.preference import context, memory, preference

CLASSIFICATION = {"error": error, "cross_entropy": cross_entropy}
REGRESSION = {"squared_error": squared_error, "normalized_error": normalized_error}

__all__ = [
    "CLASSIFICATION",
    "REGRESSION",
    "answered",
    "clean_error",
    "context",
    "cross_entropy",
    "error",
    "log_loss",
    "loss",
    "memory",
    "normalized_error",
    "preference",
    "slot_weights",
    "squared_error",
]
