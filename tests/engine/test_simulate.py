"""Chunks, resuming and diverging change nothing of what they should not change, bit for bit."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.engine.program import Program
from icl_sim.engine.simulate import simulate
from icl_sim.predictors import Gated, InWeightMLP
from tests.engine.toys import Guess, assert_same, group, measures, member, run

# 60 updates, evaluated at 0, 1, 8 and 60; the parts train until 30 and the gate from there.
GATED = Gated(in_weight=InWeightMLP(hidden=(3,)), hidden=(3,), protocol="two_phase", parts_share=0.5)


@pytest.fixture(scope="module")
def members():
    return group(*(member(GATED, seed=seed, points=3) for seed in (0, 1, 2**31 + 5)))


@pytest.fixture(scope="module")
def whole(members):
    """The run in one chunk."""
    return run(members, chunk_steps=60)


def states(chunks):
    return {chunk.step: state for chunk, state in chunks}


def test_yields_at_evaluations_and_ends_of_phases_and_chunks(members, whole):
    assert [chunk.step for chunk, _ in whole] == [0, 1, 8, 30, 60]
    assert sorted(measures(whole)) == [0, 1, 8, 60]
    chunks = [chunk for chunk, _ in run(members, chunk_steps=20)]
    assert [chunk.step for chunk in chunks] == [0, 1, 8, 20, 30, 40, 60]
    assert [chunk.step for chunk in chunks if chunk.save] == [20, 40, 60]
    assert [chunk.updates for chunk in chunks] == [3 * steps for steps in (0, 1, 7, 12, 10, 10, 20)]
    assert [chunk.step for chunk, _ in whole if chunk.save] == [60]


@pytest.mark.parametrize("chunk_steps", [1, 7, 20, None])
def test_the_size_of_chunks_does_not_matter(members, whole, chunk_steps):
    chunks = run(members, chunk_steps=chunk_steps)
    assert_same(measures(chunks), measures(whole))
    for step, state in states(whole).items():
        assert_same(states(chunks)[step], state)


@pytest.mark.parametrize("cut", [0, 1, 5, 8, 15, 30, 45, 59])
def test_resumed_equals_uninterrupted(members, whole, cut):
    """Cut at an evaluation, in the first phase, where it ends, in the second."""
    by_step = states(run(members, chunk_steps=1))
    rest = run(members, state=by_step[cut], step=cut, chunk_steps=20)
    assert min(chunk.step for chunk, _ in rest) > cut
    assert_same(measures(rest), {step: m for step, m in measures(whole).items() if step > cut})
    assert_same(rest[-1][1], whole[-1][1])


def test_nothing_is_left_to_do_at_the_end(members, whole):
    assert run(members, state=whole[-1][1], step=60) == []


def test_two_phases_move_the_parts_and_then_the_gate_alone(whole):
    start, early, middle, end = (states(whole)[step].parts for step in (0, 8, 30, 60))
    assert_same(start["gate"], early["gate"])
    assert_same(start["gate"], middle["gate"])
    for part in ("in_weight", "in_context"):
        assert_same(middle[part], end[part])
        assert moved(start[part], middle[part])
    assert moved(middle["gate"], end["gate"])


def moved(before, after) -> bool:
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), before, after)))


def test_adam_of_a_phase_starts_with_its_phase(whole):
    counts = {step: {part: m.count.tolist() for part, m in s.moments.items()} for step, s in states(whole).items()}
    assert counts[30] == {"gate": [0] * 3, "in_context": [30] * 3, "in_weight": [30] * 3}
    assert counts[60] == {"gate": [30] * 3, "in_context": [30] * 3, "in_weight": [30] * 3}


def test_a_state_that_was_read_outlives_the_chunks_after_it():
    """On one device the host could see the very memory that the next chunk gives up."""
    one = group(member(points=1))
    kept = {chunk.step: chunk.state for chunk in simulate(one, chunk_steps=20)}
    assert_same(kept, states(run(one, chunk_steps=20)))


def test_the_hot_loop_moves_nothing_between_host_and_device_unasked(members):
    with jax.transfer_guard("disallow"):
        chunks = run(members, chunk_steps=20)
        run(members, state=chunks[3][1], step=20)


def test_an_explicit_learner_is_evaluated_once():
    (chunk,) = simulate(group(member(Guess()), member(Guess(), seed=1)))
    assert (chunk.step, chunk.updates, chunk.save) == (0, 0, True)
    assert chunk.measures["far", "error"].shape == (2,)
    assert ("training", "loss") not in chunk.measures


RATES = (0.01, 1e30, 0.02, float("inf"))


@pytest.fixture(scope="module")
def with_nan():
    return run(group(*(member(learning_rate=rate) for rate in RATES)), chunk_steps=50)


def test_a_member_that_diverges_is_told_with_its_step(with_nan):
    by_step = measures(with_nan)
    assert not any(metric == "diverged_at_step" for _, metric in by_step[0])
    # The first update loses member 3, before any loss of its shows it.
    np.testing.assert_array_equal(by_step[1]["training", "diverged_at_step"], [np.nan, np.nan, np.nan, 1])
    at = by_step[60]["training", "diverged_at_step"]
    np.testing.assert_array_equal(np.isnan(at), [True, False, True, False])
    assert at[3] == 1 and 1 <= at[1] < 60


def test_what_a_diverged_member_measures_is_nan(with_nan):
    last = measures(with_nan)[60]
    for key, column in last.items():
        if not key[1].startswith("shown") and key[1] != "diverged_at_step":
            np.testing.assert_array_equal(np.isnan(column), [False, True, False, True], err_msg=str(key))
    assert all((column > 0).all() for key, column in last.items() if key[1].startswith("shown"))


def test_members_beside_a_diverged_one_are_untouched(with_nan):
    sane = group(*(member(learning_rate=rate) for rate in (0.01, 0.015, 0.02, 0.025)))
    others = run(sane, chunk_steps=50)
    for (_, state), (_, expected) in zip(with_nan, others, strict=True):
        pick = lambda tree: jax.tree.map(lambda leaf: leaf[[0, 2]], tree)  # noqa: E731
        assert_same(pick(state), pick(expected))
    ours, theirs = measures(with_nan)[60], measures(others)[60]
    for key, column in theirs.items():
        np.testing.assert_array_equal(ours[key][[0, 2]], column[[0, 2]])


def test_chunks_grow_towards_their_time(monkeypatch):
    """A clock on which a step takes 10 ms: from one step, full chunks grow by 16 at a time to 5 s."""
    now = [0.0]
    monkeypatch.setattr("icl_sim.engine.simulate.time.perf_counter", lambda: now[0])
    members = group(member(steps=4000, points=1))
    train = Program.train

    def timed(self, state, start, stop, phase):
        now[0] += 0.01 * (stop - start)
        return train(self, state, start, stop, phase)

    monkeypatch.setattr(Program, "train", timed)
    saved = [chunk.step for chunk in simulate(members) if chunk.save]
    assert saved == [1, 17, 273, 773, 1273, 1773, 2273, 2773, 3273, 3773, 4000]
