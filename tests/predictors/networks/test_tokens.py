"""Tokens of pairs: their order, and projections that equal those of the padded tokens they stand for."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors.networks.tokens import interleave, projected


def test_tokens_alternate_and_end_in_the_query():
    x_BSD = jnp.asarray([[[1.0], [2.0], [3.0]]])
    y_BLD = jnp.asarray([[[10.0], [20.0]]])
    np.testing.assert_array_equal(interleave(x_BSD, y_BLD)[0, :, 0], [1, 10, 2, 20, 3])


@pytest.mark.parametrize(
    ("tokens", "written"),
    [
        ("separate", [[0, 1, 2], [7, 0, 0], [0, 3, 4], [8, 0, 0], [0, 5, 6]]),
        ("shared", [[1, 2], [7, 0], [3, 4], [8, 0], [5, 6]]),
        ("concatenated", [[1, 2, 7], [3, 4, 8], [5, 6, 0]]),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_the_projection_is_that_of_the_tokens_as_the_papers_write_them(tokens, written, bias):
    rng = np.random.default_rng(0)
    kernel_ED = rng.normal(size=(len(written[0]), 4)).astype(np.float32)
    bias_D = rng.normal(size=4).astype(np.float32) if bias else None
    got = projected(
        jnp.asarray([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]),
        jnp.asarray([[7.0, 8.0]]),
        jnp.asarray(kernel_ED),
        None if bias_D is None else jnp.asarray(bias_D),
        tokens,
    )
    np.testing.assert_allclose(got[0], np.asarray(written) @ kernel_ED + (bias_D if bias else 0.0), rtol=1e-5)
