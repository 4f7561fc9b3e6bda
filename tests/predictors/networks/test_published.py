"""Published transformers have the published numbers of parameters."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from icl_sim.predictors.networks.published import akyurek, garg, raventos


def size(model, batch):
    model.check()
    params = jax.eval_shape(lambda key: model.init(key, batch), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_toy_of_garg_has_151_937(make_regression):
    # d = 5 and 11 pairs, with a position for the last target.
    assert size(garg("tiny", position_count=22), make_regression(slots=11, dim=5)) == 151_937


@pytest.mark.parametrize(
    ("model", "slots", "dim", "count", "digits"),
    [
        (garg("tiny"), 41, 20, 0.15e6, 0.02e6),
        (garg("small"), 41, 20, 1.2e6, 0.1e6),
        (garg("standard"), 41, 20, 9.50e6, 0.01e6),
        (raventos("small", position_count=32), 16, 8, 0.203e6, 0.001e6),
        (raventos("base", position_count=32), 16, 8, 1.59e6, 0.01e6),
        (akyurek(), 40, 8, 37.9e6, 0.1e6),
    ],
)
@pytest.mark.parametrize("scan", [False, True])
def test_sizes_are_those_published(model, slots, dim, count, digits, scan, make_regression):
    batch = make_regression(slots=slots, dim=dim)
    assert size(dataclasses.replace(model, scan=scan), batch) == pytest.approx(
        count, abs=digits / 2
    )


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'standard'"):
        garg("standart")


def test_fields_can_be_changed():
    assert raventos("small", depth=2, heads=4).depth == 2 and raventos("small", heads=4).heads == 4
