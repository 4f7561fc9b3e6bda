"""Batches of known shapes for the tests of predictors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.types import CONTEXT, QUERY, SUPPORT, Batch


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Random sequences whose kinds tell the truth about their targets."""

    def make(sequences=3, length=2, shape=(64,), classes=10, seed=0) -> Batch:
        inputs, targets = jax.random.split(jax.random.key(seed))
        target_BS = jax.random.randint(targets, (sequences, length + 1), 0, classes)
        kind_BS = jnp.where(target_BS == target_BS[:, -1:], SUPPORT, CONTEXT).at[:, -1].set(QUERY)
        return Batch(
            inputs=jax.random.normal(inputs, (sequences, length + 1, *shape)),
            targets=target_BS,
            kinds=kind_BS.astype(jnp.int8),
            num_classes=classes,
        )

    return make


@pytest.fixture
def random_params() -> Callable[..., Any]:
    """`random_params(init, *args)`: parameters of the shapes of `init`, none zero, without compiling it."""

    def make(init: Callable[..., Any], *args: Any) -> Any:
        rng = np.random.default_rng(0)
        return jax.tree.map(
            lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 4, jnp.float32),
            jax.eval_shape(lambda key: init(key, *args), jax.random.key(0)),
        )

    return make
