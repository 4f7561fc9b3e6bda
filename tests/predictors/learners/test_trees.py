"""Trees: every prefix as scikit-learn grows it, and splits known by hand."""

from __future__ import annotations

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import Boosting, Tree
from icl_sim.types import Batch


def pairs(B=3, S=12, d=2, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    x_BSX = rng.normal(size=(B, S, d))
    return Batch(
        inputs=jnp.asarray(x_BSX, jnp.float32),
        targets=jnp.asarray(np.sign(x_BSX[..., 0]) + 0.1 * rng.normal(size=(B, S)), jnp.float32),
        kinds=jnp.zeros((B, S), jnp.int8),
        weights=jnp.ones((B, S)),
    )


@jax.jit
def answers(learner, batch: Batch) -> jax.Array:
    return learner.apply({}, batch).values


def test_a_stump_splits_where_it_explains_most():
    batch = Batch(
        inputs=jnp.asarray([[[0.0, 5.0], [1.0, 5.0], [10.0, 5.0], [11.0, 5.0], [5.4, 0.0], [5.6, 0.0]]]),
        targets=jnp.asarray([[1.0, 3.0, 10.0, 14.0, 0.0, 0.0]]),
        kinds=jnp.zeros((1, 6), jnp.int8),
        weights=jnp.ones((1, 6)),
    )
    tree = Tree(max_depth=1)
    # Means of {1}, {1, 3 | 1}, ...; after four pairs the split is at 5.5, between 1 and 10.
    np.testing.assert_allclose(answers(tree, batch)[0, :5], [0.0, 1.0, 3.0, 10.0, 2.0], rtol=1e-6)
    beyond = dataclasses.replace(batch, inputs=batch.inputs.at[0, 4, 0].set(5.6))
    assert answers(tree, beyond)[0, 4] == pytest.approx(12.0)


def test_every_prefix_is_grown_by_scikit_learn():
    tree, ensemble = pytest.importorskip("sklearn.tree"), pytest.importorskip("sklearn.ensemble")
    batch = pairs()
    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    peers = {
        Tree(max_depth=3): lambda: tree.DecisionTreeRegressor(max_depth=3, random_state=0),
        Boosting(trees=5, depth=2, rate=0.5): lambda: ensemble.GradientBoostingRegressor(
            n_estimators=5, max_depth=2, learning_rate=0.5, random_state=0
        ),
    }
    for learner, peer in peers.items():
        got_BS = answers(learner, batch)
        assert (np.asarray(got_BS[:, 0]) == 0).all()
        for b, s in np.ndindex(*y.shape):
            if s:
                expected = peer().fit(x[b, :s], y[b, :s]).predict(x[b, s : s + 1])[0]
                assert got_BS[b, s] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_signs_alone_explain_a_tree_of_signs():
    rng = np.random.default_rng(0)
    x_BSX = rng.normal(size=(2, 65, 2))
    y_BS = np.where(x_BSX[..., 0] > 0, np.where(x_BSX[..., 1] > 0, 3.0, -1.0), 0.5)
    batch = Batch(
        inputs=jnp.asarray(x_BSX, jnp.float32),
        targets=jnp.asarray(y_BS, jnp.float32),
        kinds=jnp.zeros((2, 65), jnp.int8),
    )
    np.testing.assert_allclose(answers(Tree(signs=True), batch)[:, 0], y_BS[:, -1], rtol=1e-6)
    scaled = dataclasses.replace(batch, inputs=batch.inputs * jnp.abs(batch.inputs))
    for learner in (Tree(signs=True, max_depth=1), Boosting(signs=True, trees=3)):
        np.testing.assert_array_equal(answers(learner, scaled), answers(learner, batch))


def test_thinned_fits_answer_until_the_next():
    batch = pairs()
    every_BS, thinned_BS = answers(Tree(), batch), np.asarray(answers(Tree(every=5), batch))
    np.testing.assert_array_equal(thinned_BS[:, [5, 10]], every_BS[:, [5, 10]])
    assert (thinned_BS[:, :5] == 0).all() and (thinned_BS[:, 6:] != 0).all()
    alone = answers(Tree(), dataclasses.replace(batch, weights=None))
    np.testing.assert_array_equal(alone, every_BS[:, -1:])


def test_later_pairs_and_the_own_target_change_nothing():
    batch, other = pairs(), pairs(seed=1)
    changed = dataclasses.replace(
        batch, inputs=batch.inputs.at[:, 6:].set(other.inputs[:, 6:]), targets=batch.targets.at[:, 5:].set(9.0)
    )
    np.testing.assert_array_equal(answers(Tree(), changed)[:, :6], answers(Tree(), batch)[:, :6])


def test_members_and_devices_go_through_the_host_one_by_one():
    """Two devices call the host at once, with more data than a transfer does in passing."""
    batch = pairs(B=400, S=6, d=50)
    rates = jnp.asarray([0.1, 1.0])
    learner = Boosting(trees=1, depth=1, every=5)
    mesh = jax.make_mesh((2,), ("member",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("member")

    def on_one(rates, batch):
        return jax.lax.map(lambda rate: dataclasses.replace(learner, rate=rate).apply({}, batch).values, rates)

    spread = jax.shard_map(on_one, mesh=mesh, in_specs=(spec, jax.sharding.PartitionSpec()), out_specs=spec)
    got_MBS = jax.jit(spread)(rates, batch)
    together_MBS = jax.jit(
        jax.vmap(lambda rate: dataclasses.replace(learner, rate=rate).apply({}, batch).values)
    )(rates)
    for rate, got_BS, together_BS in zip(rates, got_MBS, together_MBS, strict=True):
        expected_BS = answers(dataclasses.replace(learner, rate=float(rate)), batch)
        np.testing.assert_allclose(got_BS, expected_BS, rtol=1e-6)
        np.testing.assert_allclose(together_BS, expected_BS, rtol=1e-6)


def test_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(ValueError, match=r"pip install 'icl_sim\[learners\]'"):
        Tree().check()
    with pytest.raises(ValueError, match="need scikit-learn, which is missing"):
        Boosting().apply({}, pairs())


@pytest.mark.parametrize("learner", [Tree(max_depth=0), Tree(every=0), Boosting(trees=0), Boosting(rate=0)])
def test_refuses_with_a_sentence(learner):
    with pytest.raises(ValueError, match="is 0; it must be"):
        learner.check()
