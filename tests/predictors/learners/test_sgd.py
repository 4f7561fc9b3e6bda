"""Stochastic gradient descent against loops over the pairs of every prefix."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.predictors import GradientDescent, GrowingSGD, OnePassSGD


def test_one_pass_is_its_definition(make_prompts, answer):
    with jax.enable_x64(True):
        batch = make_prompts(noise=0.3, dtype=np.float64)
        x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
        w_BSX = answer(OnePassSGD(rate=0.04, penalty=0.2), batch).record["w"]
    for b, k in np.ndindex(3, 7):
        w = np.zeros(4)
        for i in range(k):
            w = w - 2 * 0.04 * (x[b, i] * (x[b, i] @ w - y[b, i]) + 0.2 * w)
        np.testing.assert_allclose(w_BSX[b, k], w, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("clip", [0.4, 20.0, 1e9])
def test_growing_is_a_step_per_pair_on_all_pairs_so_far(clip, make_prompts, answer):
    clipped = 0
    with jax.enable_x64(True):
        batch = make_prompts(pairs=10, noise=0.3, dtype=np.float64)
        w_BSX = answer(GrowingSGD(rate=0.02, penalty=0.2, clip=clip), batch).record["w"]
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    for b, k in np.ndindex(3, 11):
        w = np.zeros(4)
        for i in range(1, k + 1):
            slope = 2 * (x[b, :i].T @ (x[b, :i] @ w - y[b, :i]) + 0.2 * w)
            clipped += (np.abs(slope) > clip).sum()
            w = w - 0.02 * np.clip(slope, -clip, clip)
        np.testing.assert_allclose(w_BSX[b, k], w, rtol=1e-12, atol=1e-14)
    assert (clipped > 0) == (clip < 1e9)


def test_after_one_pair_all_are_the_batch_step(make_prompts, answer):
    batch = make_prompts()
    step = answer(GradientDescent(rate=0.03, convention="sum"), batch).values[:, 1]
    for learner in (OnePassSGD(rate=0.03, penalty=0.0), GrowingSGD(rate=0.03, penalty=0.0, clip=1e9)):
        np.testing.assert_allclose(answer(learner, batch).values[:, 1], step, rtol=1e-6)


@pytest.mark.parametrize("learner", [OnePassSGD, GrowingSGD])
@pytest.mark.parametrize("changes", [dict(rate=float("inf")), dict(penalty=-1.0)])
def test_refuses_with_a_sentence(learner, changes):
    with pytest.raises(ValueError, match=f"SGD is {next(iter(changes.values()))}; it must be"):
        learner(**changes).check()


def test_refuses_to_clip_everything():
    with pytest.raises(ValueError, match="clip of growing SGD is 0.0; it must be positive"):
        GrowingSGD(clip=0.0).check()
