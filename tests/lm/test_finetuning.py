from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.lm import decoder, finetuning, tiny
from icl_sim.lm.finetuning import Recipe, finetune

ARCHITECTURE = dataclasses.replace(
    tiny.ARCHITECTURE, depth=3, ropes=tiny.ARCHITECTURE.ropes[:1] * 3, query_key_value_bias=True
)
START, SHORT, LONG = (256,), tuple(b"fine: yes"), tuple(b"a much longer review of a film: no")


@pytest.fixture(scope="module")
def params():
    return decoder.init(ARCHITECTURE, jax.random.key(0))


@functools.partial(jax.jit, static_argnums=1)
@jax.value_and_grad
def loss_by_hand(params, tokens):
    """The mean of -log p of all tokens but the first, without padding, and its gradient."""
    ids = jnp.asarray([tokens])
    logits = decoder.unembed(ARCHITECTURE, params, decoder.forward(ARCHITECTURE, params, ids).hidden_BTD)[0]
    log_probs = jax.nn.log_softmax(logits[:-1])
    return -jnp.mean(log_probs[jnp.arange(len(tokens) - 1), ids[0, 1:]])


@jax.jit
def recorded(params, ids_BT):
    return decoder.forward(ARCHITECTURE, params, ids_BT, record=("query",)).record["query"]


def flat(params):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


@pytest.mark.parametrize("scope", finetuning.SCOPES)
def test_each_example_is_one_step_of_gradient_descent(params, scope):
    made = finetune(ARCHITECTURE, params, START, [SHORT, LONG], Recipe(learning_rate=0.05, scope=scope))
    expected, losses = params, []
    for tokens in (START + SHORT, START + LONG):
        loss, gradient = loss_by_hand(expected, tokens)
        moves = finetuning.trainable(gradient, Recipe(scope=scope))
        stepped = jax.tree.map(lambda p, g: p - 0.05 * g, finetuning.trainable(expected, Recipe(scope=scope)), moves)
        expected, losses = finetuning.merged(expected, stepped), [*losses, float(loss)]
    assert made.losses == pytest.approx(losses, abs=1e-5)
    before, after, wanted = flat(params), flat(made.params), flat(expected)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    for name in before:
        np.testing.assert_allclose(after[name], wanted[name], atol=2e-6, err_msg=name)
    assert (moved == set(before)) == (scope == "all")
    norm = math.sqrt(sum(np.sum((after[name] - before[name]) ** 2, dtype=float) for name in moved))
    size = math.sqrt(sum(np.sum(before[name] ** 2, dtype=float) for name in moved))
    assert made.update_norm == pytest.approx(norm, rel=1e-4)
    assert made.relative_norm == pytest.approx(norm / size, rel=1e-4)


@pytest.mark.parametrize("method", finetuning.METHODS)
def test_keys_and_values_alone_leave_every_other_bit(params, method):
    made = finetune(ARCHITECTURE, params, START, [SHORT], Recipe(learning_rate=0.1, method=method))
    before, after = flat(params), flat(made.params)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {f"['layers']['{which}']['{part}']" for which in ("key", "value") for part in ("kernel", "bias")}


def test_queries_are_those_of_the_moment(params):
    rate = Recipe(learning_rate=0.1)
    made = finetune(ARCHITECTURE, params, START, [SHORT, LONG], rate)
    first = finetune(ARCHITECTURE, params, START, [SHORT], rate)

    def queries(params, tokens):
        ids = jnp.asarray([np.pad(START + tokens, (0, 63 - len(tokens)))])
        return np.asarray(recorded(params, ids))[:, 0, 1 : 1 + len(tokens)]

    expected = np.concatenate([queries(params, SHORT), queries(first.params, LONG)], axis=1)
    np.testing.assert_allclose(made.query_AKD, expected, atol=1e-5)
    assert not np.allclose(made.query_AKD[1:, len(SHORT) :], queries(params, LONG)[1:], atol=1e-4)


@pytest.mark.parametrize("head_input", finetuning.HEAD_INPUTS)
def test_losses_of_layers_move_their_own_layer_alone(params, head_input):
    recipe = Recipe(method="lcgd", head_input=head_input, learning_rate=0.1)
    tokens = START + SHORT
    ids, length = jnp.asarray(np.pad(tokens, (0, 32 - len(tokens)))), jnp.int32(len(tokens))

    def losses(moving):
        return finetuning.layer_losses(ARCHITECTURE, finetuning.merged(params, moving), ids, length, recipe)

    moving = finetuning.trainable(params, recipe)
    jacobian = jax.jit(jax.jacrev(losses))(moving)
    made = finetune(ARCHITECTURE, params, START, [SHORT], recipe)
    for which in finetuning.KEYS_AND_VALUES:
        for part, rows in jacobian["layers"][which].items():
            assert rows.shape[:2] == (3, 3)  # the loss of a layer, by the parameters of a layer
            across = np.asarray(rows)[~np.eye(3, dtype=bool)]
            assert not across.any()
            own = np.asarray(rows)[np.arange(3), np.arange(3)]
            step = (params["layers"][which][part] - made.params["layers"][which][part]) / 0.1
            np.testing.assert_allclose(step, own, atol=2e-5)
            # A bias on keys adds the same to all logits of a row; everything else counts.
            assert (which, part) == ("key", "bias") or all(np.abs(one).max() > 1e-6 for one in own)
    assert made.losses[0] == pytest.approx(float(jnp.mean(losses(moving))), rel=1e-5)


def test_the_last_layer_of_lcgd_has_the_gradient_of_the_whole_loss(params):
    rate = 0.1
    by_layer, whole = (
        finetune(ARCHITECTURE, params, START, [SHORT], Recipe(method=method, learning_rate=rate))
        for method in ("lcgd", "gd")
    )
    for which in finetuning.KEYS_AND_VALUES:
        one, other = (made.params["layers"][which]["kernel"] for made in (by_layer, whole))
        np.testing.assert_allclose(one[-1], other[-1], atol=1e-6)
        assert not np.allclose(one[0], other[0], atol=1e-5)


def test_nothing_to_train_on_moves_nothing(params):
    made = finetune(ARCHITECTURE, params, START, [], Recipe())
    assert made.update_norm == 0 and made.query_AKD.shape == (3, 0, 32)


def test_impossible_recipes_are_sentences():
    for wrong, said in (
        ({"method": "sgd"}, "Did you mean 'gd'"),
        ({"scope": "qkv"}, "Did you mean 'kv'"),
        ({"head_input": "mlp"}, "allowed: block, attn"),
        ({"learning_rate": -1.0}, "must be at least 0"),
    ):
        with pytest.raises(ValueError, match=said):
            Recipe(**wrong).check()


def test_half_precision_learns_by_steps_that_it_could_not_take(params):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    recipe = Recipe(learning_rate=1e-3)
    made = finetune(ARCHITECTURE, half, START, [SHORT] * 3, recipe)
    whole = finetune(ARCHITECTURE, params, START, [SHORT] * 3, recipe)
    assert made.update_norm == pytest.approx(whole.update_norm, rel=0.05)
    assert {leaf.dtype for leaf in jax.tree.leaves(made.params)} == {jnp.dtype(jnp.bfloat16)}


def test_ids_that_the_model_does_not_have_are_refused(params):
    with pytest.raises(ValueError, match="The tokenizer gives the id 9999, but the model has"):
        finetune(ARCHITECTURE, params, START, [(9999,)], Recipe())
