"""Matrices are decomposed one at a time, with the results and gradients of the batched functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from icl_sim import decompositions as dec
from icl_sim.metrics import ImpliedWeights, Sensitivity
from icl_sim.predictors import PREDICTORS, GaussianProcessPosterior, GradientDescent, Lasso, Preconditioned
from icl_sim.tasks import Regression
from icl_sim.tasks.regression import SHIFTS, GaussianProcess, Linear, LinearClassification

LAPACK = {"cholesky", "eig", "eigh", "geqrf", "householder_product", "lu", "qr", "schur", "svd", "triangular_solve"}
REFUSED = {
    "boosting",
    "tree",
    "tuned",
    "gated",
    "hidden_markov",
    "in_weight",
    "induction",
    "induction_head",
    "kernel_copy",
    "probed",
}
LEARNERS = sorted(set(PREDICTORS) - REFUSED)


def batched(function, *args):
    """The decompositions of more than one matrix at a time in what the function compiles to, and of single ones."""
    found = [], []

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in LAPACK:
                found[equation.invars[0].aval.ndim == 2].append(equation.primitive.name)
            for part in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
                if _is_jaxpr(part):
                    walk(getattr(part, "jaxpr", part))

    walk(jax.make_jaxpr(function)(*args).jaxpr)
    return found


def _is_jaxpr(part):
    return isinstance(part, core.Jaxpr | core.ClosedJaxpr)


@pytest.fixture
def matrices():
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32)
    return x @ np.swapaxes(x, -1, -2) + np.eye(4, dtype=np.float32)


def test_each_is_the_batched_function_with_its_gradient(matrices):
    right = matrices[..., 0]
    np.testing.assert_allclose(
        dec.each(jnp.linalg.solve, matrices, right, axes=2),
        np.linalg.solve(matrices, right[..., None])[..., 0],
        rtol=1e-4,
        atol=1e-5,
    )
    gradient = jax.grad(lambda x: jnp.sum(dec.each(jnp.linalg.cholesky, x, axes=2) ** 2))(matrices)
    expected = jax.grad(lambda x: jnp.sum(jnp.linalg.cholesky(x) ** 2))(matrices)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    assert batched(lambda x: dec.each(jnp.linalg.cholesky, x, axes=2), matrices) == ([], ["cholesky"])


def test_one_by_one_makes_a_loop_of_vmap(matrices):
    mapped = jax.vmap(jax.vmap(dec.cholesky))
    np.testing.assert_allclose(mapped(matrices), np.linalg.cholesky(matrices), rtol=1e-5, atol=1e-6)
    assert batched(mapped, matrices) == ([], ["cholesky"])
    assert batched(jax.vmap(jnp.linalg.cholesky), matrices[0]) == (["cholesky"], [])


@pytest.mark.parametrize("shift", [*SHIFTS, "gaussian_process"])
def test_no_sampler_decomposes_a_batch(shift):
    function = GaussianProcess() if shift == "gaussian_process" else Linear(pool=4.0)
    shifts = () if shift == "gaussian_process" else (shift,)
    task = Regression(function=function, dim=3, context_length=4, shifts=shifts)
    *_, shifted = task.evaluation_sets().values()
    assert batched(lambda key: shifted.sample(key, 8), jax.random.key(0))[0] == []


@pytest.mark.parametrize("name", LEARNERS)
def test_no_learner_decomposes_a_batch(name):
    function = LinearClassification() if name == "logistic_regression" else Linear()
    task, predictor = Regression(function=function, dim=3, context_length=4, noise=0.5), PREDICTORS[name]()
    batch = task.sample(jax.random.key(0), 8)
    params = jax.eval_shape(lambda: predictor.init(jax.random.key(1), batch))
    assert batched(lambda params: predictor.apply(params, batch).values, params)[0] == []


@pytest.mark.parametrize("comparison", [ImpliedWeights(queries=6, positions=(2,)), Sensitivity()])
@pytest.mark.parametrize("learner", [Lasso(), GaussianProcessPosterior(), Preconditioned()])
def test_no_comparison_decomposes_a_batch(comparison, learner):
    batch = Regression(dim=3, context_length=4, noise=0.5).sample(jax.random.key(0), 8)
    a, b = (lambda batch, one=one: one.apply({}, batch).values for one in (learner, GradientDescent()))
    many, single = batched(lambda: comparison.compare(a, b, batch))
    assert many == [] and single
