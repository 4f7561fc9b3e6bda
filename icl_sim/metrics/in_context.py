"""What the labels in the context have to do with an answer: whether it is one of them, which, and what chance gives.

An answer can be right for knowing that the label is in the context, or for knowing which one it is. The error over all
labels, that over the labels of the context alone and the share of answers from the context tell the two apart (Reddy
2023; Singh et al. 2025). All are of the query, `[B]`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.types import SUPPORT, Array, Batch, Outputs


def restricted_error(outputs: Outputs, batch: Batch) -> Array:
    """0-1 error of the most likely label among those in the context."""
    among_BC = jnp.where(_shown(batch), outputs.values, -jnp.inf)
    return (jnp.argmax(among_BC, axis=-1) != batch.targets[:, -1]).astype(jnp.float32)


def restricted_chance_error(outputs: Outputs, batch: Batch) -> Array:
    """The 0-1 error of guessing one of the different labels in the context: 1 where the right one is not among them."""
    del outputs
    shown_BC = _shown(batch)
    is_right_BC = jax.nn.one_hot(batch.targets[:, -1], batch.num_classes, dtype=bool)
    right_B = jnp.any(shown_BC & is_right_BC, axis=-1)
    return 1 - right_B / jnp.maximum(jnp.sum(shown_BC, axis=-1), 1)


def chance_error(outputs: Outputs, batch: Batch) -> Array:
    """The 0-1 error of guessing one of all C labels, 1 - 1/C."""
    return jnp.full(len(outputs.values), 1 - 1 / batch.num_classes)


def from_context(outputs: Outputs, batch: Batch) -> Array:
    """1 where the most likely label is in the context (CLA of Reddy 2023)."""
    answer_BC = jax.nn.one_hot(jnp.argmax(outputs.values, axis=-1), batch.num_classes, dtype=bool)
    return jnp.any(answer_BC & _shown(batch), axis=-1).astype(jnp.float32)


def context_probability(outputs: Outputs, batch: Batch) -> Array:
    """P(C), the probability of all labels in the context (Singh et al. 2023)."""
    return jnp.sum(jnp.where(_shown(batch), jax.nn.softmax(outputs.values), 0.0), axis=-1)


def class_error(outputs: Outputs, batch: Batch) -> Array:
    """0-1 error where any of a class's several labels is right (Chan et al. 2022, label multiplicity).

    Labels from `several_labels` on, where the batch says so, are of a class each.
    """
    per_class = batch.latents["labels_per_class"]
    several = batch.latents.get("several_labels", jnp.asarray(batch.num_classes))

    def class_of(label_B: Array) -> Array:
        return jnp.where(label_B < several, label_B // per_class, label_B)

    answer_B = jnp.argmax(outputs.values, axis=-1)
    return (class_of(answer_B) != class_of(batch.targets[:, -1])).astype(jnp.float32)


def support(outputs: Outputs, batch: Batch) -> Array:
    """1 where the context holds the query's class: the rate that a setting really has, bursts and luck together."""
    del outputs
    return jnp.any(batch.kinds[:, :-1] == SUPPORT, axis=1).astype(jnp.float32)


def _shown(batch: Batch) -> Array:
    """Which labels are in the context, `[B, C]`."""
    label_B1L = batch.targets[:, None, :-1]
    return jnp.any(label_B1L == jnp.arange(batch.num_classes)[None, :, None], axis=-1)
