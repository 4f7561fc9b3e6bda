"""Tuned learners: optima known in closed form, the published losses, and what must not go wrong."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import GradientDescent, GradientDescentPlusPlus, KernelCopy, Ridge, Tuned


def uniform(make_prompts, sequences, seed):
    """Prompts of von Oswald et al.: 10 pairs, x ~ U(-1/2, 1/2)^10, the query alone."""
    x_BSX = np.random.default_rng(seed).uniform(-0.5, 0.5, size=(sequences, 11, 10))
    return make_prompts(inputs=x_BSX, every=False, seed=seed)


apply = jax.jit(lambda learner, params, batch: learner.apply(params, batch))
init = jax.jit(lambda predictor, key, batch: predictor.init(key, batch))


def losses(learner, params, batch):
    """Half the squared error of the query, `[B]`."""
    values = np.asarray(apply(learner, params, batch).values)
    return 0.5 * np.asarray(values[:, -1] - np.asarray(batch.targets)[:, -1], np.float64) ** 2


@pytest.mark.parametrize(
    ("learner", "published"),
    [
        (GradientDescent(learned=True), 0.2062),
        (GradientDescent(steps=2, learned=True), 0.156),
        (GradientDescent(steps=5, learned=True), 0.108),
        (GradientDescentPlusPlus(rate=6.0, learned=True), 0.110),
    ],
    ids=["1 step", "2 steps", "5 steps", "GD++"],
)
def test_published_losses(learner, published, make_prompts, key):
    """Half the squared error of what von Oswald et al. tune, on other prompts, within 4 standard errors."""
    params = jax.jit(Tuned(learner=learner).init)(key, uniform(make_prompts, 2000, seed=1))
    loss_B = losses(learner, params, uniform(make_prompts, 15_000, seed=2))
    assert loss_B.mean() == pytest.approx(published, abs=4 * loss_B.std() / np.sqrt(len(loss_B)) + 0.0005)
    if isinstance(learner, GradientDescentPlusPlus):  # a flat optimum: measured at 12.9 and .1715
        assert params["rate"] == pytest.approx(12.9, abs=1.3) and params["shrink"] == pytest.approx(0.1715, abs=0.012)
    elif learner.steps == 1:
        assert params["rate"] == pytest.approx(6.0606, abs=0.3)


@pytest.mark.parametrize(
    ("rate", "shrink", "loss", "published"),
    [
        (31.36, 0.206, 0.0519, 0.072),
        ((4.11, 36.4), (0.398, 0.0), 0.0922, 0.103),
        ((3.71, 25.2, 228.0), (0.275, 2.48, 0.0), 0.0420, 0.057),
        ((2.52, 15.9, 27.5, 53.3, 205.0), (0.214, 0.317, 0.253, 0.188, 0.0), 0.0390, 0.040),
    ],
    ids=["5 steps, tied", "2 steps", "3 steps", "5 steps"],
)
def test_best_losses_of_plus_plus(rate, shrink, loss, published, make_prompts):
    """Half the squared error at numbers that tuning found, and that those published for tuned ones are no better.

    `loss` is E sum_i r(lam_i)^2 / 24 over eigenvalues lam of X^T X, on 400,000 prompts: GD++ is linear and turns with
    its inputs, so that what it leaves of w along an eigenvector is the polynomial r(lam) of `test_plus_plus`.
    """
    steps = np.size(rate) if np.ndim(rate) else 5
    learner = GradientDescentPlusPlus(rate=rate, shrink=shrink, steps=steps)
    loss_B = losses(learner, {}, uniform(make_prompts, 40_000, seed=2))
    error = 4 * loss_B.std() / np.sqrt(len(loss_B))
    assert loss_B.mean() == pytest.approx(loss, abs=error)
    assert error < 0.1 * loss and loss < published


@pytest.mark.parametrize("start", [1e-3, 1.0, 300.0])
def test_one_rate_has_a_closed_optimum(start, make_prompts, key):
    """The loss is quadratic in one rate, with its minimum at sum y p / sum p^2 for the predictions p of rate 1."""
    batch = make_prompts(sequences=40, noise=0.5, every=False)
    p_B = np.asarray(apply(GradientDescent(rate=1.0), {}, batch).values, np.float64)[:, 0]
    best = p_B @ np.asarray(batch.targets, np.float64)[:, -1] / (p_B @ p_B)
    tuned = Tuned(learner=GradientDescent(rate=start, learned=True))
    assert init(tuned, key, batch)["rate"] == pytest.approx(best, rel=1e-3)


def test_slots_count_by_their_weights(make_prompts, key):
    batch = make_prompts(sequences=40, noise=0.5)
    weight_BS = np.zeros((40, 7), np.float32)
    weight_BS[:20, 4], weight_BS[20:, 2] = 3.0, 0.5  # one slot each, so all count alike
    values_BS = np.asarray(apply(GradientDescent(rate=1.0), {}, batch).values, np.float64)
    slot_B = np.repeat([4, 2], 20)
    p_B, y_B = values_BS[np.arange(40), slot_B], np.asarray(batch.targets)[np.arange(40), slot_B]
    tuned = Tuned(learner=GradientDescent(learned=True))
    rate = jax.jit(tuned.init)(key, dataclasses.replace(batch, weights=weight_BS))["rate"]
    assert rate == pytest.approx(p_B @ y_B / (p_B @ p_B), rel=1e-3)


def test_rates_per_step_find_the_polynomial_of_one_direction(make_prompts, key):
    """d = 1 with lam of 1 or 3: two steps are exact for the rates 1 and 1/3, in either order."""
    x_BSX = np.ones((20, 2, 1))
    x_BSX[::2] = np.sqrt(3.0)
    batch = make_prompts(inputs=x_BSX, every=False)
    tuned = Tuned(learner=GradientDescent(rate=0.5, steps=2, learned=True, per_step=True))
    rates = jax.jit(tuned.init)(key, batch)["rate"]
    np.testing.assert_allclose(np.sort(rates), [1 / 3, 1], rtol=1e-3)


def test_members_are_tuned_each_on_its_own(make_prompts, key):
    tuned = Tuned(learner=GradientDescent(learned=True, steps=2))
    batches = [make_prompts(sequences=30, every=False, noise=0.3, seed=seed) for seed in (1, 2, 3)]
    together = jax.jit(jax.vmap(tuned.init, in_axes=(None, 0)))(key, jax.tree.map(lambda *x: np.stack(x), *batches))
    alone = [float(init(tuned, key, batch)["rate"]) for batch in batches]
    np.testing.assert_allclose(together["rate"], alone, rtol=1e-3)
    assert np.ptp(alone) > 0.01


def test_a_start_in_nowhere_is_kept_rather_than_made_nan(make_prompts, key):
    learner = GradientDescent(rate=1e9, steps=9, learned=True)  # 1e9^9 is too much for single precision
    assert jax.jit(Tuned(learner=learner).init)(key, make_prompts())["rate"] == 1e9


def test_it_never_ends_above_its_start(make_prompts, key):
    batch = uniform(make_prompts, 200, seed=3)
    tune = jax.jit(lambda learner: Tuned(learner=learner, steps=3).init(key, batch))
    for start in (0.3, 20.0, 80.0):
        learner = GradientDescentPlusPlus(rate=start, shrink=0.3, learned=True, per_step=True)
        before = losses(learner, learner.init(key, batch), batch).mean()
        assert losses(learner, tune(learner), batch).mean() < before


def test_nothing_is_trained_afterwards_and_it_answers_as_the_learner(make_prompts):
    learner = GradientDescent(learned=True)
    batch, params = make_prompts(), {"rate": jnp.asarray(0.3)}
    assert Tuned(learner=learner).phases == ()
    np.testing.assert_array_equal(
        Tuned(learner=learner).apply(params, batch).values, learner.apply(params, batch).values
    )


def test_refuses_with_a_sentence(make_prompts, key):
    with pytest.raises(ValueError, match="Ridge has no parameters to tune; where it has a field `learned`, set it"):
        Tuned(learner=Ridge(penalty=0.1)).init(key, make_prompts())
    with pytest.raises(ValueError, match="has 3 classes; a tuned learner needs real targets"):
        Tuned(learner=KernelCopy()).init(key, dataclasses.replace(make_prompts(), num_classes=3))
    with pytest.raises(ValueError, match="steps of the tuning are 0; it takes at least 1"):
        Tuned(steps=0).check()
    with pytest.raises(ValueError, match="steps of gradient descent are 0"):
        Tuned(learner=GradientDescent(steps=0, learned=True)).check()
