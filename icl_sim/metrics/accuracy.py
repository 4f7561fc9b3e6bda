"""How right predictions are: measures map `Outputs` and `Batch` to a number per sequence `[B]` or per slot `[B, P]`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.types import Array, Batch, Outputs


def answered(outputs: Outputs, batch: Batch) -> int:
    """P: of how many slots, the last ones, answers count. Where the batch has no `weights` it is the query alone."""
    if batch.num_classes and batch.weights is not None and outputs.values.ndim == 2:
        raise ValueError("The task asks every slot, and the predictor answers with the class of the query alone.")
    (B, S), shape = batch.targets.shape, outputs.values.shape
    if not batch.num_classes and not (len(shape) == 2 and shape[0] == B and 1 <= shape[1] <= S):
        raise ValueError(
            f"The predictor answers with an array of shape {list(shape)}; regression wants [{B}, P], P at most {S}: an "
            "answer for each of the last P slots."
        )
    per_slot = batch.weights is not None
    return outputs.values.shape[1] if per_slot else 1


def slot_weights(outputs: Outputs, batch: Batch) -> Array:
    """How much each answered slot counts, `[B, P]`."""
    if batch.weights is None:
        return jnp.ones((len(batch.targets), 1))
    return batch.weights[:, -answered(outputs, batch) :]


def error(outputs: Outputs, batch: Batch) -> Array:
    """0-1 error: 1 where the most likely class is not the label (1 - accuracy)."""
    return (jnp.argmax(outputs.values, axis=-1) != _targets(outputs, batch)).astype(jnp.float32)


def cross_entropy(outputs: Outputs, batch: Batch) -> Array:
    """Cross-entropy in nats against the law of the query's label, where the task knows it, else against the label."""
    log_probs = jax.nn.log_softmax(outputs.values)
    if "label_probs" in batch.latents:
        return -jnp.sum(batch.latents["label_probs"] * log_probs, axis=-1)
    return _log_loss(log_probs, _targets(outputs, batch), batch.num_classes)


def squared_error(outputs: Outputs, batch: Batch) -> Array:
    """(prediction - target)^2 of every answered slot, noise included, `[B, P]`."""
    P = answered(outputs, batch)
    return jnp.square(outputs.values[:, -P:] - batch.targets[:, -P:])


def normalized_error(outputs: Outputs, batch: Batch) -> Array:
    """`squared_error` by the task's scale, such as d for linear regression: 1 is the error of answering 0, `[B, P]`."""
    return squared_error(outputs, batch) / batch.scale


def clean_error(outputs: Outputs, batch: Batch) -> Array:
    """(prediction - f(x))^2 by the task's scale, for targets f(x) without noise (latent "clean"), `[B, P]`."""
    P = answered(outputs, batch)
    return jnp.square(outputs.values[:, -P:] - batch.latents["clean"][:, -P:]) / batch.scale


def loss(outputs: Outputs, batch: Batch) -> Array:
    """What training minimises, `[B]`: -log p(label) for classes, the squared error for real targets.

    Where every slot is a query, the mean over slots by their weights.
    """
    if batch.num_classes:
        loss_BP = _log_loss(jax.nn.log_softmax(outputs.values), _targets(outputs, batch), batch.num_classes)
    else:
        loss_BP = squared_error(outputs, batch)
    if loss_BP.ndim == 1:
        return loss_BP
    weight_BP = slot_weights(outputs, batch)
    total_B = jnp.sum(weight_BP, axis=1)
    return jnp.sum(weight_BP * loss_BP, axis=1) / jnp.where(total_B > 0, total_B, 1.0)


def log_loss(log_probs_BC: Array, batch: Batch) -> Array:
    """-log p(label of the query) of log-probabilities that are taken as they are."""
    return _log_loss(log_probs_BC, batch.targets[:, -1], batch.num_classes)


def log_loss_of_slots(outputs: Outputs, batch: Batch) -> Array:
    """-log p(label) of every answered slot, `[B, P]`."""
    return _log_loss(jax.nn.log_softmax(outputs.values), _targets(outputs, batch), batch.num_classes)


def _targets(outputs: Outputs, batch: Batch) -> Array:
    """Labels of what was answered, `[B]` or `[B, P]`."""
    return batch.targets[:, -1] if outputs.values.ndim == 2 else batch.targets[:, -outputs.values.shape[1] :]


def _log_loss(log_probs: Array, target: Array, num_classes: int) -> Array:
    # A masked sum, since the gradient of a gather is a scatter, which a CPU does one sequence at a time.
    return -jnp.sum(jnp.where(jax.nn.one_hot(target, num_classes, dtype=bool), log_probs, 0.0), axis=-1)
