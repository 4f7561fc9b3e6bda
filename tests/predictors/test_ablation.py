"""Networks without a head: against a forward pass written out, and a head that provably does nothing."""

from __future__ import annotations

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import heads
from icl_sim.predictors import Ablated, Frozen, InWeightMLP, KernelCopy, Transformer
from icl_sim.predictors.ablation import PRESERVED, ablated, error, layers, only_head
from icl_sim.types import Batch, Outputs

NETWORK = Transformer(depth=2, width=8, heads=2, mlp_ratio=0, position="none")
H, K = 2, 4


@pytest.fixture(scope="module")
def known():
    """A batch, parameters of `NETWORK` with none 0, and its record."""
    rng = np.random.default_rng(0)
    target_BS = np.array([[0, 1, 0], [2, 1, 1], [3, 2, 3], [1, 1, 0]], np.int32)
    x_BSX = jnp.asarray(rng.normal(size=(4, 3, 8)), jnp.float32)
    batch = Batch(inputs=x_BSX, targets=jnp.asarray(target_BS), kinds=jnp.zeros((4, 3), jnp.int8), num_classes=4)
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), batch)
    params = jax.tree.map(lambda leaf: np.asarray(rng.normal(size=leaf.shape) / 2, np.float32), shapes)
    record = jax.jit(lambda params: NETWORK.apply(params, batch, record=True, clamps={}).record)(params)
    return batch, params, jax.tree.map(np.asarray, dict(record))


def norm(x, p):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def forward(params, batch, layer, gone, kept):
    """The answers without some heads of a layer, where later layers take `kept` instead of their own."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    y = p["label_token"]["kernel"][np.asarray(batch.targets[:, :-1])] + p["label_token"]["bias"]
    x = np.zeros((4, 5, 8))
    x[:, ::2], x[:, 1::2] = batch.inputs, y
    for number in range(2):
        block = p["blocks"][str(number)]
        qkv = norm(x, block["attention_norm"]) @ block["qkv"]["kernel"] + block["qkv"]["bias"]
        q, k, v = (part.reshape(4, 5, H, K).transpose(0, 2, 1, 3) for part in np.split(qkv, 3, axis=-1))
        later = kept if number > layer else {}
        q, k = later.get(f"queries/{number}", q), later.get(f"keys/{number}", k)
        v = later.get(f"values/{number}", v).copy()
        if number == layer:
            v[:, gone] = 0
        weights = np.exp(np.where(np.tri(5), np.einsum("bhqk,bhtk->bhqt", q, k) / np.sqrt(K), -np.inf))
        weights = later.get(f"attention/{number}", weights / weights.sum(-1, keepdims=True))
        mixed = np.einsum("bhqt,bhtk->bqhk", weights, v).reshape(4, 5, H * K)
        x = x + mixed @ block["out"]["kernel"] + block["out"]["bias"]
    return norm(x[:, -1], p["norm"]) @ p["head"]["kernel"] + p["head"]["bias"]


@pytest.mark.parametrize("preserve", PRESERVED)
def test_each_ablation_is_the_forward_pass_written_out(preserve, known):
    batch, params, record = known
    kept = {f"{name}/1": record[f"{name}/1"] for name in PRESERVED[preserve]}
    run = jax.jit(lambda params: ablated(NETWORK, params, batch, 0, 1, preserve).values)
    found, expected = run(params), forward(params, batch, 0, [1], kept)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    others = [name for name in PRESERVED if name != preserve]
    for name in others:  # and none is another's
        kept = {f"{part}/1": record[f"{part}/1"] for part in PRESERVED[name]}
        assert not np.allclose(expected, forward(params, batch, 0, [1], kept), atol=1e-3)


def test_a_head_that_is_not_read_does_nothing(known):
    batch, params, _ = known
    idle = copy.deepcopy(params)
    idle["blocks"]["1"]["out"]["kernel"][K:] = 0  # what head 1 mixes is multiplied by 0

    @jax.jit
    def run(params):
        answer = NETWORK.apply(params, batch, clamps={})
        return [
            answer.values,
            ablated(NETWORK, params, batch, 1, 1).values,
            only_head(NETWORK, params, batch, 1, 0).values,
            ablated(NETWORK, params, batch, 1, 0).values,
            only_head(NETWORK, params, batch, 1, 1).values,
            ablated(NETWORK, params, batch, 1, (0, 1)).values,
        ]

    whole, without, only, *changed = map(np.asarray, run(idle))
    np.testing.assert_array_equal(whole, without)
    np.testing.assert_array_equal(whole, only)
    for values in changed:
        np.testing.assert_array_equal(values, changed[0])
        assert not np.allclose(values, whole, atol=1e-2)


def test_measures_are_those_of_the_ablations_one_by_one(known):
    batch, params, record = known
    model = Ablated(network=Frozen(network=NETWORK), preserve=("nothing", "patterns"))
    model.check()

    @jax.jit
    def run(params):
        outputs = model.apply(params, batch, record=True)
        plain = NETWORK.apply(params, batch), model.apply(params, batch)
        single = [ablated(NETWORK, params, batch, 0, 1, "patterns"), only_head(NETWORK, params, batch, 1, 0)]
        single += [ablated(NETWORK, params, batch, 1, (0, 1))]
        return model.report(outputs, batch), outputs, plain, single

    told, outputs, (plain, unrecorded), single = run(params)
    names = {f"{layer}.{head}" for layer in (0, 1) for head in (0, 1)}
    groups = {"error_without", "error_without_keeping_patterns", "error_only", "previous_token", "induction_strength"}
    assert {name for name in told if not name.endswith("all")} == {
        f"{group}/{name}" for group in groups for name in names
    }
    for name, one in zip(("without_keeping_patterns/0.1", "only/1.0", "without/1.all"), single, strict=True):
        np.testing.assert_allclose(outputs.record[name], one.values, atol=1e-5)
        np.testing.assert_array_equal(told[f"error_{name}"], np.argmax(one.values, axis=1) != batch.targets[:, -1])
    for values in (outputs.values, unrecorded.values):
        np.testing.assert_allclose(values, plain.values, atol=1e-5)
    np.testing.assert_allclose(told["previous_token/0.1"], heads.previous_token(record["attention/0"])[:, 1], atol=1e-5)
    strength = heads.induction_strength(record["attention/1"], batch)
    np.testing.assert_allclose(told["induction_strength/1.0"], strength[:, 0], atol=1e-5)
    assert layers(outputs.record) == [0, 1]


@pytest.mark.parametrize(
    ("values", "targets", "weights", "classes", "expected"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], [[1, 0], [0, 1]], None, 2, [0, 1]),
        ([[[1.0, 0.0], [1.0, 0.0]]], [[1, 0]], [[3.0, 1.0]], 2, [0.75]),
        ([[1.0], [3.0]], [[0.0, 2.0], [0.0, 3.0]], None, 0, [1 / 4, 0]),
        ([[1.0, 3.0]], [[0.0, 1.0]], [[1.0, 1.0]], 0, [5 / 8]),
    ],
)
def test_errors_of_classes_and_numbers_of_the_query_and_of_slots(values, targets, weights, classes, expected):
    batch = Batch(
        inputs=jnp.zeros((len(targets), 2, 1)),
        targets=jnp.asarray(targets),
        kinds=jnp.zeros((len(targets), 2), jnp.int8),
        weights=None if weights is None else jnp.asarray(weights),
        num_classes=classes,
        scale=4.0,
    )
    np.testing.assert_allclose(error(jnp.asarray(values), batch), expected)


@pytest.mark.parametrize(
    ("layer", "head", "preserve", "sentence"),
    [
        (2, 0, "nothing", "layer is 2; the network has 2 layers, counted from 0"),
        (0, 2, "nothing", "head is 2; layer 0 has 2 heads, counted from 0"),
        (0, 0, "pattern", "What an ablation is to preserve is 'pattern'; allowed: .*Did you mean 'patterns'?"),
    ],
)
def test_heads_that_there_are_not(layer, head, preserve, sentence, known):
    batch, params, _ = known
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(lambda params: ablated(NETWORK, params, batch, layer, head, preserve).values, params)


@pytest.mark.parametrize("network", [KernelCopy(), Frozen(network=InWeightMLP())])
def test_networks_without_clamps_are_refused(network):
    with pytest.raises(ValueError, match="Ablated overwrites intermediates of a network, and .* does not let it"):
        Ablated(network=network).check()


def test_regression_has_no_induction_strength():
    maps = jnp.full((1, 2, 5, 5), 0.2)
    batch = Batch(inputs=jnp.zeros((1, 3, 2)), targets=jnp.zeros((1, 3)), kinds=jnp.zeros((1, 3), jnp.int8))
    told = Ablated().report(Outputs(values=jnp.zeros((1, 1)), record={"attention/0": maps}), batch)
    assert set(told) == {"previous_token/0.0", "previous_token/0.1"}
