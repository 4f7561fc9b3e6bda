"""Blocks without MLP and biases whose positions turn queries and keys, against the formula with complex numbers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Transformer
from icl_sim.predictors.networks.block import EPSILON, Block, standardised, tanh_gelu
from icl_sim.predictors.networks.positions import rotated, sinusoid
from icl_sim.predictors.networks.seam import functional


def turned(x_TK, base):
    """Coordinates j and K/2 + j as one complex number, turned by t * base^(-2j/K)."""
    half = x_TK.shape[1] // 2
    angle_TJ = np.arange(len(x_TK))[:, None] * float(base) ** (-2 * np.arange(half) / x_TK.shape[1])[None]
    z_TJ = (x_TK[:, :half] + 1j * x_TK[:, half:]) * np.exp(1j * angle_TJ)
    return np.concatenate([z_TJ.real, z_TJ.imag], axis=1)


@pytest.mark.parametrize("last_only", [False, True])
def test_a_block_of_attention_alone_is_the_formula(last_only, random_params):
    network = functional(lambda rngs: Block(16, 2, 0, rngs, attention_bias=False))
    params = random_params(network.init)
    assert {name: set(layer) for name, layer in params.items()} == {
        "attention_norm": {"scale", "bias"},
        "qkv": {"kernel"},
        "out": {"kernel"},
    }
    p = jax.tree.map(lambda leaf: np.asarray(3 * leaf, np.float64), params)
    x_TD = np.random.default_rng(6).normal(size=(5, 16))
    centred = x_TD - x_TD.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    normed = normed * p["attention_norm"]["scale"][None] + p["attention_norm"]["bias"][None]
    mixes, parts = [], np.split(normed @ p["qkv"]["kernel"], 6, axis=1)
    for q, k, v in zip(parts[:2], parts[2:4], parts[4:], strict=True):
        weights = np.exp(np.where(np.tri(5), turned(q, 7) @ turned(k, 7).T / np.sqrt(8), -np.inf))
        mixes.append(weights / weights.sum(1, keepdims=True) @ v)
    want = x_TD + np.concatenate(mixes, axis=1) @ p["out"]["kernel"]
    with jax.enable_x64(True):
        table = sinusoid(jnp.arange(5), 8, jnp.float64(7.0))
        apply = jax.jit(functools.partial(network.apply, causal=True, last_only=last_only))
        got, _ = apply(p, x_TD[None], rotary_TK=table)
    np.testing.assert_allclose(got[0], want[-1:] if last_only else want, atol=1e-6)


def test_rotary_positions_tell_how_far_apart_tokens_are_and_no_more():
    q_K, k_K = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    q_TK, k_TK = (rotated(jnp.tile(x, (1, 9, 1)), sinusoid(jnp.arange(9), 6, 30.0))[0] for x in (q_K, k_K))
    products_TT = np.asarray(q_TK @ k_TK.T)
    for distance in range(-8, 9):
        diagonal = np.diagonal(products_TT, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-5)
    assert products_TT[0, 0] == pytest.approx(q_K @ k_K, abs=1e-5)
    assert len(np.unique(np.round(products_TT[0], 4))) == 9


def test_rotary_positions_are_those_of_all_tokens_with_a_base_of_its_own(make_batch, random_params, apply):
    """With keys and queries that are the same everywhere, only positions tell tokens apart."""
    batch = make_batch(sequences=1, shape=(4,), classes=3)
    model = Transformer(depth=1, width=8, mlp_ratio=0, position="rotary", position_base=100.0)
    params = random_params(model.init, batch)
    block = params["blocks"]["0"]
    block["qkv"] = {"kernel": jnp.zeros((8, 24)), "bias": jnp.full(24, 2.0)}
    map_T = np.asarray(apply(model, params, batch, record=True).record["attention/0"])[0, 0, -1]
    query, key = np.full((5, 8), 2.0), np.full((5, 8), 2.0)
    score = turned(query, 100)[-1] @ turned(key, 100).T / np.sqrt(8)
    np.testing.assert_allclose(map_T, np.exp(score) / np.exp(score).sum(), atol=1e-5)


def test_heads_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="multiple of 8, twice the square"):
        Transformer(width=12, heads=2, block="replaced", position="rotary").check()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-5), ("float64", 1e-12)])
def test_the_gelu_with_a_slope_of_its_own_is_that_of_jax(dtype, tolerance):
    """Values, gradient and second derivative: at 0, where it is steep, flat, and saturated."""

    def derivatives(f, x_N):
        return [np.asarray(jax.vmap(g)(x_N)) for g in (f, jax.grad(f), jax.grad(jax.grad(f)))]

    x_N = np.concatenate([np.linspace(-8, 8, 401), [0, 1e-38, -1e-20, 1e-7, 1e-3, -50]]).astype(dtype)
    with jax.enable_x64(True):
        exact = derivatives(jax.nn.gelu, jnp.asarray(x_N, "float64"))
    with jax.enable_x64(dtype == "float64"):
        own = derivatives(tanh_gelu, jnp.asarray(x_N))
    for mine, theirs in zip(own, exact, strict=True):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, theirs, atol=tolerance)


def test_standardised_rows_have_the_derivatives_of_the_formula():
    def formula(x_RD):
        centred_RD = x_RD - jnp.mean(x_RD, axis=-1, keepdims=True)
        return centred_RD / jnp.sqrt(jnp.mean(centred_RD**2, axis=-1, keepdims=True) + EPSILON)

    with jax.enable_x64(True):
        # The last row is so flat that EPSILON counts.
        x_RD = jnp.asarray(np.random.default_rng(1).normal(size=(4, 6)) * np.array([[1.0], [30.0], [0.1], [0.003]]))
        d_RD = jnp.asarray(np.random.default_rng(2).normal(size=(4, 6)))

        def derivatives(f):
            loss = jax.grad(lambda x_RD: jnp.sum(d_RD * jnp.sin(f(x_RD))))
            return f(x_RD), jax.jvp(f, (x_RD,), (d_RD,))[1], loss(x_RD), jax.jvp(loss, (x_RD,), (d_RD,))[1]

        both = (jax.jit(derivatives, static_argnums=0)(f) for f in (standardised, formula))
        for own, written in zip(*both, strict=True):
            np.testing.assert_allclose(own, written, rtol=1e-9, atol=1e-9)
