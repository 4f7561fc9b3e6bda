"""How right a prediction of the query is: every measure maps `Outputs` and `Batch` to a number per sequence, `[B]`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.types import Array, Batch, Outputs


def error(outputs: Outputs, batch: Batch) -> Array:
    """0-1 error: 1 where the most likely class is not the query's label (1 - accuracy)."""
    return (jnp.argmax(outputs.values, axis=-1) != batch.targets[:, -1]).astype(jnp.float32)


def cross_entropy(outputs: Outputs, batch: Batch) -> Array:
    """Cross-entropy in nats against the law of the query's label, where the task knows it, else against its label."""
    log_probs_BC = jax.nn.log_softmax(outputs.values)
    if "label_probs" in batch.latents:
        return -jnp.sum(batch.latents["label_probs"] * log_probs_BC, axis=-1)
    return log_loss(log_probs_BC, batch)


def squared_error(outputs: Outputs, batch: Batch) -> Array:
    """(prediction - target)^2 of the query."""
    return jnp.square(outputs.values - batch.targets[:, -1])


def loss(outputs: Outputs, batch: Batch) -> Array:
    """What training minimises: -log p(label of the query) for classes, the squared error for real targets."""
    if batch.num_classes:
        return log_loss(jax.nn.log_softmax(outputs.values), batch)
    return squared_error(outputs, batch)


def log_loss(log_probs_BC: Array, batch: Batch) -> Array:
    """-log p(label of the query) of log-probabilities that are taken as they are."""
    # A masked sum, since the gradient of a gather is a scatter, which a CPU does one sequence at a time.
    chosen_BC = batch.targets[:, -1:] == jnp.arange(batch.num_classes)[None]
    return -jnp.sum(jnp.where(chosen_BC, log_probs_BC, 0.0), axis=-1)
