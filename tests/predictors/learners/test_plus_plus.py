"""GD++ against its recursion on tokens, and its relation to gradient descent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import GradientDescent, GradientDescentPlusPlus


def on_tokens(x_LX, y_L, q_X, rates, shrinks):
    """The recursion of von Oswald et al., token by token."""
    x, r, q, p = x_LX.copy(), y_L.copy(), q_X.copy(), 0.0
    for rate, shrink in zip(rates, shrinks, strict=True):
        spread = sum((np.outer(x_j, x_j) for x_j in x), np.zeros((len(q), len(q))))
        step = sum((rate / len(x) * r_j * x_j for x_j, r_j in zip(x, r, strict=True)), np.zeros(len(q)))
        r = np.array([r_j - step @ x_j for x_j, r_j in zip(x, r, strict=True)])
        p += step @ q
        x = np.array([x_j - shrink * spread @ x_j for x_j in x]).reshape(x.shape)
        q = q - shrink * spread @ q
    return p


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_is_the_recursion_on_tokens(tied, every, make_prompts, answer):
    rates, shrinks = ([0.6] * 4, [0.05] * 4) if tied else ([0.6, 0.2, 0.9, 0.4], [0.05, 0.02, -0.01, 0.3])
    fields = (rates[0], shrinks[0]) if tied else (np.array(rates), np.array(shrinks))
    with jax.enable_x64(True):
        batch = make_prompts(pairs=7, noise=0.3, dtype=np.float64, every=every)
        values_BP = answer(GradientDescentPlusPlus(rate=fields[0], shrink=fields[1], steps=4), batch).values
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    for b, s in np.ndindex(3, 8):
        if every or s == 7:
            expected = on_tokens(x[b, :s], y[b, :s], x[b, s], rates, shrinks)
            np.testing.assert_allclose(values_BP[b, s if every else 0], expected, rtol=1e-12, atol=1e-13)


def test_without_shrinking_it_is_gradient_descent(make_prompts, answer):
    with jax.enable_x64(True):
        batch = make_prompts(noise=0.3, dtype=np.float64)
        plain = answer(GradientDescent(rate=0.6, steps=3), batch).record["w"]
        np.testing.assert_allclose(
            answer(GradientDescentPlusPlus(rate=0.6, shrink=0.0, steps=3), batch).record["w"], plain, rtol=1e-12
        )


def test_a_step_of_shrinking_moves_eigenvalues(make_prompts, answer):
    """One direction of lam = x.x: two steps leave (1 - rate lam) (1 - rate f(lam)) of w, f = lam (1 - gamma lam)^2."""
    with jax.enable_x64(True):
        batch = make_prompts(pairs=1, dim=1, dtype=np.float64)
        w_B1 = answer(GradientDescentPlusPlus(rate=0.3, shrink=0.2), batch).record["w"][:, 1]
    lam = np.asarray(batch.inputs)[:, 0] ** 2
    moved = lam - 2 * 0.2 * lam**2 + 0.2**2 * lam**3
    left = (1 - 0.3 * lam) * (1 - 0.3 * moved)
    np.testing.assert_allclose(w_B1, (1 - left) * np.asarray(batch.latents["w"]), rtol=1e-12)


def test_what_is_learned(make_prompts, key):
    batch = make_prompts()
    learner = GradientDescentPlusPlus(rate=0.4, shrink=0.1, steps=3, learned=True, per_step=True)
    params = learner.init(key, batch)
    np.testing.assert_allclose(params["rate"], [0.2, 0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(params["shrink"], [0.05, 0.1, 0.15], rtol=1e-6)
    fixed = GradientDescentPlusPlus(rate=params["rate"], shrink=params["shrink"], steps=3)
    assert fixed.init(key, batch) == {}
    np.testing.assert_array_equal(learner.apply(params, batch).values, fixed.apply({}, batch).values)
    slopes = jax.grad(lambda params: jnp.sum(learner.apply(params, batch).values ** 2))(params)
    assert (slopes["rate"] != 0).all() and (slopes["shrink"][:-1] != 0).all()
    assert slopes["shrink"][-1] == 0  # what is moved after the last answer answers nothing


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(steps=0), "steps of GD.. are 0"),
        (dict(shrink=float("inf")), "shrink of GD.. is inf; it must be a finite number, or 2 of them"),
        (dict(rate=np.ones(3)), "rate of GD.. is .* or 2 of them"),
    ],
)
def test_refuses_with_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        GradientDescentPlusPlus(**changes).check()
