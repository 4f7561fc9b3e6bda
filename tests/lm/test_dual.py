from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.lm import decoder, dual, tiny

ETA = 0.3


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_layer_trained_by_sgd_is_linear_attention_to_what_it_was_trained_on(rng):
    w, x, y, query = (jnp.asarray(rng.standard_normal(shape)) for shape in ((3, 5), (40, 5), (40, 3), (5,)))
    trained, errors = dual.sgd_on_squares(w, x, y, 0.02)
    np.testing.assert_allclose(trained @ query, w @ query + dual.linear_attention(errors, x, query), atol=1e-14)
    by_hand = np.asarray(w)
    for one, target in zip(np.asarray(x), np.asarray(y), strict=True):
        by_hand = by_hand + 0.02 * np.outer(target - by_hand @ one, one)
    np.testing.assert_allclose(trained, by_hand, atol=1e-14)


def test_so_is_a_layer_after_one_step_on_all_examples(rng):
    w, x, y, query = (jnp.asarray(rng.standard_normal(shape)) for shape in ((3, 5), (40, 5), (40, 3), (5,)))

    def loss(w):
        return jnp.sum(jnp.square(y - x @ w.T)) / 2

    trained = w - 0.01 * jax.grad(loss)(w)
    errors = 0.01 * (y - x @ w.T)
    np.testing.assert_allclose(trained @ query, w @ query + dual.linear_attention(errors, x, query), atol=1e-13)


def test_relaxed_attention_is_a_layer_and_its_meta_gradient(rng):
    w_v, w_k = (jnp.asarray(rng.standard_normal((4, 6))) for _ in range(2))
    shown, own, query = (jnp.asarray(rng.standard_normal(shape)) for shape in ((20, 6), (7, 6), (4,)))
    both = jnp.concatenate([shown, own])
    whole = dual.linear_attention(both @ w_v.T, both @ w_k.T, query)
    zero_shot = dual.meta_gradient(own @ w_v.T, own @ w_k.T)
    np.testing.assert_allclose(
        (zero_shot + dual.meta_gradient(shown @ w_v.T, shown @ w_k.T)) @ query, whole, rtol=1e-13
    )


def test_so_is_relaxed_attention_after_keys_and_values_are_finetuned(rng):
    w_v, w_k, moved_v, moved_k = (jnp.asarray(rng.standard_normal((4, 6))) for _ in range(4))
    x, query = jnp.asarray(rng.standard_normal((7, 6))), jnp.asarray(rng.standard_normal(4))
    after = dual.linear_attention(x @ (w_v + moved_v).T, x @ (w_k + moved_k).T, query)
    zero_shot = dual.meta_gradient(x @ w_v.T, x @ w_k.T)
    update = dual.finetuning_update(w_v, w_k, moved_v, moved_k, x)
    np.testing.assert_allclose((zero_shot + update) @ query, after, rtol=1e-12)


def test_how_far_softmax_is_from_its_relaxation(rng):
    keys, values = jnp.asarray(rng.standard_normal((9, 4))), jnp.asarray(rng.standard_normal((9, 3)))
    # Equal keys: softmax is the mean of the values, relaxed attention a multiple of their sum.
    same = jnp.ones((9, 4))
    told = dual.relaxation(jnp.full(4, 0.5), same, values)
    np.testing.assert_allclose([told.cosine, told.scale, told.error], [1, 1 / 18, 17], rtol=1e-12)
    assert told.scaled_error < 1e-12
    other = dual.relaxation(jnp.asarray(rng.standard_normal(4)), keys, values)
    assert other.scaled_error == pytest.approx(np.sqrt(1 - float(other.cosine) ** 2))
    assert other.scaled_error < other.error


def test_momentum_in_three_forms(rng):
    drawn = rng.standard_normal((16, 4))
    values, closed = jnp.asarray(drawn), dual.momentum(jnp.asarray(drawn), ETA)
    by_hand = [sum((ETA ** (t - i) * drawn[i] for i in range(t)), np.zeros(4)) for t in range(16)]
    np.testing.assert_allclose(closed, by_hand, atol=1e-15)
    steps = [np.zeros(4)]
    for value in drawn[:-1]:
        steps.append(dual.momentum_step(steps[-1], value, ETA))
    np.testing.assert_allclose(closed, steps, atol=1e-15)
    np.testing.assert_allclose(dual.momentum_scan(values, ETA), closed, atol=1e-15)
    np.testing.assert_allclose(dual.momentum(values, ETA, exclude_self=False), closed + values, atol=1e-15)
    np.testing.assert_allclose(dual.momentum(values, ETA, normalised=True), (1 - ETA) * closed, atol=1e-15)


def test_momentum_is_that_of_gradient_descent(rng):
    gradients = jnp.asarray(rng.standard_normal((10, 2)))  # whatever they are, at each step
    velocity, steps = jnp.zeros(2), []
    for gradient in gradients:
        steps.append(velocity)
        velocity = ETA * (velocity + gradient)
    np.testing.assert_allclose(dual.momentum(gradients, ETA), steps, atol=1e-15)


def test_momentum_attention_is_softmax_attention_of_each_prefix_and_momentum(rng):
    values, keys, query = (jnp.asarray(rng.standard_normal((6, 4))) for _ in range(3))
    got = dual.momentum_attention(values, keys, query, ETA)
    added = np.asarray(dual.momentum(values, ETA))
    for t in range(6):
        weights = np.exp(np.asarray(keys)[: t + 1] @ np.asarray(query)[t] / 2)
        attended = weights @ np.asarray(values)[: t + 1] / weights.sum()
        np.testing.assert_allclose(got[t], attended + added[t], atol=1e-14)


@pytest.mark.parametrize("window", [0, 5])
def test_relaxation_of_the_heads_of_a_language_model(window):
    architecture = dataclasses.replace(tiny.ARCHITECTURE, windows=(0, window))
    with jax.enable_x64(False):
        params, ids = tiny.parameters(), jnp.asarray(list(b"a text of some length"))
        told = dual.relaxation_of_heads(architecture, params, ids)
        assert told.error.shape == (2, 4)
        out = jax.jit(lambda: decoder.forward(architecture, params, ids[None], record=True))()
    head, scale = 3, architecture.attention_scale  # of the second group of keys and values
    for layer, seen in ((0, len(ids)), (1, window or len(ids))):
        logits, values = (np.asarray(out.record[name])[layer, 0] for name in ("logits", "value"))
        row, own = logits[head, -1, -seen:], values[-seen:, 8:]
        attended, relaxed = np.exp(row) @ own / np.exp(row).sum(), row / scale @ own
        error = np.linalg.norm(attended - relaxed) / np.linalg.norm(attended)
        assert told.error[layer, head] == pytest.approx(error, rel=1e-4)
        cosine = attended @ relaxed / np.linalg.norm(attended) / np.linalg.norm(relaxed)
        assert told.cosine[layer, head] == pytest.approx(cosine, abs=1e-4)
