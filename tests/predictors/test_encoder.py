"""The residual encoder: its size, its shapes and its homogeneity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import ResidualEncoder


def paper_size() -> int:
    """Weights counted from the words of the paper: stem, then two bottlenecks in each of four groups."""
    total, inputs = 7 * 7 * 1 * 64, 64
    for width in (12, 32, 32, 64):
        inner = width // 4
        for before in (inputs, width):
            total += before * inner + 9 * inner * inner + inner * width
        total += inputs * width
        inputs = width
    return total


@pytest.mark.parametrize(("stem", "pixels"), [("paper", 105), ("paper", 28), ("small", 28)])
def test_any_size_of_image_becomes_64_numbers(stem, pixels, key):
    encoder = ResidualEncoder(stem=stem)
    params = jax.eval_shape(lambda: encoder.init(key, (pixels, pixels)))
    for shape in ((2, 3, pixels, pixels), (2, 3, pixels, pixels, 1)):
        image = jax.ShapeDtypeStruct(shape, jnp.float32)
        assert jax.eval_shape(encoder.apply, params, image).shape == (2, 3, encoder.features)


def test_has_the_weights_of_the_paper_and_no_biases(key):
    params = jax.eval_shape(lambda: ResidualEncoder().init(key, (105, 105, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == paper_size()
    assert all(path[-1].key == "kernel" for path, _ in jax.tree_util.tree_leaves_with_path(params))


def test_without_biases_twice_the_ink_is_twice_the_vector(random_params):
    encoder = ResidualEncoder(stem="small", stem_width=4, widths=(4, 8), strides=(1, 2), blocks=2)
    params, apply = random_params(encoder.init, (12, 12)), jax.jit(encoder.apply)
    image = np.random.default_rng(1).uniform(size=(1, 2, 12, 12)).astype(np.float32)
    once = apply(params, image)
    assert np.any(once != 0)
    np.testing.assert_allclose(apply(params, 2 * image), 2 * once, rtol=1e-4, atol=1e-6)
    # Each image is encoded by itself.
    np.testing.assert_allclose(apply(params, image[:, 1:]), once[:, 1:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(stem="smal"), "Did you mean 'small'"),
        (dict(widths=(6, 8), strides=(1, 2)), r"widths are \(6, 8\)"),
        (dict(strides=(1,)), r"strides are \(1,\)"),
        (dict(blocks=0), "blocks is 0"),
    ],
)
def test_refuses_with_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        ResidualEncoder(**changes).check()


def test_refuses_inputs_that_are_no_images(key):
    with pytest.raises(ValueError, match=r"the inputs have shape \[64\]"):
        ResidualEncoder().init(key, (64,))
