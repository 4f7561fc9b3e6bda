"""Measures of predictions, by the names that rows use."""

from icl_sim.metrics.accuracy import (
    answered,
    clean_error,
    cross_entropy,
    error,
    log_loss,
    log_loss_of_slots,
    loss,
    normalized_error,
    slot_weights,
    squared_error,
)
from icl_sim.metrics.barrier import barrier
from icl_sim.metrics.bootstrap import bootstrap
from icl_sim.metrics.distance import Distance
from icl_sim.metrics.implied_weights import ImpliedWeights
from icl_sim.metrics.in_context import (
    chance_error,
    class_error,
    context_probability,
    from_context,
    restricted_chance_error,
    restricted_error,
    support,
)
from icl_sim.metrics.linear_maps import CopySensitivity, Interpolation, Rollout
from icl_sim.metrics.linear_probe import Readout, linear_probe
from icl_sim.metrics.preference import context, memory, preference
from icl_sim.metrics.prefix_matching import (
    after_last_occurrence,
    icl_score,
    prefix_matching,
    prefix_matching_mean,
    prefix_matching_of_heads,
    previous_slot,
    previous_slot_of_heads,
)
from icl_sim.metrics.progress import (
    induction_strength,
    label_tokens,
    previous_token,
    right_labels,
)
from icl_sim.metrics.sensitivity import GradientAlignment, Sensitivity
from icl_sim.types import Comparison

CLASSIFICATION = {"error": error, "cross_entropy": cross_entropy}
OF_LABELS = {  # what a task of classes can ask for besides
    "restricted_error": restricted_error,
    "chance_error": chance_error,
    "restricted_chance_error": restricted_chance_error,
    "from_context": from_context,
    "context_probability": context_probability,
    "class_error": class_error,
    "support": support,
    "previous_token": previous_token,
    "right_labels": right_labels,
    "label_tokens": label_tokens,
    "induction_strength": induction_strength,
    "prefix_matching": prefix_matching,
    "prefix_matching_mean": prefix_matching_mean,
    "previous_slot": previous_slot,
}
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
    "readout": Readout,
}

__all__ = [
    "CLASSIFICATION",
    "COMPARISONS",
    "OF_LABELS",
    "REGRESSION",
    "RESAMPLED",
    "CopySensitivity",
    "Distance",
    "GradientAlignment",
    "ImpliedWeights",
    "Interpolation",
    "Readout",
    "Rollout",
    "Sensitivity",
    "after_last_occurrence",
    "answered",
    "barrier",
    "bootstrap",
    "chance_error",
    "class_error",
    "clean_error",
    "context",
    "context_probability",
    "cross_entropy",
    "error",
    "from_context",
    "icl_score",
    "induction_strength",
    "label_tokens",
    "linear_probe",
    "log_loss",
    "log_loss_of_slots",
    "loss",
    "memory",
    "normalized_error",
    "preference",
    "prefix_matching",
    "prefix_matching_mean",
    "prefix_matching_of_heads",
    "previous_slot",
    "previous_slot_of_heads",
    "previous_token",
    "restricted_chance_error",
    "restricted_error",
    "right_labels",
    "slot_weights",
    "squared_error",
    "support",
]
