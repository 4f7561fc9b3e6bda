"""Prompts of linear regression for the tests of learners."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.types import CONTEXT, QUERY, Batch, Outputs

_apply = jax.jit(lambda learner, batch: learner.apply({}, batch, record=True))


@pytest.fixture
def answer() -> Callable[..., Outputs]:
    """`answer(learner, batch)`: outputs with their record, compiled once for learners of one structure."""
    return lambda learner, batch: jax.tree.map(np.asarray, _apply(learner, batch))


@pytest.fixture
def make_prompts() -> Callable[..., Batch]:
    """Linear prompts y = w.x + noise e of normal numbers, drawn in double precision; `inputs [B, S, d]` if given."""

    def make(sequences=3, pairs=6, dim=4, noise=0.0, every=True, seed=0, dtype=np.float32, inputs=None) -> Batch:
        rng = np.random.default_rng(seed)
        x_BSX = rng.normal(size=(sequences, pairs + 1, dim)) if inputs is None else inputs
        w_BX = rng.normal(size=(len(x_BSX), x_BSX.shape[2]))
        clean_BS = np.einsum("BSX,BX->BS", x_BSX, w_BX)
        kinds_BS = np.full(clean_BS.shape, CONTEXT, np.int8)
        kinds_BS[:, -1] = QUERY
        return Batch(
            inputs=jnp.asarray(x_BSX, dtype),
            targets=jnp.asarray(clean_BS + noise * rng.normal(size=clean_BS.shape), dtype),
            kinds=jnp.asarray(kinds_BS),
            latents={
                "clean": jnp.asarray(clean_BS, dtype),
                "w": jnp.asarray(w_BX, dtype),
                "noise": jnp.asarray(noise, dtype),
                "w_scale": jnp.asarray(1.0, dtype),
                "w_mean": jnp.asarray(0.0, dtype),
            },
            weights=jnp.ones(clean_BS.shape, dtype) if every else None,
            scale=float(x_BSX.shape[2]),
        )

    return make
