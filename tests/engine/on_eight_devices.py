"""Run by test_devices.py in a process of its own, which has eight CPU devices and compiles as its users' do."""

from __future__ import annotations

import jax
import numpy as np

from icl_sim.engine.devices import member_mesh, use_all_cores
from icl_sim.engine.program import Program
from icl_sim.predictors import Transformer
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


if __name__ == "__main__":
    use_all_cores(8)
    check(Line(), 30, [0, 13, 29])
    check(Transformer(depth=1, width=8), 16, [0, 5, 15])
    check_chunks()
