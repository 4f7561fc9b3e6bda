"""Softmax attention, and the running sum of values that can be added to it."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from icl_sim.types import Array, Leaf


def attend(q_BQK: Array, k_BTK: Array, v_BTK: Array, seen_QT: Array | None) -> tuple[Array, Array]:
    """The mix softmax(q.k / sqrt(K)) v over the tokens seen, `[B, Q, K]`, and the map of its weights, `[B, Q, T]`."""
    T, K = k_BTK.shape[1:]
    logits_BQT = jnp.einsum("BQK,BTK->BQT", q_BQK, k_BTK) / math.sqrt(K)
    if seen_QT is not None:
        logits_BQT = jnp.where(seen_QT[None], logits_BQT, -jnp.inf)
    if T <= K:
        map_BQT = jax.nn.softmax(logits_BQT)
        return jnp.einsum("BQT,BTK->BQK", map_BQT, v_BTK), map_BQT
    # Of map and mix the narrower is divided; the map is then made only if it is used.
    largest_BQ1 = jax.lax.stop_gradient(jnp.max(logits_BQT, axis=-1, keepdims=True))
    weight_BQT = jnp.exp(logits_BQT - largest_BQ1)
    total_BQ1 = jnp.sum(weight_BQT, axis=-1, keepdims=True)
    return jnp.einsum("BQT,BTK->BQK", weight_BQT, v_BTK) / total_BQ1, weight_BQT / total_BQ1


def momentum(tokens: int, eta: Leaf, *, exclude_self: bool, normalised: bool) -> Array:
    """A with (A V)_t = sum_{i<t} eta^(t-i) v_i, `[T, T]`, the momentum of values (Dai et al. 2023, section 5).

    It is what gradient descent with momentum adds to a gradient, were values gradients. As a recurrence m_1 = 0,
    m_{t+1} = eta (m_t + v_t).

    Args:
      exclude_self: whether the sum ends before t, as in the paper; otherwise v_t is counted, with weight 1.
      normalised: whether it is multiplied by 1 - eta, so that with v_t the weights sum to nearly 1. Not in the paper.
    """
    age_TT = jnp.arange(tokens)[:, None] - jnp.arange(tokens)[None]
    decay_TT = jnp.asarray(eta) ** jnp.maximum(age_TT, 0)
    sum_TT = jnp.where(age_TT >= (1 if exclude_self else 0), decay_TT, 0.0)
    return sum_TT * (1 - eta) if normalised else sum_TT
