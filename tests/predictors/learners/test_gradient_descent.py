"""Gradient descent: its closed form, its two conventions, its limit, and what is learned."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import GradientDescent, Ridge


def test_steps_are_the_powers_of_the_closed_form(make_prompts, answer):
    """w_n = sum_{j < n} (rate / k) (I - rate / k A)^j X^T y with A = X^T X, at every prefix."""
    with jax.enable_x64(True):
        batch = make_prompts(pairs=9, dim=4, noise=0.5, dtype=np.float64)
        x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
        for steps in (1, 2, 7):
            outputs = answer(GradientDescent(rate=0.7, steps=steps), batch)
            for b, k in np.ndindex(3, 10):
                rate = 0.7 / max(k, 1)
                shrink = np.eye(4) - rate * x[b, :k].T @ x[b, :k]
                w = sum(rate * np.linalg.matrix_power(shrink, j) @ x[b, :k].T @ y[b, :k] for j in range(steps))
                np.testing.assert_allclose(outputs.record["w"][b, k], w, rtol=1e-12, atol=1e-13)
                np.testing.assert_allclose(outputs.values[b, k], w @ x[b, k], rtol=1e-12, atol=1e-13)


def test_the_step_of_akyurek_et_al(make_prompts, answer):
    """w = 2 alpha X^T y after one step, and w' = w - 2 alpha (X^T (X w - y) + l w) after another of its own rate."""
    with jax.enable_x64(True):
        batch = make_prompts(pairs=5, dtype=np.float64)
        x, y = np.asarray(batch.inputs)[:, :-1], np.asarray(batch.targets)[:, :-1]
        learner = GradientDescent(rate=0.02, convention="sum", penalty=0.3)
        first = 2 * 0.02 * np.einsum("blx,bl->bx", x, y)
        np.testing.assert_allclose(answer(learner, batch).record["w"][:, -1], first, rtol=1e-12)
        left = np.einsum("blx,bx->bl", x, first) - y
        second = first - 2 * 0.01 * (np.einsum("blx,bl->bx", x, left) + 0.3 * first)
        twice = dataclasses.replace(learner, steps=2, rate=jnp.asarray([0.02, 0.01]))
        np.testing.assert_allclose(answer(twice, batch).record["w"][:, -1], second, rtol=1e-12)


def test_the_conventions_differ_by_a_factor_at_every_prefix(make_prompts, answer):
    batch = make_prompts(pairs=5, noise=0.2)
    mean = answer(GradientDescent(rate=0.6, steps=3, penalty=0.1), batch).values
    for k in range(1, 6):
        total = answer(GradientDescent(rate=0.6 / (2 * k), steps=3, penalty=0.1, convention="sum"), batch).values
        np.testing.assert_allclose(total[:, k], mean[:, k], rtol=1e-5)


def test_many_steps_end_at_ridge(make_prompts, answer):
    with jax.enable_x64(True):
        batch = make_prompts(pairs=9, noise=0.5, dtype=np.float64)
        descended = answer(GradientDescent(rate=0.1, steps=5000, penalty=0.5), batch).record["w"]
        np.testing.assert_allclose(descended, answer(Ridge(penalty=0.5), batch).record["w"], atol=1e-10)


def test_what_is_learned_starts_at_the_field_and_rates_per_step_unequal(make_prompts, key):
    batch = make_prompts()
    assert GradientDescent(rate=0.3, steps=3).init(key, batch) == {}
    tied = GradientDescent(rate=0.3, steps=3, learned=True)
    assert tied.init(key, batch)["rate"] == pytest.approx(0.3)
    np.testing.assert_array_equal(
        tied.apply(tied.init(key, batch), batch).values, GradientDescent(rate=0.3, steps=3).apply({}, batch).values
    )
    free = dataclasses.replace(tied, per_step=True)
    np.testing.assert_allclose(free.init(key, batch)["rate"], [0.15, 0.3, 0.45], rtol=1e-6)
    chosen = dataclasses.replace(free, rate=jnp.asarray([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(chosen.init(key, batch)["rate"], [1, 2, 4])


def test_equal_rates_have_equal_gradients_which_is_why_they_start_unequal(make_prompts, key):
    batch = make_prompts(sequences=50, pairs=8, every=False)
    learner = GradientDescent(rate=0.3, steps=3, learned=True, per_step=True)

    @jax.jit
    @jax.grad
    def slope(rates):
        return jnp.mean((learner.apply({"rate": rates}, batch).values - batch.targets[:, -1:]) ** 2)

    equal, unequal = slope(jnp.full(3, 0.3)), slope(learner.init(key, batch)["rate"])
    np.testing.assert_allclose(equal, equal[0] * np.ones(3), rtol=1e-4)
    assert np.ptp(unequal) > 0.01 * np.abs(unequal).max()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(convention="means"), "convention of gradient descent is 'means'; allowed: mean, sum. Did you mean"),
        (dict(steps=0), "steps of gradient descent are 0; it takes from 1 to 100,000"),
        (dict(steps=10**9), "steps of gradient descent are 1000000000; it takes from 1 to 100,000"),
        (dict(rate=float("nan")), "rate of gradient descent is nan; it must be a finite number, or 1 of them"),
        (dict(rate=np.ones(3), steps=2), "it must be a finite number, or 2 of them"),
        (dict(penalty=-1.0), "penalty of gradient descent is -1.0; it must be at least 0"),
        (dict(per_step=True), "per_step of gradient descent is True where learned is False"),
    ],
)
def test_refuses_with_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        GradientDescent(**changes).check()
