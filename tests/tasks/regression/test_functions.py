"""Classes of functions: closed forms, brute force and virtual pools."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim import pools
from icl_sim.kernels import LinearKernel, SquaredExponential
from icl_sim.tasks.regression import (
    FUNCTIONS,
    DecisionTree,
    GaussianProcess,
    Interpolated,
    Linear,
    LinearClassification,
    Mixture,
    Quadratic,
    Regression,
    ReluNetwork,
    Sine,
    Sparse,
)

ALPHA = 1e-5


def _draw(function, key, count, dim, active=math.inf, seed=0):
    """Parameters of many functions, and what the functions make of 5 inputs each."""
    return _jitted_draw(function, jax.random.clone(key), count, dim, active, seed)


@functools.partial(jax.jit, static_argnums=(2, 3), compiler_options={"xla_backend_optimization_level": 0})
def _jitted_draw(function, key, count, dim, active, seed):
    keys = jax.random.split(key, count + 1)
    params = jax.vmap(lambda key: function.draw(key, jnp.arange(dim) < active, seed))(keys[1:])
    x_BSX = jax.random.normal(keys[0], (count, 5, dim))
    return params, x_BSX, jax.vmap(function)(params, x_BSX)


def _numpy(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64 if leaf.dtype.kind == "f" else None), tree)


def _draw_numpy(*args, **kwargs):
    return _numpy(_draw(*args, **kwargs))


def _near(samples, mean):
    """Whether the mean of independent samples (along the first axis) is within 5 standard errors."""
    samples = np.asarray(samples, np.float64)
    return np.all(np.abs(samples.mean(axis=0) - mean) < 5 * samples.std(axis=0) / math.sqrt(len(samples)))


def _distinct(w_BX):
    return np.unique(np.asarray(w_BX), axis=0, return_counts=True)


@pytest.mark.parametrize(
    "function, dim, square",
    [
        (Linear(), 6, 6),
        (Sparse(nonzero=2), 6, 2),
        (Quadratic(), 6, 6),
        (ReluNetwork(), 6, 6),
        (DecisionTree(), 6, 1),
        (GaussianProcess(), 6, 1),
        (Sine(), 1, 25.51 / 3 / 2),
    ],
)
def test_answering_0_has_an_error_of_1(key, function, dim, square):
    _, _, y_BS = _draw(function, key, 4096, dim)
    assert function.error_scale(dim) == square
    assert _near(np.square(y_BS[:, 0]), square)


@pytest.mark.parametrize("law, distribution", [("normal", stats.norm(0, 1)), ("laplace", stats.laplace(0, 0.5**0.5))])
def test_weights_have_their_law(key, law, distribution):
    w_BX, x_BSX, y_BS = _draw_numpy(Linear(law=law, scale=3.0, mean=-2.0), key, 4096, 2)
    assert stats.kstest(((w_BX + 2) / 3).reshape(-1), distribution.cdf).pvalue > ALPHA
    np.testing.assert_allclose(y_BS, np.einsum("BSX,BX->BS", x_BSX, w_BX), rtol=1e-5, atol=1e-5)


def test_the_control_task_has_weights_of_1(key):
    w_BX, x_BSX, y_BS = _draw_numpy(Linear(mean=1.0, scale=0.0), key, 8, 3)
    np.testing.assert_array_equal(w_BX, 1)
    np.testing.assert_allclose(y_BS, x_BSX.sum(axis=-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_pool_is_drawn_from_uniformly_and_its_rows_are_those_of_pools(key, size):
    w_BX, _, _ = _draw(Linear(pool=float(size), scale=0.5, mean=1.0), key, 4096, 3, seed=5)
    found, counts = _distinct(w_BX)
    expected = 1 + 0.5 * np.asarray(pools.rows(5, jnp.arange(size, dtype=jnp.uint32), 3))
    np.testing.assert_allclose(found, expected[np.lexsort(expected.T[::-1])], rtol=1e-6)
    assert size == 1 or stats.chisquare(counts).pvalue > ALPHA


def test_a_pool_of_2_to_the_20_reaches_all_of_its_rows(key):
    w_BX, _, _ = _draw(Linear(pool=2.0**20), key, 4096, 1)
    rows = np.sort(np.asarray(pools.rows(0, jnp.arange(2**20, dtype=jnp.uint32), 1))[:, 0])
    w_B = np.asarray(w_BX)[:, 0]
    ranks = np.searchsorted(rows, w_B)
    # Two programs round differently, so that the row is one of two neighbours.
    nearest = np.minimum(np.abs(rows[ranks.clip(1) - 1] - w_B), np.abs(rows[ranks.clip(0, 2**20 - 1)] - w_B))
    assert nearest.max() < 1e-6
    assert stats.kstest(ranks / 2**20, "uniform").pvalue > ALPHA


def test_a_pool_of_another_seed_is_another_one_and_no_function_of_it_is_drawn_off_the_pool(key):
    pool = {seed: _distinct(_draw(Linear(pool=16.0), key, 512, 2, seed=seed)[0])[0] for seed in (0, 1)}
    off = Linear(pool=16.0).off_pool()
    fresh = np.asarray(_draw(off, key, 512, 2)[0])
    assert off.prior()["pool"] == 16
    assert len(_distinct(fresh)[0]) == 512
    for other in (pool[1], fresh):
        assert not np.any(np.isin(other[:, 0], pool[0][:, 0]))


def test_the_size_of_a_pool_is_a_leaf_that_costs_no_program(key):
    draw = jax.jit(lambda function, key: function.draw(key, jnp.ones(3, bool), 0))
    for pool in (1.0, 2.0**20, math.inf):
        draw(Linear(pool=pool), jax.random.clone(key))
    assert draw._cache_size() == 1


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_interpolated_weights_lie_between_two_of_the_pool(key, alpha):
    ends = Linear(pool=3.0, scale=2.0)
    w_BX, _, _ = _draw_numpy(Interpolated(ends=ends, alpha=alpha), key, 1024, 4)
    row_NX = 2 * np.asarray(pools.rows(0, jnp.arange(3, dtype=jnp.uint32), 4), np.float64)
    expected = []
    for i, j in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
        u_X = alpha * row_NX[i] + (1 - alpha) * row_NX[j]
        length = (np.linalg.norm(row_NX[i]) + np.linalg.norm(row_NX[j])) / 2
        expected.append(u_X / np.linalg.norm(u_X) * length)
    distance_BN = np.linalg.norm(w_BX[:, None] - np.stack(expected), axis=-1)
    assert distance_BN.min(axis=1).max() < 1e-5
    if alpha == 0.3:  # where no two of the six coincide
        assert stats.chisquare(np.bincount(distance_BN.argmin(axis=1), minlength=6)).pvalue > ALPHA


def test_interpolating_a_pool_of_1_gives_its_function_and_of_all_functions_new_ones(key):
    only = pools.rows(0, jnp.zeros(1, jnp.uint32), 3)
    w_BX, _, _ = _draw(Interpolated(ends=Linear(pool=1.0), alpha=0.3), key, 8, 3)
    np.testing.assert_allclose(w_BX, np.tile(only, (8, 1)), rtol=1e-5)
    assert len(_distinct(_draw(Interpolated(), key, 256, 3)[0])[0]) == 256


@pytest.mark.parametrize("active", [2, 5, math.inf])
def test_sparse_weights_keep_coordinates_uniformly_among_the_active_ones(key, active):
    w_BX, _, _ = _draw_numpy(Sparse(nonzero=3, scale=2.0), key, 4096, 7, active)
    active = int(min(active, 7))
    kept_BX = w_BX != 0
    assert not kept_BX[:, active:].any()
    assert np.all(kept_BX.sum(axis=1) == min(active, 3))
    assert stats.kstest(w_BX[kept_BX] / 2, "norm").pvalue > ALPHA
    if active > 3:
        _, counts = _distinct(kept_BX)  # every set of three, equally often
        assert len(counts) == math.comb(active, 3)
        assert stats.chisquare(counts).pvalue > ALPHA


def test_a_network_is_what_it_says(key):
    (w_BWX, a_BW), x_BSX, y_BS = _draw_numpy(ReluNetwork(width=8), key, 512, 3)
    hidden_BSW = np.maximum(np.einsum("BSX,BWX->BSW", x_BSX, w_BWX), 0)
    np.testing.assert_allclose(y_BS, np.einsum("BSW,BW->BS", hidden_BSW, a_BW), rtol=1e-4, atol=1e-4)
    assert stats.kstest(w_BWX.reshape(-1), "norm").pvalue > ALPHA
    assert stats.kstest(a_BW.reshape(-1) * 2, "norm").pvalue > ALPHA  # variance 2/8


def test_a_quadratic_is_what_it_says(key):
    w_BX, x_BSX, y_BS = _draw_numpy(Quadratic(), key, 16, 3)
    np.testing.assert_allclose(
        y_BS, np.einsum("BSX,BX->BS", x_BSX**2, w_BX) / math.sqrt(3), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("depth", [1, 4])
def test_a_tree_is_walked_as_by_hand(key, depth):
    (test_BN, leaf_BN), x_BSX, y_BS = _draw_numpy(DecisionTree(depth=depth), key, 256, 3)
    assert test_BN.shape[1] == 2**depth - 1 and leaf_BN.shape[1] == 2**depth

    def walk(tests, leaves, x):
        """A recursion over halves: the left subtree of (tests, leaves) has the first half of the leaves."""
        nodes, first, size = 0, 0, len(leaves)
        while size > 1:
            size //= 2
            right = x[tests[nodes]] > 0
            first += size * right
            nodes = 2 * nodes + (2 if right else 1)
        return leaves[first]

    expected = [[walk(test_BN[b], leaf_BN[b], x) for x in x_BSX[b]] for b in range(256)]
    np.testing.assert_array_equal(y_BS, expected)
    assert stats.chisquare(np.bincount(test_BN.reshape(-1), minlength=3)).pvalue > ALPHA
    assert stats.kstest(leaf_BN.reshape(-1), "norm").pvalue > ALPHA


def test_a_sine_has_independent_amplitude_and_phase(key):
    (a_B, rho_B), x_BSX, y_BS = _draw_numpy(Sine(), key, 4096, 1)
    np.testing.assert_allclose(y_BS, a_B[:, None] * np.sin(x_BSX[..., 0] + rho_B[:, None]), rtol=1e-4, atol=1e-4)
    assert _near(np.square(y_BS[:, 0]), (5**3 - 0.1**3) / (3 * 4.9) / 2)  # E a^2 / 2
    assert stats.kstest(a_B, stats.uniform(0.1, 4.9).cdf).pvalue > ALPHA
    assert stats.kstest(rho_B, stats.uniform(0, math.pi).cdf).pvalue > ALPHA
    assert abs(np.corrcoef(a_B, rho_B)[0, 1]) < 5 / math.sqrt(4096)


@pytest.mark.parametrize("kernel", [SquaredExponential(length_scale=0.7, variance=2.0), LinearKernel(variance=0.5)])
def test_a_gaussian_process_has_the_covariance_of_its_kernel(key, kernel):
    x_SX = jnp.asarray([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5], [-1.0, 2.0]])
    y_BS = np.asarray(jax.vmap(lambda key: GaussianProcess(kernel=kernel)(key, x_SX))(jax.random.split(key, 8192)))
    assert stats.kstest(y_BS[:, 0] / y_BS[:, 0].std(), "norm").pvalue > ALPHA
    assert _near(np.einsum("BS,BT->BST", y_BS, y_BS), np.asarray(kernel(x_SX, x_SX)))
    # One function: the same input has the same value, up to the jitter.
    assert np.abs(y_BS[:, 1] - y_BS[:, 2]).max() < 0.03


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("length_scale", [0.1, 10.0])
def test_a_gaussian_process_of_inputs_that_are_close_is_finite_and_exact_up_to_its_jitter(key, spread, length_scale):
    key_x, key_y = jax.random.split(key)
    x_BSX = spread * jax.random.normal(key_x, (64, 101, 1))
    process = GaussianProcess(kernel=SquaredExponential(length_scale=length_scale))
    y_BS = np.asarray(jax.vmap(process)(jax.random.split(key_y, 64), x_BSX))
    assert np.all(np.isfinite(y_BS))
    if spread == 0:
        assert np.ptp(y_BS, axis=1).max() < 0.1


def test_a_linear_kernel_of_empty_inputs_gives_0(key):
    assert np.all(np.abs(GaussianProcess(kernel=LinearKernel())(key, jnp.zeros((4, 2)))) < 1e-12)


def test_classes_are_the_sign_of_a_linear_function_and_noise_comes_before_the_sign(key, sample):
    sigma = 0.5
    task = Regression(function=LinearClassification(), dim=3, context_length=7, noise=sigma)
    batch = sample(task, key, 4096)
    assert batch.num_classes == 2 and batch.targets.dtype == jnp.int32
    x_BSX, w_BX = (np.asarray(a, np.float64) for a in (batch.inputs, batch.latents["w"]))
    score_BS = np.einsum("BSX,BX->BS", x_BSX, w_BX)
    sure_BS = np.abs(score_BS) > 1e-4
    np.testing.assert_array_equal(np.asarray(batch.latents["clean"])[sure_BS], (score_BS > 0)[sure_BS])
    flipped_BS = np.asarray(batch.targets != batch.latents["clean"])
    # w.x ~ N(0, |w|^2) given w: its sign differs from that of w.x + noise with probability arctan(sigma / |w|) / pi.
    expected_B = np.arctan(sigma / np.linalg.norm(w_BX, axis=1)) / math.pi
    assert _near(flipped_BS.mean(axis=1) - expected_B, 0)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_mixture_draws_one_function_for_a_sequence(key, share, sample):
    mixture = Mixture(a=Linear(mean=1.0, scale=0.0), b=Linear(mean=-1.0, scale=0.0), share=share)
    task = Regression(function=mixture, dim=2, context_length=3)
    batch = sample(task, key, 1024)
    sign_BS = np.asarray(batch.targets / jnp.sum(batch.inputs, axis=-1))
    np.testing.assert_allclose(sign_BS, np.tile(sign_BS[:, :1], (1, 4)), rtol=1e-4)
    np.testing.assert_allclose(sign_BS[:, 0], batch.latents["w"][:, 0], rtol=1e-4)
    assert stats.binomtest(int((sign_BS[:, 0] > 0).sum()), 1024, share).pvalue > ALPHA


def test_the_pools_of_a_nested_mixture_differ_and_are_fixed(key, sample):
    pooled = Linear(pool=4.0)
    task = Regression(function=Mixture(a=pooled, b=Mixture(a=pooled, b=pooled)), dim=2, context_length=1)
    one, other = (_distinct(sample(task, jax.random.fold_in(key, n), 512).latents["w"])[0] for n in (0, 1))
    assert len(one) == 12
    np.testing.assert_array_equal(one, other)
    off = task.replace(function=task.function.off_pool())
    assert not np.any(np.isin(_distinct(sample(off, key, 512).latents["w"])[0][:, 0], one[:, 0]))


def test_a_mixture_of_linear_and_other_functions_has_no_weights(key):
    task = Regression(function=Mixture(a=Linear(), b=DecisionTree()), dim=2, context_length=1)
    assert "w" not in jax.eval_shape(lambda key: task.sample(key, 2), key).latents


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dim", [1, 2])
def test_one_coordinate_is_enough(key, name, dim):
    function = FUNCTIONS[name](nonzero=1) if name == "sparse" else FUNCTIONS[name]()
    _, _, y_BS = _draw(function, key, 64, dim)
    assert np.all(np.isfinite(y_BS)) and len(np.unique(y_BS[:, 0])) > 32


@pytest.mark.parametrize(
    "function, words",
    [
        (Linear(scale=-1.0), r"task\.function\.scale is -1\.0; it must be at least 0"),
        (Linear(mean=math.inf), r"task\.function\.mean is inf; it must be finite"),
        (Linear(pool=0.0), r"task\.function\.pool is 0\.0; it must be a whole number from 1 to 16777216"),
        (Linear(pool=2.5), r"task\.function\.pool is 2\.5; it must be a whole number"),
        (Linear(pool=2.0**24 + 2), r"task\.function\.pool is 16777218\.0; it must be a whole number"),
        (Linear(pool=-math.inf), r"task\.function\.pool is -inf; it must be a whole number"),
        (Linear(pool=math.nan), r"task\.function\.pool is nan; it must be a whole number"),
        (Linear(law="cauchy"), r"task\.function\.law is 'cauchy'; allowed: normal, laplace"),
        (Interpolated(alpha=-0.1), r"task\.function\.alpha is -0\.1; a probability"),
        (Interpolated(ends=Linear(pool=0.5)), r"task\.function\.ends\.pool is 0\.5"),
        (Sparse(nonzero=6), r"task\.function\.nonzero is 6; it must be from 1 to task\.dim, 5"),
        (Sparse(scale=-1.0), r"task\.function\.scale is -1\.0"),
        (ReluNetwork(width=0), r"task\.function\.width is 0; it must be at least 1"),
        (DecisionTree(depth=0), r"task\.function\.depth is 0; it must be from 1 to 16"),
        (Sine(), r"task\.dim is 5; the inputs of task\.function, a sine, must have 1 coordinate"),
        (GaussianProcess(kernel=LinearKernel(variance=0.0)), "variance of LinearKernel is 0.0; it must be positive"),
        (Mixture(share=2.0), r"task\.function\.share is 2\.0; a probability"),
        (Mixture(b=LinearClassification()), r"task\.function\.b is a LinearClassification; only functions of real"),
        (Mixture(b=Mixture(a=Linear(pool=0.0))), r"task\.function\.b\.a\.pool is 0\.0"),
    ],
)
def test_refuses_with_a_sentence(function, words):
    with pytest.raises(ValueError, match=words):
        Regression(function=function, dim=5).check()


def test_a_sine_refuses_amplitudes_in_the_wrong_order():
    with pytest.raises(ValueError, match=r"amplitude_low is 6\.0; it must be at most amplitude_high, 5\.0"):
        Regression(function=Sine(amplitude_low=6.0), dim=1).check()
