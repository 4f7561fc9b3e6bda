"""g sees the query and nothing else."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import InWeightMLP


def test_is_the_paper_s_mlp_on_the_query(make_batch, random_params):
    batch, model = make_batch(), InWeightMLP()
    params = random_params(model.init, batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 2 * (64 * 64 + 64) + 64 * 10 + 10
    x = batch.inputs[:, -1]
    for layer in ("0", "1", "2"):
        x = x @ params["layers"][layer]["kernel"] + params["layers"][layer]["bias"][None]
        x = jnp.maximum(x, 0) if layer != "2" else x
    np.testing.assert_allclose(model.apply(params, batch).values, jax.nn.log_softmax(x), atol=1e-5)


def test_the_context_changes_nothing(make_batch, random_params):
    batch, model = make_batch(shape=(4,)), InWeightMLP()
    params = random_params(model.init, batch)
    poisoned = dataclasses.replace(
        batch, inputs=batch.inputs.at[:, :-1].set(jnp.nan), targets=jnp.full_like(batch.targets, -7)
    )
    np.testing.assert_array_equal(model.apply(params, batch).values, model.apply(params, poisoned).values)


def test_refuses_with_a_sentence():
    with pytest.raises(ValueError, match="hidden widths of g"):
        InWeightMLP(hidden=(0,)).check()
