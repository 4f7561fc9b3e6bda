"""A decoder divided over two devices gives the numbers of one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from icl_sim.lm import decoder, model, sharding, weights
from tests.lm import tiny


@pytest.fixture(scope="module")
def mesh():
    return Mesh(np.asarray(jax.devices()[:2]), ("model",), axis_types=(AxisType.Auto,))


def test_two_devices_are_as_good_as_one(tmp_path, mesh):
    """Llama with heads in groups, and an inner width, that two devices share; its vocabulary of 61 they do not."""
    folder = tiny.write(tmp_path, tiny.golden("llama")["config"], tiny.tensors("llama"))
    loaded = model.load(folder, mesh=mesh)

    def logits(params, ids_BT):
        hidden_BTD = decoder.forward(loaded.architecture, params, ids_BT).hidden_BTD
        return decoder.unembed(loaded.architecture, params, hidden_BTD)

    ids_BT = jax.device_put(jnp.asarray(tiny.IDS), NamedSharding(mesh, PartitionSpec()))
    compiled = jax.jit(logits).lower(loaded.params, ids_BT).compile()
    assert "all-reduce" in compiled.as_text()  # the devices do share the work
    np.testing.assert_allclose(compiled(loaded.params, ids_BT), tiny.golden("llama")["logits"], atol=1e-4)
    held = {"/".join(path): leaf.addressable_shards[0].data.shape for path, leaf in weights.flat(loaded.params).items()}
    assert held["layers/query/kernel"] == (2, 16, 8)
    assert held["layers/key/kernel"] == (2, 16, 4)
    assert held["layers/output/kernel"] == (2, 8, 16)
    assert held["layers/down/kernel"] == (2, 12, 16)
    assert held["embedding/token"] == (61, 16)


def test_what_does_not_divide_is_on_every_device(mesh):
    odd = decoder.Architecture(
        vocab_size=64, width=12, depth=1, heads=3, kv_heads=3, head_width=4, mlp_width=6, max_positions=8
    )
    specs = {"/".join(path): spec.spec for path, spec in weights.flat(sharding.shardings(odd, mesh)).items()}
    assert specs["layers/query/kernel"] == specs["layers/output/kernel"] == PartitionSpec()
    assert specs["layers/up/bias"] == PartitionSpec(None, "model")
    assert specs["layers/down/bias"] == PartitionSpec()
    assert specs["embedding/token"] == PartitionSpec("model", None)


def test_a_mesh_without_its_axis_is_refused():
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))
    architecture = decoder.Architecture(
        vocab_size=8, width=4, depth=1, heads=1, kv_heads=1, head_width=4, mlp_width=4, max_positions=8
    )
    with pytest.raises(ValueError, match="has the axes data; it must have one named model"):
        sharding.shardings(architecture, mesh)
