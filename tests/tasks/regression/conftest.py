"""Sampling, compiled once for all tests of a structure."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import pytest

from icl_sim.tasks.regression import Regression
from icl_sim.types import Array, Batch, Key


@pytest.fixture(scope="session")
def sample() -> Callable[..., Batch]:
    """A batch (task, key, batch size). Settings are traced; the same key twice is meant here."""
    # Compiling is all that these tests take, and unoptimised it takes a third.
    quickly = {"xla_backend_optimization_level": 0}

    @functools.partial(jax.jit, static_argnums=2, compiler_options=quickly)
    def draw(task: Regression, key: Key, batch_size: int) -> Batch:
        return task.sample(key, batch_size)

    return lambda task, key, batch_size: draw(task, jax.random.clone(key), batch_size)


@pytest.fixture(scope="session")
def sample_weights() -> Callable[..., Array]:
    """The weights of a batch (task, key, batch size)."""
    draw = jax.jit(lambda task, key, batch_size: task.sample(key, batch_size).weights, static_argnums=2)
    return lambda task, key, batch_size: draw(task, jax.random.clone(key), batch_size)
