"""The product of patches is the convolution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors.networks.convolution import convolve, patches

AXES = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize("shape", [(6, 9), (1, 2)])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_values_and_gradients_are_those_of_lax(shape, size, stride):
    x_key, kernel_key, weight_key = jax.random.split(jax.random.key(size + 10 * stride), 3)
    x = jax.random.normal(x_key, (2, *shape, 3))
    kernel = jax.random.normal(kernel_key, (size, size, 3, 4))

    def ours(x, kernel):
        return convolve(x, kernel, (stride, stride), "SAME", dimension_numbers=AXES)

    def theirs(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=AXES)

    weights = jax.random.normal(weight_key, jax.eval_shape(theirs, x, kernel).shape)

    def gradients_and_values(convolution, x, kernel):
        def weighted(x, kernel):
            values = convolution(x, kernel)
            return jnp.sum(weights * values), values

        return jax.grad(weighted, (0, 1), has_aux=True)(x, kernel)

    both = {f: jax.jit(functools.partial(gradients_and_values, f))(x, kernel) for f in (ours, theirs)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), both[ours], both[theirs])


def test_a_cpu_gets_no_convolution_and_another_platform_nothing_else():
    x, kernel = jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 4))
    run = jax.jit(lambda x, kernel: convolve(x, kernel, (1, 1), "SAME", dimension_numbers=AXES))
    on = {
        platform: run.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "tpu")
    }
    assert "stablehlo.convolution" not in on["cpu"] and "stablehlo.dot_general" in on["cpu"]
    assert "stablehlo.convolution" in on["tpu"] and "stablehlo.dot_general" not in on["tpu"]


def test_patches_are_what_lies_under_the_kernel():
    x = jnp.arange(1.0, 5.0).reshape(1, 4, 1, 1)
    np.testing.assert_array_equal(patches(x, (3, 1), (1, 1))[0, :, 0], [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]])
    np.testing.assert_array_equal(patches(x, (3, 1), (2, 1))[0, :, 0], [[1, 2, 3], [3, 4, 0]])
