"""What is frozen stays bit for bit; the rest trains as it does where nothing is named."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.engine.step import join, split
from icl_sim.predictors import Frozen, Gated
from icl_sim.types import Phase, setting
from tests.engine.toys import Corners, Parts, Tower, group, member, run

SMALL = Tower()


def trained(predictor, **training):
    (_, first), *_, (_, last) = run(group(member(predictor, Corners(), **{"steps": 8, "points": 1} | training)))
    return {step: flat(join(state.parts)) for step, state in (("first", first), ("last", last))}, last


def flat(params):
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves(params)}


def leaves(params):
    return jax.tree_util.tree_leaves_with_path(params)


def moved(parts):
    return {name for name in parts["first"] if not np.array_equal(parts["first"][name], parts["last"][name])}


@pytest.fixture(scope="module")
def free():
    return trained(SMALL)


def test_frozen_parameters_are_bit_equal_after_training_and_others_move(free):
    parts, state = trained(Frozen(network=SMALL, names=("blocks/1", "head/bias")))
    held = {name for name in parts["first"] if name.startswith("blocks/1/") or name == "head/bias"}
    assert len(held) == 4 and moved(parts) == moved(free[0]) - held
    # What moves is one part, with one Adam on one vector; what never moves has none.
    assert set(state.parts) == {"", "blocks/1", "head/bias"} and set(state.moments) == {""}


def test_what_is_frozen_at_the_end_has_trained_as_ever_before(free):
    parts, _ = trained(Frozen(network=SMALL, names=("blocks",), after=0.5), steps=8)
    half, _ = trained(SMALL, steps=4)
    for name, leaf in parts["last"].items():
        if name.startswith("blocks/"):
            np.testing.assert_allclose(leaf, half["last"][name], rtol=0, atol=1e-6)
            assert not np.allclose(leaf, free[0]["last"][name])
        else:
            assert not np.allclose(leaf, half["last"][name])


def test_freezing_begins_within_a_phase():
    first, _ = Parts().phases
    got = Frozen(network=Parts(), names=("second/bias",), after=0.75).phases
    assert got == (first, *(Phase(share=0.25, trains=("second",), frozen=names) for names in ((), ("second/bias",))))
    got = Frozen(network=Parts(), names=("first",), after=0.0).phases
    assert [phase.frozen for phase in got] == [("first",)] * 2


@pytest.mark.parametrize(
    ("phases", "parts"),
    [
        ((Phase(),), {"all"}),
        ((Phase(trains=("a",)),), {"a", "b"}),
        ((Phase(trains=("a/x",)), Phase(trains=("b",))), {"a/x", "a/y", "b"}),
        ((Phase(trains=("a",), frozen=("a/y/1",)),), {"a/x", "a/y/0", "a/y/1", "b"}),
        ((Phase(frozen=("a/y/1",)), Phase(frozen=("b",))), {"", "a/y/1", "b"}),
    ],
)
def test_parameters_come_apart_by_name_and_together_again(phases, parts):
    params = {"a": {"x": 1.0, "y": {"0": 2.0, "1": 3.0}}, "b": 4.0}

    @setting
    class Named(Parts):
        @property
        def phases(self):
            return phases

    found = split(Named(), params)
    assert set(found) == parts
    assert join(found) == params


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("block/1",), "names parameters; one is 'block'; allowed: blocks, head. Did you mean 'blocks'"),
        (("blocks/2",), "one is 'blocks/2'; allowed: blocks/0, blocks/1"),
        (("head/bias/0",), "one is 'head/bias/0'; allowed: nothing"),
    ],
)
def test_what_there_is_not_is_named(names, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(group(member(Frozen(network=SMALL, names=names))))


def test_decay_of_the_blocks_that_move_leaves_the_head_alone():
    """Where all blocks are frozen nothing else decays in their stead."""
    names = ("blocks",)
    decayed, _ = trained(Frozen(network=SMALL, names=names), weight_decay=0.5)
    plain, _ = trained(Frozen(network=SMALL, names=names))
    for name, leaf in plain["last"].items():
        np.testing.assert_array_equal(leaf, decayed["last"][name])


@pytest.mark.parametrize(
    ("predictor", "sentence"),
    [
        (Frozen(names=()), "Frozen has no names"),
        (Frozen(after=1.0), "after is 1.0; it must be a share of training"),
        (Frozen(network=Gated(floor=2.0)), "floor is 2.0"),
    ],
)
def test_impossible_freezing_is_refused(predictor, sentence):
    with pytest.raises(ValueError, match=sentence):
        predictor.check()
