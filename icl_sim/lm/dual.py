"""The dual form of gradient descent and attention: identities that can be tested (Dai et al. 2023, sections 3 and 5).

A linear layer trained by gradient descent is the untrained one and linear attention: errors are the values, training
inputs the keys, the test input the query (Aizerman et al. 1964; Irie et al. 2022). Attention without its softmax is in
the same way a layer `W_ZSL` and a sum over demonstrations of outer products of values and keys, the "meta-gradients".
That is an identity of sums. It says nothing of the values being the gradient of any loss, nor that attention is near to
attention without its softmax: `relaxation` measures how far they are apart.

Axes: N examples or tokens, I inputs of a layer, O its outputs, K coordinates of a head, V of a value, D of the model,
T positions.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from icl_sim import precision
from icl_sim.lm import decoder
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.layers import per_layer
from icl_sim.types import Array, Params


def linear_attention(values_NO: Array, keys_NI: Array, query_I: Array) -> Array:
    """sum_i v_i (k_i . q), `[O]`."""
    return values_NO.T @ (keys_NI @ query_I)


def sgd_on_squares(w_OI: Array, inputs_NI: Array, targets_NO: Array, rate: float) -> tuple[Array, Array]:
    """Trains a linear layer on half the squared error, an example a step; its weights, and the errors `[N, O]`.

    Errors are -rate * dL/d(output) at the weights in force when the example was seen. The trained layer is
    `w x + linear_attention(errors, inputs, x)` of the weights w at first, and so it is after one step on all examples,
    with errors that are all taken at w.
    """

    def step(w_OI: Array, example: tuple[Array, Array]) -> tuple[Array, Array]:
        x_I, y_O = example
        error_O = rate * (y_O - w_OI @ x_I)
        return w_OI + jnp.outer(error_O, x_I), error_O

    return jax.lax.scan(step, w_OI, (inputs_NI, targets_NO))


def softmax_attention(values_NV: Array, keys_NK: Array, query_K: Array) -> Array:
    """V softmax(K q / sqrt(K)), `[V]`."""
    return values_NV.T @ jax.nn.softmax(keys_NK @ query_K / jnp.sqrt(float(len(query_K))))


def meta_gradient(values_NV: Array, keys_NK: Array) -> Array:
    """sum_i v_i (x) k_i, `[V, K]`: what relaxed attention to these tokens adds to a layer that reads the query.

    Of the demonstrations it is dW_ICL, of the query's own tokens W_ZSL; relaxed attention to both is their sum times q.
    """
    return values_NV.T @ keys_NK


def finetuning_update(w_v_VD: Array, w_k_KD: Array, moved_v_VD: Array, moved_k_KD: Array, tokens_ND: Array) -> Array:
    """dW_FT `[V, K]`: what changes of the value and key projections do to W_ZSL, in relaxed attention.

    dV X (K X)^T + V X (dK X)^T + dV X (dK X)^T, of tokens X.
    """
    values_NV, keys_NK = tokens_ND @ w_v_VD.T, tokens_ND @ w_k_KD.T
    more_values_NV, more_keys_NK = tokens_ND @ moved_v_VD.T, tokens_ND @ moved_k_KD.T
    return (
        meta_gradient(more_values_NV, keys_NK)
        + meta_gradient(values_NV, more_keys_NK)
        + meta_gradient(more_values_NV, more_keys_NK)
    )


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """How far attention without its softmax is from attention.

    Attributes:
      error: |softmax - relaxed| / |softmax|.
      cosine: of the two.
      scale: the number by which relaxed attention comes nearest.
      scaled_error: the error after multiplying by it.
    """

    error: Array
    cosine: Array
    scale: Array
    scaled_error: Array


jax.tree_util.register_dataclass(Relaxation, ["error", "cosine", "scale", "scaled_error"], [])


def relaxation(query_K: Array, keys_NK: Array, values_NV: Array) -> Relaxation:
    """Compares `softmax_attention` with `linear_attention` at one query, both as the paper writes them."""
    return _relaxation(keys_NK @ query_K, jnp.sqrt(float(len(query_K))), values_NV, jnp.ones(len(keys_NK), bool))


@functools.partial(jax.jit, static_argnums=0)
def relaxation_of_heads(architecture: Architecture, params: Params, ids_T: Array) -> Relaxation:
    """`relaxation` of every attention head of a language model at the last token of a text, each `[layers, H]`.

    Products of queries and keys are those after rotation, at which softmax looks, and are relaxed without their scale.
    Both see the same tokens, in a layer with a window those in it.
    """
    last_BP = jnp.asarray([[len(ids_T) - 1]])
    out = decoder.forward(architecture, params, ids_T[None], record=("logits",), recorded_BP=last_BP)
    logits_LHN = out.record["logits"][:, 0, :, 0]
    values_LNGK = out.cache.value_LBSGK[:, 0]
    values_LHNK = jnp.repeat(jnp.swapaxes(values_LNGK, 1, 2), architecture.heads // architecture.kv_heads, axis=1)
    own = per_layer(architecture)
    age_N = jnp.arange(len(ids_T))[::-1]

    def layer(logits_HN: Array, values_HNK: Array, scale: Array, window: Array) -> Relaxation:
        def head(logits_N: Array, values_NK: Array) -> Relaxation:
            return _relaxation(logits_N / scale, 1 / scale, values_NK, age_N < window)

        return jax.vmap(head)(logits_HN, values_HNK)

    return jax.vmap(layer)(logits_LHN, values_LHNK, jnp.asarray(own["scale"]), jnp.asarray(own["window"]))


def _relaxation(products_N: Array, divisor: Array, values_NV: Array, seen_N: Array) -> Relaxation:
    """Attention by softmax(products / divisor) against attention by the products themselves, of the tokens seen."""
    with precision.full():
        attended_V = values_NV.T @ jax.nn.softmax(products_N / divisor, where=seen_N)
        relaxed_V = values_NV.T @ jnp.where(seen_N, products_N, 0)
        product = attended_V @ relaxed_V
    size, relaxed_size = jnp.linalg.norm(attended_V), jnp.linalg.norm(relaxed_V)
    scale = product / jnp.square(relaxed_size)
    return Relaxation(
        error=jnp.linalg.norm(attended_V - relaxed_V) / size,
        cosine=product / (size * relaxed_size),
        scale=scale,
        scaled_error=jnp.linalg.norm(attended_V - scale * relaxed_V) / size,
    )


def momentum(values_TV: Array, eta: float, *, exclude_self: bool = True, normalised: bool = False) -> Array:
    """What momentum attention adds at every position: sum_{i<t} eta^(t-i) v_i, `[T, V]` (section 5).

    Not normalised, and without the value of the position itself, as in the paper. It does not tell its eta, and its
    code is not public.

    Args:
      exclude_self: otherwise v_t counts too, by 1.
      normalised: multiply by 1 - eta.
    """
    age_TT = jnp.arange(len(values_TV))[:, None] - jnp.arange(len(values_TV))[None]
    weight_TT = jnp.where(age_TT >= (1 if exclude_self else 0), eta ** jnp.maximum(age_TT, 0), 0.0)
    return (1 - eta if normalised else 1.0) * (weight_TT.astype(values_TV.dtype) @ values_TV)


def momentum_step(average_V: Array, value_V: Array, eta: float) -> Array:
    """The recurrence m_{t+1} = eta (m_t + v_t), with m_1 = 0: what is added at t + 1, from what was added at t."""
    return eta * (average_V + value_V)


def momentum_scan(values_TV: Array, eta: float) -> Array:
    """`momentum` by an associative scan: work in T log T, and no T x T matrix."""

    def joined(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
        (decay, total), (later_decay, later_total) = one, other
        return decay * later_decay, later_decay * total + later_total

    decay_TV = jnp.full_like(values_TV, eta)
    _, after_TV = jax.lax.associative_scan(joined, (decay_TV, eta * values_TV))
    return jnp.concatenate([jnp.zeros_like(values_TV[:1]), after_TV[:-1]])


def momentum_attention(values_TV: Array, keys_TK: Array, query_TK: Array, eta: float, **options: bool) -> Array:
    """Causal softmax attention of every position, and `momentum` of the values, `[T, V]`."""
    logits_TT = query_TK @ keys_TK.T / jnp.sqrt(float(keys_TK.shape[1]))
    seen_TT = jnp.tril(jnp.ones_like(logits_TT, dtype=bool))
    map_TT = jax.nn.softmax(jnp.where(seen_TT, logits_TT, -jnp.inf), axis=-1)
    return map_TT @ values_TV + momentum(values_TV, eta, **options)
