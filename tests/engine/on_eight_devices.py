"""Run by test_devices.py in a process of its own, which has eight CPU devices and compiles as its users' do."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh

from icl_sim.engine.devices import member_mesh, use_all_cores
from icl_sim.engine.program import Program
from icl_sim.predictors import Transformer
from icl_sim.types import Phase
from tests.engine.toys import Line, assert_same, group, measures, member, of_one, run, train_for

STEPS = 5


def check(predictor, members: int, alone: list[int]) -> None:
    together = group(*(member(predictor, seed=seed, learning_rate=0.01 * (1 + seed % 3)) for seed in range(members)))
    program, one = Program(together, member_mesh(members)), Program(of_one(together, 0), member_mesh(1))
    assert len(program.devices) == 8
    trained = program.fetch(train_for(program, STEPS))
    for number in alone:
        one.members = one.place(of_one(together, number).members)
        paths, _ = jax.tree.flatten_with_path(one.fetch(train_for(one, STEPS)))
        for (path, expected), leaf in zip(paths, jax.tree.leaves(trained), strict=True):
            actual, name = leaf[number], jax.tree_util.keystr(path)
            if name.startswith(".parts") and name.endswith("['qkv']['bias']"):
                # The bias of keys has no gradient (softmax does not see it): Adam moves it by rounding noise.
                keys = slice(len(actual) // 3, 2 * len(actual) // 3)
                actual, expected = np.delete(actual, keys), np.delete(expected, keys, axis=1)
            np.testing.assert_allclose(actual, expected[0], atol=1e-6, rtol=1e-6, err_msg=name)
    print(members, type(predictor).__name__)


def check_chunks() -> None:
    """Chunks change no bit; test_simulate.py, which has the cuts, compiles without optimising."""
    members = group(*(member(learning_rate=0.01 * (1 + seed), seed=seed) for seed in range(3)))
    whole, cut = (run(members, chunk_steps=steps) for steps in (60, 7))
    assert len(cut) > len(whole)
    assert_same(measures(cut), measures(whole))
    assert_same(cut[-1][1], whole[-1][1])
    print("chunks")


def check_shared() -> None:
    """Eight devices with a part of every batch each do as one with all of it, and so do four with two members."""
    two = group(*(member(Transformer(depth=1, width=8), seed=seed, batch_size=16) for seed in range(2)))
    expected = train_for(one := Program(two, member_mesh(1)), STEPS)
    for data in (4, 8):
        program = Program(two, member_mesh(2, data))
        assert len(program.devices) == 8
        state = program.fetch(train_for(program, STEPS))
        for actual, wanted in zip(
            jax.tree.leaves((state.loss_sum, state.counts)),
            jax.tree.leaves(one.fetch((expected.loss_sum, expected.counts))),
            strict=True,
        ):
            np.testing.assert_allclose(actual, wanted, rtol=1e-5)
        assert_near(program.measure(program.place(state)), one.measure(expected))
    print("shared")


def check_moved() -> None:
    """A run that goes on with fewer and fewer devices is that of one device."""
    five = group(*(member(seed=seed, learning_rate=0.01) for seed in range(5)))
    state = None
    for number, devices in enumerate((8, 4, 1)):
        program = Program(five, Mesh(np.asarray(jax.devices()[:devices])[:, None], ("member", "data")))
        state = program.start() if state is None else program.place(state)
        state = program.fetch(program.train(state, STEPS * number, STEPS * (number + 1), Phase()))
    alone = Program(five, member_mesh(1))
    assert_near(state, alone.fetch(train_for(alone, 3 * STEPS)))
    print("moved")


def assert_near(actual, expected) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), actual, expected)


if __name__ == "__main__":
    use_all_cores(8)
    check(Line(), 30, [0, 13, 29])
    check(Transformer(depth=1, width=8), 16, [0, 5, 15])
    check_chunks()
    check_shared()
    check_moved()
