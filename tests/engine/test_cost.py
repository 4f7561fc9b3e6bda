"""Floating-point operations, counted by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from icl_sim.engine.cost import flops, flops_per_update
from icl_sim.predictors import Transformer
from tests.engine.toys import Line, group, member


def counted(function, *shapes) -> float:
    return flops(jax.make_jaxpr(function)(*(jnp.zeros(shape) for shape in shapes)))


def test_products_and_convolutions_by_their_formulas():
    assert counted(lambda x, y: x @ y, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    assert counted(lambda x, y: jnp.einsum("bij,bjk->bik", x, y), (4, 3, 5), (4, 5, 7)) == 4 * 2 * 3 * 5 * 7
    image, kernel = (2, 6, 10, 10), (8, 6, 3, 3)
    convolved = counted(lambda x, k: jax.lax.conv(x, k, (1, 1), "VALID"), image, kernel)
    assert convolved == 2 * (2 * 8 * 8 * 8) * (6 * 3 * 3)


def test_what_lies_within_counts_as_often_as_it_runs():
    def twelve_layers(x):
        return jax.lax.scan(lambda y, _: (jax.jit(lambda z: z @ z)(y), None), x, None, length=12)[0]

    assert counted(twelve_layers, (4, 4)) == 12 * 2 * 4**3
    branches = (lambda x: x, lambda x: x @ x)
    assert counted(lambda x: jax.lax.cond(x[0, 0] > 0, *branches, x), (4, 4)) == pytest.approx(2 * 4**3, abs=4)


def test_depth_adds_what_a_block_costs():
    """Six operations for each parameter of a block and each of 6 tokens of 32 sequences: forwards, and twice back."""
    flops_of = {
        (depth, scan): flops_per_update(group(member(Transformer(depth=depth, width=64, scan=scan), batch_size=32)))
        for depth, scan in ((2, False), (3, False), (3, True))
    }
    block = flops_of[3, False] - flops_of[2, False]
    tokens = 32 * 6
    assert block == pytest.approx(6 * 12 * 64**2 * tokens, rel=0.25)
    assert flops_of[3, True] == pytest.approx(flops_of[3, False], rel=0.1)


def test_a_line_costs_little():
    assert 0 < flops_per_update(group(member(Line()))) < 5_000
