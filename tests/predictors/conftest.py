"""Batches of known shapes for the tests of predictors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.types import CONTEXT, QUERY, SUPPORT, Batch, Outputs, Predictor


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Random sequences whose kinds tell the truth about their targets."""

    def make(sequences=3, length=2, shape=(64,), classes=10, seed=0) -> Batch:
        rng = np.random.default_rng(seed)
        target_BS = rng.integers(classes, size=(sequences, length + 1), dtype=np.int32)
        kind_BS = np.where(target_BS == target_BS[:, -1:], SUPPORT, CONTEXT).astype(np.int8)
        kind_BS[:, -1] = QUERY
        return Batch(
            inputs=jnp.asarray(rng.normal(size=(sequences, length + 1, *shape)), jnp.float32),
            targets=jnp.asarray(target_BS),
            kinds=jnp.asarray(kind_BS),
            num_classes=classes,
        )

    return make


@functools.partial(jax.jit, static_argnames="record")
def _apply(predictor: Predictor, params: Any, batch: Batch, record: bool) -> Outputs:
    return predictor.apply(params, batch, record=record)


@pytest.fixture
def apply() -> Callable[..., Outputs]:
    """`apply(predictor, params, batch, record=False)`: answers, compiled once for predictors of one structure."""
    return lambda predictor, params, batch, record=False: _apply(predictor, params, batch, record)


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
