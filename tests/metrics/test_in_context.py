"""Measures of labels in the context, on answers counted by hand."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import metrics
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Batch, Outputs

# Five labels. The contexts show 1 2 2; 1 3 0; and 4 4 4 with the right label, 2, nowhere.
BATCH = Batch(
    inputs=jnp.zeros((3, 4, 1)),
    targets=jnp.array([[1, 2, 2, 1], [1, 3, 0, 3], [4, 4, 4, 2]]),
    kinds=jnp.array(
        [[SUPPORT, CONTEXT, CONTEXT, QUERY], [CONTEXT, SUPPORT, SUPPORT, QUERY], [CONTEXT, CONTEXT, CONTEXT, QUERY]]
    ),
    latents={"labels_per_class": jnp.array(2)},
    num_classes=5,
)
PROBS = np.array([[0.1, 0.2, 0.1, 0.2, 0.4], [0.3, 0.05, 0.5, 0.1, 0.05], [0.1, 0.1, 0.1, 0.4, 0.3]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("restricted_error", [0, 1, 1]),  # 1 of {1, 2}; 0 of {0, 1, 3}; 4 of {4}
        ("chance_error", [0.8, 0.8, 0.8]),
        ("restricted_chance_error", [1 / 2, 2 / 3, 1]),
        ("from_context", [0, 0, 0]),
        ("context_probability", [0.3, 0.45, 0.3]),
        ("class_error", [1, 0, 0]),  # 4 for 1; 2 for 3 and 3 for 2, which are labels of one class
        ("support", [1, 1, 0]),
    ],
)
def test_by_hand(name, expected):
    found = metrics.OF_LABELS[name](Outputs(values=jnp.log(PROBS) + 7), BATCH)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_answer_from_the_context_is_told():
    answers = jnp.log(jnp.eye(5)[jnp.array([2, 2, 4])] + 1e-3)
    np.testing.assert_array_equal(metrics.from_context(Outputs(values=answers), BATCH), [1, 0, 1])


def test_labels_after_those_of_several_are_of_a_class_each():
    latents = {"labels_per_class": jnp.array(2), "several_labels": jnp.array(2)}
    batch = dataclasses.replace(BATCH, latents=latents)  # classes {0, 1}, 2, 3, 4; the right ones are 1, 3, 2
    answers = jnp.log(jnp.eye(5)[jnp.array([0, 2, 2])] + 1e-3)
    np.testing.assert_array_equal(metrics.class_error(Outputs(values=answers), batch), [0, 1, 0])
