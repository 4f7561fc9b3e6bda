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
from icl_sim.metrics.barrier import barrier
from icl_sim.metrics.bootstrap import bootstrap
from icl_sim.metrics.distance import Distance
from icl_sim.metrics.implied_weights import ImpliedWeights
from icl_sim.metrics.linear_maps import CopySensitivity, Interpolation, Rollout
from icl_sim.metrics.linear_probe import linear_probe
from icl_sim.metrics.preference import context, memory, preference
from icl_sim.metrics.sensitivity import GradientAlignment, Sensitivity
from icl_sim.types import Comparison

CLASSIFICATION = {"error": error, "cross_entropy": cross_entropy}
REGRESSION = {"squared_error": loss, "normalized_error": normalized_error}
RESAMPLED = ("normalized_error", "clean_error")  # what a bootstrap over sequences gives bands
COMPARISONS: dict[str, type[Comparison]] = {
    "distance": Distance,
    "sensitivity": Sensitivity,
    "gradient_alignment": GradientAlignment,
    "implied_weights": ImpliedWeights,
    "interpolation": Interpolation,
    "rollout": Rollout,
    "copy_sensitivity": CopySensitivity,
}

__all__ = [
    "CLASSIFICATION",
    "COMPARISONS",
    "REGRESSION",
    "RESAMPLED",
    "CopySensitivity",
    "Distance",
    "GradientAlignment",
    "ImpliedWeights",
    "Interpolation",
    "Rollout",
    "Sensitivity",
    "answered",
    "barrier",
    "bootstrap",
    "clean_error",
    "context",
    "cross_entropy",
    "error",
    "linear_probe",
    "log_loss",
    "loss",
    "memory",
    "normalized_error",
    "preference",
    "slot_weights",
    "squared_error",
]
