"""The linear probe in closed form: normal equations, exact and underdetermined fits, single precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.metrics import Readout, linear_probe
from icl_sim.predictors import LeastSquares
from icl_sim.types import Answerer, Outputs, Predictor, setting, static
from tests.metrics.toys import prompts


@setting
class Holds(Predictor):
    """Streams of zeros, of the least-squares weights of n pairs at y_n's token, turned, and of their squares.

    Elsewhere they hold noise.
    """

    tokens: int = static(2)

    def apply(self, params, batch, *, record=False):
        w_BSX = LeastSquares().apply({}, batch, record=True).record["w"]
        B, S, X = w_BSX.shape
        T = S if self.tokens == 1 else 2 * S - 1
        turn_XD = jnp.asarray(np.random.default_rng(1).normal(size=(X, X)), w_BSX.dtype)
        noise_BTD = jnp.asarray(np.random.default_rng(2).normal(size=(B, T, X)), w_BSX.dtype)
        holds_BTD = noise_BTD
        for n in range(1, S):
            holds_BTD = holds_BTD.at[:, n - 1 if self.tokens == 1 else 2 * n - 1].set(w_BSX[:, n] @ turn_XD + 3.0)
        streams = (jnp.zeros_like(noise_BTD), holds_BTD, jnp.square(holds_BTD - 3.0))
        return Outputs(values=batch.targets, record={f"residual/{n}": h_BTD for n, h_BTD in enumerate(streams)})


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    h_ND = rng.normal(size=(40, 6)) + 3
    return h_ND, h_ND @ rng.normal(size=(6, 2)) + [5, -1] + 0.3 * rng.normal(size=(40, 2))


@pytest.mark.parametrize("penalty", [0.0, 0.7, 50.0])
def test_solves_the_normal_equations_with_a_free_intercept(penalty, data):
    h_ND, v_NX = data
    kernel_DX, bias_X = jax.jit(linear_probe)(jnp.asarray(h_ND), jnp.asarray(v_NX), penalty)
    ones_NE = np.concatenate([h_ND, np.ones((40, 1))], axis=1)
    damping_EE = penalty * np.diag([1.0] * 6 + [0.0])
    expected = np.linalg.solve(ones_NE.T @ ones_NE + damping_EE, ones_NE.T @ v_NX)
    np.testing.assert_allclose(np.vstack([kernel_DX, bias_X]), expected, atol=2e-4)


def test_of_fewer_rows_than_columns_is_of_least_norm(data):
    h_ND, v_NX = (part[:4] for part in data)
    kernel_DX, bias_X = linear_probe(jnp.asarray(h_ND), jnp.asarray(v_NX))
    np.testing.assert_allclose(h_ND @ np.asarray(kernel_DX) + np.asarray(bias_X), v_NX, atol=1e-4)
    expected = np.linalg.pinv(h_ND - h_ND.mean(axis=0)) @ (v_NX - v_NX.mean(axis=0))
    np.testing.assert_allclose(kernel_DX, expected, atol=1e-4)


def test_a_column_twice_is_no_trouble(data):
    h_ND, v_NX = data
    twice = jnp.asarray(np.concatenate([h_ND, h_ND[:, :1]], axis=1))
    kernel_DX, _ = linear_probe(twice, jnp.asarray(v_NX))
    once_DX, _ = linear_probe(jnp.asarray(h_ND), jnp.asarray(v_NX))
    np.testing.assert_allclose(kernel_DX[0], once_DX[0] / 2, atol=1e-4)
    np.testing.assert_allclose(kernel_DX[6], once_DX[0] / 2, atol=1e-4)


def test_of_nothing_is_the_mean():
    kernel_DX, bias_X = linear_probe(jnp.zeros((5, 3)), jnp.arange(10.0).reshape(5, 2))
    np.testing.assert_array_equal(kernel_DX, np.zeros((3, 2)))
    np.testing.assert_allclose(bias_X, [4, 5])


@pytest.mark.parametrize("tokens", [1, 2])
def test_what_stands_in_a_stream_can_be_read_out_and_nothing_else(tokens):
    batch = prompts(sequences=400, pairs=5)
    a, b = Answerer(Holds(tokens=tokens), {}), Answerer(LeastSquares(), {})
    found = jax.jit(lambda: Readout().compare(a, b, batch))()
    assert set(found) == {"readout_error/0", "readout_error/1", "readout_error/2"}
    assert found["readout_error/1"].shape == (400,)
    np.testing.assert_allclose(found["readout_error/1"], 0.0, atol=1e-6)
    w_BSX = np.asarray(LeastSquares().apply({}, batch, record=True).record["w"])
    for prefixes in ((), (2,)):  # of nothing the mean of the other half is told
        w_NBX = np.moveaxis(w_BSX, 1, 0)[list(prefixes or range(1, 6))]
        told_NBX = np.stack([w_NBX[:, 200:].mean(1)] * 200 + [w_NBX[:, :200].mean(1)] * 200, axis=1)
        expected_NB = ((w_NBX - told_NBX) ** 2).mean(2) / w_NBX.var(1).mean(1)[:, None]
        got = Readout(prefixes=prefixes).compare(a, b, batch)
        np.testing.assert_allclose(got["readout_error/0"], expected_NB.mean(0), rtol=1e-4)
        assert got["readout_error/2"].mean() > 0.9  # squares do not tell signs


def test_a_readout_refuses_with_a_sentence():
    a, b = Answerer(Holds(), {}), Answerer(LeastSquares(), {})
    batch = prompts(sequences=9, pairs=5)
    with pytest.raises(ValueError, match=r"4 numbers to half a batch, 4 sequences: .* above 9, or the penalty above 0"):
        Readout().compare(a, b, batch)
    assert set(Readout(penalty=0.1).compare(a, b, batch)) == {f"readout_error/{layer}" for layer in range(3)}
    assert Readout().compare(b, b, batch) == {}  # no network
    with pytest.raises(ValueError, match="Holds has none here; it needs a reference such as LeastSquares"):
        Readout(penalty=0.1).compare(a, a, batch)
    with pytest.raises(ValueError, match=r"prefixes are \(6,\); a prompt of this task has 5 pairs"):
        Readout(penalty=0.1, prefixes=(6,)).compare(a, b, batch)
    with pytest.raises(ValueError, match="penalty is -1; it must be a number of at least 0"):
        Readout(penalty=-1).check()
    with pytest.raises(ValueError, match=r"prefixes are \(0,\); each must be at least 1 pair"):
        Readout(prefixes=(0,)).check()
