"""How groups are laid out: waves, meshes, and what is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from icl_sim.engine import devices, layout
from icl_sim.engine.devices import DATA, MEMBER
from icl_sim.engine.layout import Layout, laid_out, mesh_of
from icl_sim.engine.simulate import simulate
from tests.engine.toys import Guess, group, member


def many(size: int, **training):
    return group(*(member(seed=seed, steps=8, points=2, **training) for seed in range(size)))


def rows(waves) -> dict[tuple, dict[int, float]]:
    """(step, set, metric) -> member -> value."""
    found: dict = {}
    for wave, program in waves:
        for chunk in simulate(wave, program=program):
            for name, value_M in (chunk.measures or {}).items():
                found.setdefault((chunk.step, *name), {}).update(zip(wave.ids, value_M, strict=True))
    return found


def test_waves_are_the_whole_in_another_order_with_one_program():
    five = many(5)
    whole = rows(laid_out(five, Layout(at_once=1)))
    waves = list(laid_out(five, Layout(wave=2, at_once=1)))
    assert [wave.ids for wave, _ in waves] == [(0, 1), (2, 3), (4,)]
    np.testing.assert_equal(rows(waves), whole)
    assert [program._train(program.phases[0])._cache_size() for _, program in waves] == [1, 1, 1]
    assert len({id(program._trains) for _, program in waves}) == 1


def test_as_many_members_at_a_time_as_fit_into_memory(monkeypatch):
    """Where training of 8 members would take three times of what there is, waves of two on two devices do."""
    eight = many(8)
    ((_, program),) = laid_out(eight)
    needed = program.bytes_of_training()
    assert needed > 4 * 8 * (2 * 2 * 3)  # the parameters of four members and their two moments, at least
    monkeypatch.setattr(devices, "memory_for_training", lambda: needed / 3)
    sizes = [len(wave) for wave, _ in laid_out(eight)]
    assert sizes == [2, 2, 2, 2]
    monkeypatch.setattr(devices, "memory_for_training", lambda: 1.0)
    assert [len(wave) for wave, _ in laid_out(eight)] == [2, 2, 2, 2]  # no less than one for each device


@pytest.mark.parametrize(("operations", "data"), [(0.5e8, 1), (1.5e8, 1), (2e8, 2), (1e12, 2)])
def test_devices_left_over_share_batches_where_there_is_enough_to_do(operations, data, monkeypatch):
    """Two devices: one member may have both, and two have one each."""
    monkeypatch.setattr(layout, "flops_per_update", lambda group: operations)
    assert dict(mesh_of(many(1)).shape) == {MEMBER: 1, DATA: data}
    assert dict(mesh_of(many(1, batch_size=3)).shape) == {MEMBER: 1, DATA: 1}  # which two do not divide
    assert dict(mesh_of(many(2)).shape) == {MEMBER: 2, DATA: 1}
    assert dict(mesh_of(group(member(Guess()))).shape) == {MEMBER: 1, DATA: 1}


def test_what_does_not_train_is_not_compiled_to_see_whether_it_fits(monkeypatch):
    monkeypatch.setattr(layout, "_fitting", lambda program: pytest.fail("compiled"))
    for members in (group(member(Guess())), group(member(steps=0))):
        assert len(list(laid_out(members))) == 1


def test_what_is_asked_for_is_done_or_refused():
    assert dict(mesh_of(many(2), Layout(data=2)).shape) == {MEMBER: 1, DATA: 2}
    ((_, program),) = laid_out(many(4), Layout(at_once=2))
    assert program.at_once == 2
    with pytest.raises(ValueError, match="--data_parallel is 2, and training.batch_size, 5, cannot be divided"):
        Layout(data=2).check_for(many(1, batch_size=5))
    with pytest.raises(ValueError, match="--data_parallel is 3; it must be at most 2"):
        list(laid_out(many(1, batch_size=6), Layout(data=3)))
    with pytest.raises(ValueError, match="wave is 0; it must be at least 1"):
        list(laid_out(many(1), Layout(wave=0)))
