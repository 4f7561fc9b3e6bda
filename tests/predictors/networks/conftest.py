"""Prompts of regression for the tests of networks."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from icl_sim.types import CONTEXT, QUERY, Batch


@pytest.fixture
def make_regression() -> Callable[..., Batch]:
    """Random inputs and targets, with weights where every slot is a query."""

    def make(sequences=3, slots=4, dim=3, every=True, seed=0) -> Batch:
        inputs, targets = jax.random.split(jax.random.key(seed))
        return Batch(
            inputs=jax.random.normal(inputs, (sequences, slots, dim)),
            targets=jax.random.normal(targets, (sequences, slots)),
            kinds=jnp.full((sequences, slots), CONTEXT, jnp.int8).at[:, -1].set(QUERY),
            weights=jnp.ones((sequences, slots)) if every else None,
            scale=float(dim),
        )

    return make
