"""The transformer on symbols: embeddings as tables, and language models, which read inputs alone."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import ResidualEncoder, Transformer
from icl_sim.types import QUERY, Batch

V = 6
MODEL = Transformer(depth=2, width=8, heads=2, mlp_ratio=2, tokens="inputs", position="rotary")


@pytest.fixture(scope="module")
def text() -> Batch:
    token_BS = jnp.asarray(np.random.default_rng(0).integers(V, size=(3, 5)), jnp.int32)
    return Batch(
        inputs=token_BS[:, :4],
        targets=token_BS[:, 1:],
        kinds=jnp.full((3, 4), QUERY, jnp.int8),
        weights=jnp.ones((3, 4)),
        num_classes=V,
    )


def test_every_token_is_answered_from_those_up_to_it(text, random_params, apply):
    params = random_params(MODEL.init, text)
    assert params["input_token"]["kernel"].shape == (V, 8) and "label_token" not in params
    values_BSC = apply(MODEL, params, text).values
    assert values_BSC.shape == (3, 4, V)
    for slots in (1, 2, 4):
        part = Batch(
            inputs=text.inputs[:, :slots],
            targets=jnp.full((3, slots), -(2**31), jnp.int32),
            kinds=text.kinds[:, :slots],
            num_classes=V,
        )
        np.testing.assert_allclose(apply(MODEL, params, part).values, values_BSC[:, slots - 1], atol=2e-5)


def test_a_record_does_not_change_answers_and_holds_every_token(text, random_params, apply):
    params = random_params(MODEL.init, text)
    told = apply(MODEL, params, text, record=True)
    np.testing.assert_allclose(told.values, apply(MODEL, params, text).values, atol=1e-5)
    assert told.record["attention/1"].shape == (3, 2, 4, 4) and told.record["residual/2"].shape == (3, 4, 8)


def test_a_symbol_is_the_projection_of_its_one_hot(text, random_params, apply):
    params = random_params(MODEL.init, text)
    one_hot = dataclasses.replace(text, inputs=jnp.eye(V)[text.inputs])
    np.testing.assert_allclose(apply(MODEL, params, text).values, apply(MODEL, params, one_hot).values, atol=1e-5)


def test_tables_have_no_bias_and_start_truncated_normal(text, make_batch):
    labelled = make_batch(shape=(5,), classes=3000)
    for batch, name, model in (
        (dataclasses.replace(text, num_classes=3000), "input_token", MODEL),
        (labelled, "label_token", Transformer(depth=1, width=8)),
    ):
        params = jax.jit(dataclasses.replace(model, embedding="table").init)(jax.random.key(1), batch)
        (table,) = params[name].values()
        assert table.shape == (3000, 8)
        assert 0.0399 < np.max(np.abs(table)) < 0.04 + 1e-6
        assert np.std(table) == pytest.approx(0.02 * 0.8796, rel=0.02)  # of a normal cut at two deviations
    assert set(params["input_token"]) == {"kernel", "bias"}


def test_slots_are_the_tokens_of_positions(text):
    assert dataclasses.replace(MODEL, position="shared_sinusoid")._position(4).shape == (4, 8)
    learned = dataclasses.replace(MODEL, position="learned")
    params = jax.eval_shape(learned.init, jax.random.key(0), text)
    assert params["position"].shape == (4, 8)


@pytest.mark.parametrize(
    ("changes", "of_model"),
    [
        (dict(num_classes=0), dict()),
        (dict(inputs=jnp.zeros((3, 4, 2), jnp.int32)), dict()),
        (dict(), dict(encoder=ResidualEncoder())),
        (dict(), dict(tokens="interleaved")),
    ],
)
def test_symbols_without_a_table_are_refused(changes, of_model, text):
    model, batch = dataclasses.replace(MODEL, **of_model), dataclasses.replace(text, **changes)
    with pytest.raises(ValueError, match="as many rows as there are classes"):
        model.init(jax.random.key(0), batch)


def test_a_misspelt_embedding_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'table'"):
        Transformer(embedding="tabel").check()
