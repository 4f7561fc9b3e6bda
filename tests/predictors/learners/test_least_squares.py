"""Least squares and ridge regression against the pseudo-inverse, their limits, and published errors."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import DiscreteMMSE, LeastSquares, Ridge


@pytest.fixture
def weights(answer):
    """`weights(learner, batch)`: w of every prefix, `[B, S, X]`."""
    return lambda learner, batch: answer(learner, batch).record["w"]


def errors(w_BSX, batch):
    """Clean errors by d of inputs N(0, I), |w - w*|^2 / d, `[B, S]`."""
    return ((w_BSX - np.asarray(batch.latents["w"])[:, None]) ** 2).mean(2)


def pseudo_inverse(batch, k, cutoff=1e-10):
    x_BLX, y_BL = (np.asarray(a, np.float64)[:, :k] for a in (batch.inputs, batch.targets))
    return np.einsum("bxl,bl->bx", np.linalg.pinv(x_BLX, rcond=cutoff), y_BL)


def singular(rng, d=5, slots=14):
    """Contexts `[6, slots, d]` whose prefixes are singular in every way."""
    x_BSX = rng.normal(size=(6, slots, d))
    x_BSX[0, 1::2] = x_BSX[0, :-1:2]  # every input twice
    x_BSX[1, :4] = 0.0  # nothing at first
    x_BSX[2] = x_BSX[2] @ rng.normal(size=(d, 2)) @ rng.normal(size=(2, d))  # a plane
    x_BSX[3, 3:9] = x_BSX[3, :1] * rng.normal(size=(6, 1))  # one direction again and again, then new ones
    x_BSX[4, :, 2:] = 0.0  # coordinates that are not there yet
    x_BSX[5] = x_BSX[5, :1] * rng.normal(size=(slots, 1))  # a line
    return x_BSX


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_least_squares_is_the_pseudo_inverse_of_every_prefix(noise, make_prompts, weights):
    with jax.enable_x64(True):
        general = make_prompts(sequences=20, pairs=13, dim=5, noise=noise, dtype=np.float64)
        special = make_prompts(inputs=singular(np.random.default_rng(1)), noise=noise, dtype=np.float64)
        line = make_prompts(sequences=4, dim=1, noise=noise, dtype=np.float64)
        for batch in (general, special, line):
            w_BSX = weights(LeastSquares(), batch)
            assert w_BSX.dtype == np.float64
            for k in range(1, w_BSX.shape[1]):
                np.testing.assert_allclose(w_BSX[:, k], pseudo_inverse(batch, k), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_single_precision_is_as_good_as_the_condition_allows(noise, scale, make_prompts, weights):
    """|w - X^+ y| <= 100 eps (cond + cond^2 |residual| / |X w|) |w|, as backward stable methods do; also near k = d."""
    rng = np.random.default_rng(0)
    x_BSX = scale * rng.normal(size=(300, 22, 10))
    batch = make_prompts(inputs=x_BSX.astype(np.float32).astype(np.float64), noise=scale * noise)
    w_BSX = weights(LeastSquares(), batch)
    worst = 0.0
    for k in range(1, 22):
        w_BX = pseudo_inverse(batch, k)
        x_BLX = np.asarray(batch.inputs, np.float64)[:, :k]
        fit_BL = np.einsum("blx,bx->bl", x_BLX, w_BX)
        left_B = np.linalg.norm(np.asarray(batch.targets)[:, :k] - fit_BL, axis=1) / np.linalg.norm(fit_BL, axis=1)
        cond_B = np.linalg.cond(x_BLX)
        allowed_B = np.finfo(np.float32).eps * (cond_B + cond_B**2 * left_B)
        error_B = np.linalg.norm(w_BSX[:, k] - w_BX, axis=1) / np.linalg.norm(w_BX, axis=1)
        worst = max(worst, (error_B / allowed_B).max())
    assert worst < 10  # measured: 1 to 2


def test_single_precision_sees_singular_contexts(make_prompts, weights):
    x_BSX = singular(np.random.default_rng(1)).astype(np.float32).astype(np.float64)
    batch = make_prompts(inputs=x_BSX, noise=0.5)
    w_BSX = weights(LeastSquares(), batch)
    for k in range(1, w_BSX.shape[1]):
        np.testing.assert_allclose(w_BSX[:, k], pseudo_inverse(batch, k, 1e-5), rtol=2e-3, atol=2e-4)


def test_few_pairs_are_interpolated_by_what_they_span(make_prompts, weights):
    batch = make_prompts(sequences=50, pairs=8, dim=8, noise=1.0)
    w_BSX = weights(LeastSquares(), batch)
    x, y = np.asarray(batch.inputs, np.float64), np.asarray(batch.targets, np.float64)
    for k in (1, 4, 7):
        np.testing.assert_allclose(np.einsum("blx,bx->bl", x[:, :k], w_BSX[:, k]), y[:, :k], atol=2e-3)
        q_BXR, _ = np.linalg.qr(np.swapaxes(x[:, :k], 1, 2))
        inside = np.einsum("bxr,bzr,bz->bx", q_BXR, q_BXR, w_BSX[:, k])
        np.testing.assert_allclose(inside, w_BSX[:, k], atol=2e-3)


def test_ridge_is_its_formula_at_every_prefix(make_prompts, weights):
    with jax.enable_x64(True):
        for penalty in (1e-6, 0.1, 0.5, 40.0):
            batch = make_prompts(inputs=singular(np.random.default_rng(2)), noise=0.5, dtype=np.float64)
            w_BSX = weights(Ridge(penalty=penalty), batch)
            x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
            for k in range(w_BSX.shape[1]):
                gram = np.einsum("blx,blz->bxz", x[:, :k], x[:, :k]) + penalty * np.eye(5)
                moment = np.einsum("blx,bl->bx", x[:, :k], y[:, :k])
                expected = np.linalg.solve(gram, moment[..., None])[..., 0]
                np.testing.assert_allclose(w_BSX[:, k], expected, rtol=1e-12 / min(penalty, 1), atol=1e-11)


def test_ridge_tends_to_least_squares_and_is_it_at_0(make_prompts, weights):
    with jax.enable_x64(True):
        batch = make_prompts(sequences=20, pairs=9, dim=5, noise=0.5, dtype=np.float64)
        limit = weights(LeastSquares(), batch)
        np.testing.assert_array_equal(weights(Ridge(penalty=0.0), batch), limit)
        small, tiny = (np.abs(weights(Ridge(penalty=p), batch) - limit)[:, [2, 9]] for p in (1e-4, 1e-6))
        np.testing.assert_allclose(small / tiny, 100.0, rtol=0.05)  # linear in l


def test_ridge_in_single_precision_for_the_penalties_of_studies(make_prompts, weights):
    batch = make_prompts(sequences=100, pairs=39, dim=8, noise=0.5)
    with jax.enable_x64(True):
        double = make_prompts(sequences=100, pairs=39, dim=8, noise=0.5, dtype=np.float64)
        exact = {p: weights(Ridge(penalty=p), double) for p in (0.1, 0.5, 1e-4)}
    for penalty, w_BSX in exact.items():
        np.testing.assert_allclose(weights(Ridge(penalty=penalty), batch), w_BSX, atol=2e-5 if penalty > 0.05 else 2e-3)


def test_without_a_penalty_ridge_is_the_predictor_of_bayes(make_prompts, weights):
    batch = make_prompts(noise=0.5)
    wide = dataclasses.replace(batch, latents={**batch.latents, "w_scale": jnp.asarray(2.0)})
    np.testing.assert_array_equal(weights(Ridge(), batch), weights(Ridge(penalty=0.25), batch))
    np.testing.assert_array_equal(weights(Ridge(), wide), weights(Ridge(penalty=0.0625), batch))
    clean = make_prompts()
    np.testing.assert_array_equal(weights(Ridge(), clean), weights(LeastSquares(), clean))


def with_law(batch, tau, mean):
    """The prompts of make_prompts with weights mean + tau w."""
    x_BSX, w_BX = np.asarray(batch.inputs), np.asarray(batch.latents["w"])
    more_BS = np.einsum("BSX,BX->BS", x_BSX, mean + (tau - 1) * w_BX)
    latents = {**batch.latents, "w": mean + tau * w_BX, "w_scale": jnp.asarray(tau), "w_mean": jnp.asarray(mean)}
    return dataclasses.replace(batch, targets=batch.targets + more_BS, latents=latents)


@pytest.mark.parametrize(("tau", "mean"), [(1.0, 2.5), (1.5, -0.7), (-1.5, 0.7), (0.0, 1.0), (0.0, 0.0)])
def test_without_a_penalty_it_shrinks_towards_the_mean_as_an_infinite_pool(tau, mean, make_prompts, answer):
    with jax.enable_x64(True):
        batch = with_law(make_prompts(pairs=9, noise=0.5, dtype=np.float64), tau, mean)
        known = DiscreteMMSE(pool=jnp.inf, seed=0)
        got, expected = (answer(learner, batch).record["w"] for learner in (Ridge(), known))
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
        if not tau:
            np.testing.assert_array_equal(got, mean)
        # A penalty that is given is that of ordinary ridge regression, whatever the law says.
        centred = dataclasses.replace(batch, latents={**batch.latents, "w_mean": jnp.asarray(0.0)})
        fixed, same = (answer(Ridge(penalty=0.3), of).record["w"] for of in (batch, centred))
        np.testing.assert_array_equal(fixed, same)
        assert (fixed[:, 0] == 0).all()


def test_known_weights_need_no_noise_to_be_known(make_prompts, weights):
    batch = with_law(make_prompts(), 0.0, 1.0)
    np.testing.assert_array_equal(weights(Ridge(), batch), 1.0)


def test_bayes_weights_are_those_that_noise_leaves_nothing_to_add_to(make_prompts, weights):
    """Of all ridges the one with l = sigma^2 has the least clean error, at every prefix (paired differences, 4 se)."""
    batch = make_prompts(sequences=20_000, pairs=12, dim=4, noise=0.5)
    error = {p: errors(weights(Ridge(penalty=p), batch), batch) for p in (0.1, 0.25, 0.6)}
    for other in (0.1, 0.6):
        gap_BS = (error[other] - error[0.25])[:, 1:]
        assert (gap_BS.mean(0) > 4 * gap_BS.std(0) / np.sqrt(len(gap_BS))).all()


def test_bayes_errs_by_its_posterior_variance(make_prompts, weights):
    """E |w - w*|^2 = E tr (I + X^T X / sigma^2)^{-1} at every prefix (paired differences, 4 se)."""
    batch = make_prompts(sequences=20_000, pairs=12, dim=4, noise=0.5)
    error_BS, x_BSX = errors(weights(Ridge(), batch), batch), np.asarray(batch.inputs, np.float64)
    for k in range(1, 13):
        gram = np.einsum("blx,blz->bxz", x_BSX[:, :k], x_BSX[:, :k])
        gap_B = error_BS[:, k] - np.trace(np.linalg.inv(np.eye(4) + gram / 0.25), axis1=1, axis2=2) / 4
        assert abs(gap_B.mean()) < 4 * gap_B.std() / np.sqrt(len(gap_B))


def test_published_errors_of_ridge(make_prompts, weights):
    """Clean errors by d for Raventos et al. (d = 8, noise 0.5) and Garg et al. (d = 20, noise 1), as measured on some
    2000 prompts with a query each: relative standard errors of about sqrt(2 / 2000), 3 %."""
    batch = make_prompts(sequences=8000, pairs=15, dim=8, noise=0.5)
    error_S = errors(weights(Ridge(), batch), batch).mean(0)
    published = "1 .885 .765 .647 .535 .433 .327 .247 .179 .136 .101 .078 .064 .050 .044 .038"
    np.testing.assert_allclose(error_S, np.array(published.split(), float), rtol=0.05, atol=0.001)
    assert error_S.mean() + 0.25 / 8 == pytest.approx(0.377, abs=0.004)
    batch = make_prompts(sequences=4000, pairs=40, dim=20, noise=1.0)
    error_S = errors(weights(Ridge(penalty=1.0), batch), batch).mean(0)
    np.testing.assert_allclose(error_S[np.array([10, 15, 20, 25, 40])], [0.51, 0.36, 0.21, 0.13, 0.045], rtol=0.1)


def test_double_descent(make_prompts, weights):
    """With noise the error of least squares peaks at k = d, where it is worse than answering 0."""
    batch = make_prompts(sequences=2000, pairs=24, dim=8, noise=1.0)
    error_BS = errors(weights(LeastSquares(), batch), batch)
    middle_S = np.median(error_BS, axis=0)
    assert middle_S.argmax() == 8 and middle_S[8] > 1 > middle_S[24] * 8


def test_refuses_a_negative_penalty():
    for penalty in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"penalty of ridge regression is {penalty}; it must be"):
            Ridge(penalty=penalty).check()
