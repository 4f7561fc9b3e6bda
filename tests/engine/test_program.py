"""Members that share a program and its devices do not notice each other."""

from __future__ import annotations

import gc
import re
import weakref

import jax
import numpy as np
import pytest

from icl_sim.engine.devices import member_mesh
from icl_sim.engine.program import Program, is_trainable, state_shapes
from icl_sim.types import Phase
from tests.engine.toys import Guess, Line, Parts, assert_same, group, member, of_one, train_for

STEPS = 10
COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|collective|reduce-scatter|\bsend\b|\brecv\b")


@pytest.fixture(scope="module")
def three():
    """Three members, which two devices share with a fourth as padding."""
    return group(*(member(seed=seed, learning_rate=0.01 * (seed + 1)) for seed in range(3)))


@pytest.fixture(scope="module")
def program(three):
    return Program(three, member_mesh(3))


@pytest.fixture(scope="module")
def trained(program):
    return program.fetch(train_for(program, STEPS))


@pytest.fixture(scope="module")
def alone(three):
    """Each member's state, trained on a device of its own."""
    programs = [Program(of_one(three, number), member_mesh(1)) for number in (0, 2)]
    return {number: p.fetch(train_for(p, STEPS)) for number, p in zip((0, 2), programs, strict=True)}


def test_gradients_do_not_leak_between_members(trained, alone):
    """The bias and the scale start as constants: were they taken for shared, their gradients would be summed."""
    for number, expected in alone.items():
        for name, leaf in expected.parts["all"].items():
            np.testing.assert_allclose(trained.parts["all"][name][number], leaf[0], atol=1e-6, rtol=0, err_msg=name)


def test_padding_is_not_seen(program, trained):
    assert len(program.devices) == 2
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves((trained, program.measure(program.start()))))


@pytest.mark.parametrize("at_once", [2, None])
def test_members_together_on_a_device_equal_members_one_by_one(at_once):
    """What a GPU does (vmap), on a CPU; and two at a time of the three that a device has, one more being padding."""
    five = group(*(member(seed=seed, learning_rate=0.01 * (seed + 1)) for seed in range(5)))
    states = [
        program.fetch(train_for(program, STEPS))
        for program in (Program(five, member_mesh(5), 1), Program(five, member_mesh(5), at_once or 3))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-6), *states)


def test_devices_that_share_batches_train_and_measure_as_one_does(alone, three):
    """Members one by one on a device of two each, whose halves of every batch they average over."""
    program = Program(three, member_mesh(3, data=2))
    state = train_for(program, STEPS)
    shared = program.fetch(state)
    for number, expected in alone.items():
        for name, leaf in expected.parts["all"].items():
            np.testing.assert_allclose(shared.parts["all"][name][number], leaf[0], atol=1e-6, rtol=0, err_msg=name)
        np.testing.assert_allclose(shared.loss_sum[number], expected.loss_sum[0], rtol=1e-6)
        assert_same(shared.counts["shown"][number], expected.counts["shown"][0])
    one = Program(of_one(three, 2), member_mesh(1))
    expected = one.measure(one.place(jax.tree.map(lambda leaf: leaf[2:3], shared)))
    for name, metrics in program.measure(state).items():
        for metric, value_M in metrics.items():
            np.testing.assert_allclose(value_M[2], expected[name][metric][0], rtol=1e-5, err_msg=f"{name} {metric}")
    text = _lowered(program).compile().as_text()
    assert "num_partitions=2" in text and set(COLLECTIVE.findall(text)) == {"all-reduce"}


def _lowered(program):
    bounds = np.int32(0), np.int32(STEPS)
    return program._train(Phase()).lower((program.shared, *bounds), program.members, program.start())


def test_the_compiled_programs_do_not_communicate(program):
    measure = program._measure.lower(program.shared, program.members, program.start())
    for lowered in (_lowered(program), measure):
        text = lowered.compile().as_text()
        assert "num_partitions=2" in text and not COLLECTIVE.findall(text)


def test_the_state_s_memory_is_given_up(program):
    state = program.start()
    program.train(state, 0, 1, Phase())
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.parts))


def test_a_phase_is_compiled_once(program):
    state = program.start()
    for start, stop in ((0, 1), (1, 2), (2, STEPS)):
        state = program.train(state, start, stop, Phase())
    assert program._train(Phase())._cache_size() == 1


def test_a_program_that_is_done_is_forgotten(three):
    """With it go the settings and images that it holds on the devices."""
    program = Program(three, member_mesh(3))
    program._train(Phase())
    gone = weakref.ref(program)
    del program
    gc.collect()
    assert gone() is None


def test_placed_and_fetched_is_the_same(program):
    tree = {
        "float": np.float32([1, np.nan, 3]),
        "int": np.int32([[1, 2], [3, 4], [5, 6]]),
        "bool": np.array([True] * 3),
    }
    assert_same(program.fetch(program.place(tree)), tree)


def test_shapes_of_the_state_are_known_without_computing_it(three, trained):
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), trained)
    assert state_shapes(three) == shapes


def test_what_has_no_parameters_is_not_trained():
    assert is_trainable(group(member(Line()))) and is_trainable(group(member(Parts())))
    assert not is_trainable(group(member(Guess())))
