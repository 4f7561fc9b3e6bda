"""The maps of a decoder's block."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from icl_sim.lm.layers import Linear


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_map_is_that_of_flax_with_its_kernel_turned_and_the_next_map_too(use_bias):
    rngs = nnx.Rngs(3), nnx.Rngs(3)
    kind = dict(use_bias=use_bias, kernel_init=nnx.initializers.normal(0.5))
    for _ in range(2):
        own, flaxs = (make(4, 6, rngs=r, **kind) for make, r in zip((Linear, nnx.Linear), rngs, strict=True))
        np.testing.assert_array_equal(own.kernel[...], flaxs.kernel[...].T)
        if use_bias:
            own.bias[...] = flaxs.bias[...] = jnp.arange(6.0)
        x_BTI = jax.random.normal(jax.random.key(0), (2, 3, 4))
        np.testing.assert_allclose(own(x_BTI), flaxs(x_BTI), rtol=1e-6, atol=1e-6)
