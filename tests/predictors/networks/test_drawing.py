"""What a network draws at once is what its modules draw one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from icl_sim.predictors.networks import drawing
from icl_sim.predictors.networks.seam import functional


class Theirs(nnx.Module):
    """Layers with flax's initialisers, or with those of `drawing`."""

    linear, conv = nnx.Linear, nnx.Conv
    table = staticmethod(nnx.initializers.truncated_normal(0.3))
    normal = staticmethod(nnx.initializers.normal(0.7))

    def __init__(self, rngs):
        self.first = self.linear(5, 7, rngs=rngs)
        self.norm = nnx.LayerNorm(7, rngs=rngs)
        self.convolution = self.conv(3, 4, (2, 2), rngs=rngs)
        self.lookup = nnx.Linear(6, 3, use_bias=False, kernel_init=self.table, rngs=rngs)
        self.long = self.linear(7, 100, rngs=rngs)
        self.position = nnx.Param(self.normal(rngs.params(), (4, 5), jnp.float32))


class Ours(Theirs):
    linear = staticmethod(drawing.linear)
    conv = staticmethod(lambda *args, **kwargs: nnx.Conv(*args, kernel_init=drawing.lecun_normal, **kwargs))
    table = staticmethod(drawing.scaled_truncated_normal(0.3))
    normal = staticmethod(drawing.scaled_normal(0.7))


@pytest.mark.parametrize("large", [2**16, 100])  # all of a law in rows, or the longest alone
def test_networks_start_with_the_numbers_of_flax(monkeypatch, key, large):
    monkeypatch.setattr(drawing, "_LARGE", large)
    theirs, ours = functional(Theirs).init(key), functional(Ours, together=True).init(key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-7, atol=3e-7), ours, theirs)
    assert len({float(leaf.ravel()[0]) for leaf in jax.tree.leaves(ours) if np.ptp(leaf)}) == 5  # keys of their own


def test_modules_draw_so_by_themselves_too(key):
    built = nnx.to_pure_dict(nnx.state(Ours(nnx.Rngs(key))))
    drawn = functional(Ours, together=True).init(key)
    np.testing.assert_allclose(built["first"]["kernel"], drawn["first"]["kernel"], rtol=3e-7, atol=3e-7)


def test_a_law_is_compiled_once_for_all_its_arrays(key):
    network = functional(lambda rngs: nnx.List([drawing.linear(n, 8, rngs=rngs) for n in range(1, 9)]), together=True)
    told = str(jax.make_jaxpr(network.init)(key))
    assert told.count("erf_inv") == 1


def test_the_variance_is_one_over_fan_in(key):
    kernel = functional(lambda rngs: drawing.linear(400, 50, rngs=rngs), together=True).init(key)["kernel"]
    assert np.std(kernel) * 20 == pytest.approx(1, rel=0.02)
    assert np.abs(kernel).max() <= 2 / 20 / 0.8796 + 1e-6
