"""Prompts of regression for the tests of networks."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.types import CONTEXT, QUERY, Batch


@pytest.fixture
def make_regression() -> Callable[..., Batch]:
    """Random inputs and targets, with weights where every slot is a query."""

    def make(sequences=3, slots=4, dim=3, every=True, seed=0) -> Batch:
        rng, kinds_BS = np.random.default_rng(seed), np.full((sequences, slots), CONTEXT, np.int8)
        kinds_BS[:, -1] = QUERY
        return Batch(
            inputs=jnp.asarray(rng.normal(size=(sequences, slots, dim)), jnp.float32),
            targets=jnp.asarray(rng.normal(size=(sequences, slots)), jnp.float32),
            kinds=jnp.asarray(kinds_BS),
            weights=jnp.asarray(np.ones((sequences, slots), np.float32)) if every else None,
            scale=float(dim),
        )

    return make
