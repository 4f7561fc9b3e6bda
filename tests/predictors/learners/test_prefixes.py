"""Prefixes, and what every linear learner owes to them: causality, the query alone, sensitivity, sweeps."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import predictors
from icl_sim.predictors.learners.prefixes import latents, prefixes

LEARNERS = {
    "least squares": predictors.LeastSquares(),
    "ridge": predictors.Ridge(penalty=0.1),
    "Bayes": predictors.Ridge(),
    "averaging": predictors.Averaging(),
    "gradient descent": predictors.GradientDescent(rate=0.3, steps=3, penalty=0.1),
    "gradient descent, sum": predictors.GradientDescent(rate=0.02, convention="sum"),
    "one-pass": predictors.OnePassSGD(),
    "growing": predictors.GrowingSGD(),
    "GD++": predictors.GradientDescentPlusPlus(rate=0.3, shrink=0.02, steps=3),
    "preconditioned": predictors.Preconditioned(),
}
all_learners = pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)


def test_prefixes_are_what_they_say(make_prompts):
    batch = make_prompts(sequences=2, pairs=5, dim=3)
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    every = prefixes(batch)
    np.testing.assert_array_equal(every.count_P, range(6))
    np.testing.assert_array_equal(every.query_BPX, x)
    np.testing.assert_allclose(every.mean_P, [0, 1, 1 / 2, 1 / 3, 1 / 4, 1 / 5], rtol=1e-6)
    for k in range(6):
        np.testing.assert_array_equal(every.seen_PL[k], np.arange(5) < k)
        np.testing.assert_allclose(every.moment_BPX()[:, k], np.einsum("bl,blx->bx", y[:, :k], x[:, :k]), atol=1e-5)
        gram = np.einsum("blx,blz->bxz", x[:, :k], x[:, :k])
        np.testing.assert_allclose(every.gram_BPXZ()[:, k], gram, atol=1e-5)
    query = prefixes(dataclasses.replace(batch, weights=None))
    np.testing.assert_array_equal(query.count_P, [5])
    np.testing.assert_array_equal(query.query_BPX, x[:, -1:])
    np.testing.assert_array_equal(query.seen_PL, np.ones((1, 5)))


@all_learners
def test_an_answer_depends_on_the_pairs_before_it_only(learner, make_prompts, answer):
    batch = make_prompts(noise=0.3)
    values_BS = answer(learner, batch).values
    assert values_BS.shape == batch.targets.shape
    assert (values_BS[:, 0] == 0).all() and (values_BS[:, 1:] != 0).all()
    for s in range(batch.targets.shape[1]):
        other = dataclasses.replace(
            batch, inputs=batch.inputs.at[:, s + 1 :].multiply(-3.0), targets=batch.targets.at[:, s:].add(7.0)
        )
        changed_BS = answer(learner, other).values
        np.testing.assert_array_equal(changed_BS[:, : s + 1], values_BS[:, : s + 1])
        assert (changed_BS[:, s + 1 :] != values_BS[:, s + 1 :]).all()


@all_learners
def test_the_query_alone_is_answered_alike(learner, make_prompts, answer):
    batch = make_prompts(noise=0.3)
    alone = answer(learner, dataclasses.replace(batch, weights=None))
    assert alone.values.shape == (3, 1) and alone.record["w"].shape == (3, 1, 4)
    np.testing.assert_allclose(alone.values, answer(learner, batch).values[:, -1:], rtol=1e-5)


@all_learners
def test_the_sensitivity_to_the_query_is_w_for_singular_contexts_too(learner, make_prompts, answer):
    rng = np.random.default_rng(0)
    x_BSX = rng.normal(size=(3, 7, 4))
    x_BSX[0, 2] = x_BSX[0, 1]  # the same input twice
    x_BSX[1, :4] = 0.0
    x_BSX[2, :, 2:] = 0.0  # a subspace
    batch = make_prompts(inputs=x_BSX, noise=0.3, every=False)

    def total(inputs):
        return learner.apply({}, dataclasses.replace(batch, inputs=inputs)).values.sum()

    w_BX = answer(learner, batch).record["w"][:, 0]
    slopes_BSX = np.asarray(jax.jit(jax.grad(total))(batch.inputs))
    assert np.isfinite(slopes_BSX).all()
    np.testing.assert_allclose(slopes_BSX[:, -1], w_BX, rtol=1e-6)


@pytest.mark.parametrize(
    ("learner", "name", "values"),
    [
        (LEARNERS["ridge"], "penalty", [0.0, 0.1, 2.0]),
        (LEARNERS["gradient descent"], "rate", [0.1, 0.3]),
        (LEARNERS["GD++"], "shrink", [0.0, 0.1]),
        (LEARNERS["growing"], "clip", [0.5, 20.0]),
        (LEARNERS["preconditioned"], "noise", [0.0, 1.0]),
        (LEARNERS["averaging"], "covariance", [1.0, 2.0]),
    ],
)
def test_a_sweep_over_a_leaf_is_one_program(learner, name, values, make_prompts, answer):
    batch = make_prompts(noise=0.3)

    def at(value):
        return dataclasses.replace(learner, **{name: value})

    swept = jax.jit(jax.vmap(lambda value: at(value).apply({}, batch).values))(jnp.asarray(values))
    for value, got in zip(values, swept, strict=True):
        np.testing.assert_allclose(got, answer(at(value), batch).values, rtol=1e-4, atol=1e-5)


@all_learners
def test_refuses_classes(learner, make_prompts):
    classes = dataclasses.replace(make_prompts(), num_classes=3)
    with pytest.raises(ValueError, match="The batch has 3 classes .* needs real targets"):
        learner.apply({}, classes)
    with pytest.raises(ValueError, match="needs real targets"):  # and not a latent that would not help
        learner.apply({}, dataclasses.replace(classes, latents={}))


def test_refuses_images_and_names_a_latent_that_is_missing(make_prompts):
    batch = make_prompts()
    with pytest.raises(ValueError, match=r"inputs of shape \(3, 7, 4, 1\); a regression learner needs .* vectors"):
        prefixes(dataclasses.replace(batch, inputs=batch.inputs[..., None]))
    sentence = r"X takes its size from .* latent .pool., .* clean, noise, w, w_mean, w_scale\): .* X\(size=0.1\)"
    with pytest.raises(ValueError, match=sentence):
        latents(batch, ("noise", "pool"), "X", "size")
    with pytest.raises(ValueError, match="Ridge takes its penalty from the task's latent 'noise'"):
        predictors.Ridge().apply({}, dataclasses.replace(batch, latents={}))


@all_learners
def test_the_learners_as_they_come_are_possible(learner):
    learner.check()
    type(learner)().check()
