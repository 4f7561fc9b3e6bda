"""Prompts of linear regression, and learners whose weights the tests know, for the comparisons."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.types import CONTEXT, QUERY, Answerer, Array, Batch, Leaf, Outputs, Predictor, setting, static


def prompts(sequences=5, pairs=6, d=3, seed=0, every=True, **changes) -> Batch:
    """Noiseless prompts of y = w.x; with `every`, all slots are asked."""
    rng = np.random.default_rng(seed)
    x_BSX, w_BX = rng.normal(size=(sequences, pairs + 1, d)), rng.normal(size=(sequences, d))
    y_BS = np.einsum("BSX,BX->BS", x_BSX, w_BX)
    kind_BS = np.full(y_BS.shape, CONTEXT).astype(np.int8)
    kind_BS[:, -1] = QUERY
    fields = {
        "inputs": jnp.asarray(x_BSX),
        "targets": jnp.asarray(y_BS),
        "kinds": jnp.asarray(kind_BS),
        "latents": {"clean": jnp.asarray(y_BS), "w": jnp.asarray(w_BX)},
        "weights": jnp.ones(y_BS.shape) if every else None,
        "scale": float(d),
    }
    return Batch(**{**fields, **changes})


@setting
class Moments(Predictor):
    """y = w.x + bend (w.x)^2 with w = rate X^T y of the pairs before; of every slot, or of the last `slots` alone."""

    rate: Leaf = 1.0
    bend: Leaf = 0.0
    slots: int = static(0)

    def weights(self, batch: Batch) -> Array:
        """`[B, S, X]`"""
        seen_BSX = self.rate * jnp.cumsum(batch.inputs * batch.targets[..., None], axis=1)[:, :-1]
        return jnp.concatenate([jnp.zeros_like(seen_BSX[:, :1]), seen_BSX], axis=1)

    def apply(self, params, batch, *, record=False):
        value_BS = jnp.sum(self.weights(batch) * batch.inputs, axis=-1)
        value_BS = value_BS + self.bend * jnp.square(value_BS)
        return Outputs(values=value_BS[:, -self.slots :])


@setting
class Says(Predictor):
    """These numbers, `[B, P]`."""

    values: Array

    def apply(self, params, batch, *, record=False):
        return Outputs(values=self.values)


def ask(predictor: Predictor) -> Answerer:
    return Answerer(predictor, {})


def compare(comparison, a: Predictor, b: Predictor, batch: Batch) -> dict[str, np.ndarray]:
    """What a compiled comparison says."""
    found = jax.jit(lambda a, b, batch: comparison.compare(ask(a), ask(b), batch))(a, b, batch)
    return {name: np.asarray(value) for name, value in found.items()}
