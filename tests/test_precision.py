"""Networks multiply matrices in full precision, unless the user wants it otherwise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import Precision
from jax.sharding import Mesh

from icl_sim.engine.program import Program
from icl_sim.lm import decoder, dual, tiny
from icl_sim.predictors.in_weight import mlp
from tests.engine.toys import group, member


def products(jaxpr) -> list[Precision | None]:
    """The precision of each product of matrices in it and in all that it calls."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.append(equation.params["precision"])
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            found += products(inner) if hasattr(inner, "eqns") else []
    return found


def of_gradient():
    network = mlp(3, 4, 2)
    params = network.init(jax.random.key(0))
    loss = lambda params, x: jnp.sum(network.apply(params, x))  # noqa: E731
    return products(jax.make_jaxpr(jax.grad(loss))(params, jnp.ones((5, 3))).jaxpr)


@pytest.mark.parametrize(("said", "wanted"), [(None, Precision.HIGHEST), ("bfloat16", Precision.DEFAULT)])
def test_a_network_and_its_gradient(said, wanted):
    with jax.default_matmul_precision(said):
        found = of_gradient()
    assert len(found) >= 3
    assert set(found) == {(wanted, wanted)}


def test_what_is_measured_of_attention():
    traced = jax.make_jaxpr(dual.relaxation_of_heads, static_argnums=0)(
        tiny.ARCHITECTURE, decoder.init(tiny.ARCHITECTURE, jax.random.key(0)), jnp.arange(4)
    )
    assert set(products(traced.jaxpr)) == {(Precision.HIGHEST, Precision.HIGHEST)}


@pytest.mark.parametrize(("said", "wanted"), [(None, Precision.HIGHEST), ("bfloat16", Precision.DEFAULT)])
def test_what_the_engine_runs_for_members(said, wanted):
    program = Program(group(member()), Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("member", "data")))
    with jax.default_matmul_precision(said):
        traced = jax.make_jaxpr(program.spread(lambda _, x_MAB: x_MAB @ x_MAB))(None, jnp.ones((1, 2, 2)))
    assert products(traced.jaxpr) == [(wanted, wanted)]
