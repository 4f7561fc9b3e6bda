"""Published transformers have the published numbers of parameters."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from icl_sim.predictors.networks.published import (
    akyurek,
    chan,
    garg,
    raventos,
    singh_coopetition,
    singh_induction,
    singh_transience,
)


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
def test_sizes_are_those_published(model, slots, dim, count, digits, make_regression):
    batch = make_regression(slots=slots, dim=dim)
    assert size(dataclasses.replace(model, scan=True), batch) == pytest.approx(count, abs=digits / 2)


def test_a_loop_over_blocks_has_no_parameters_of_its_own(make_regression):
    batch, model = make_regression(slots=16, dim=8), raventos("small", position_count=32)
    assert size(dataclasses.replace(model, scan=True), batch) == size(dataclasses.replace(model, scan=False), batch)


# Blocks of 49,984, a norm of 128, 65 for each class to read out and 64 to read in.
CHAN = 12 * 49_984 + 128


@pytest.mark.parametrize(
    ("model", "length", "shape", "classes", "count"),
    [
        (singh_induction(), 2, (512,), 5, 66_629),
        (singh_coopetition(), 2, (512,), 12_800, 1_719_232),
        (chan(), 8, (64,), 1_623, CHAN + 129 * 1_623),
        (chan(images=True), 8, (105, 105), 1_623, 831_479 - 1_280),  # theirs has 1,280 in its batch norms
        (singh_transience(), 8, (512,), 12_800, CHAN + 129 * 12_800 + 513 * 64),
    ],
    ids=["induction", "coopetition", "chan", "images", "transience"],
)
def test_sizes_on_classes_are_those_published(model, length, shape, classes, count, make_batch):
    assert size(model, make_batch(sequences=1, length=length, shape=shape, classes=classes)) == count


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'standard'"):
        garg("standart")


def test_fields_can_be_changed():
    assert raventos("small", depth=2, heads=4).depth == 2 and raventos("small", heads=4).heads == 4
