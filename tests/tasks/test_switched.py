"""Data that change during training: which task an update sees, what is asked, and what cannot be switched."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import icl_sim as icl
from icl_sim.engine.step import join
from icl_sim.studies import codec
from icl_sim.studies.plan import plan
from icl_sim.tasks import BurstySequences, Clusters, Regression, Switched
from icl_sim.tasks.sequences.presets import singh_ciwl, singh_coopetition, singh_icl
from icl_sim.theory import Conditions
from tests.engine.toys import Corners, group, member, run

NEAR, FAR = Corners(), Corners(shift=3.0)
CLUSTERS = Clusters(dim=2, exemplars=2)


@pytest.fixture(scope="module")
def by_step():
    task = Switched(first=NEAR, then=FAR, after=5)
    return jax.jit(lambda step, key: task.prepare().at(step).sample(key, 4))


@pytest.mark.parametrize(("step", "seen"), [(0, NEAR), (4, NEAR), (5, FAR), (10**6, FAR)])
def test_an_update_sees_the_task_of_its_number(by_step, step, seen):
    found, expected = by_step(step, jax.random.key(9)), jax.jit(lambda key: seen.sample(key, 4))(jax.random.key(9))
    np.testing.assert_array_equal(found.inputs, expected.inputs)


def test_training_is_that_on_the_first_until_the_switch():
    def parameters(task, steps):
        *_, (_, state) = run(group(member(task=task, steps=steps, points=1)))
        return join(state.parts)["kernel"]

    switched = Switched(first=NEAR, then=FAR, after=6)
    np.testing.assert_allclose(parameters(switched, 6), parameters(NEAR, 6), rtol=1e-6)
    assert not np.allclose(parameters(switched, 9), parameters(NEAR, 9))


def test_what_is_asked_is_the_second_and_the_first_by_its_name():
    task = Switched(first=NEAR, then=FAR, after=5, seed=2)
    sets = task.evaluation_sets()
    assert set(sets) == {"as_trained", "far", "first"} and sets["first"] is NEAR and sets["as_trained"] is FAR
    assert task.summaries() == FAR.summaries()
    found, expected = (one.sample(jax.random.key(0), 3).inputs for one in (task, FAR))
    np.testing.assert_array_equal(found, expected)
    assert task.doubts(6) == () and "training never comes to the second task" in task.doubts(5)[0]


def test_both_show_the_same_classes_of_the_seed_of_the_study():
    study = icl.Study(
        task=Switched(first=singh_ciwl(20, CLUSTERS), then=singh_icl(20, CLUSTERS), after=7),
        predictors={"copy": icl.predictors.KernelCopy()},
        sweep=icl.zip_({"task.after": (3, 8), "task.first.p_bursty": (0.0, 0.5)}),
        seed=1,
    )
    assert codec.fingerprint(codec.decode(codec.from_json(codec.jsonable(codec.encode(study))))) == codec.fingerprint(
        study
    )
    tasks = [entry.member.task for entry in plan(study).entries]
    assert [(task.after, task.first.p_bursty) for task in tasks] == [(3, 0), (8, 0.5)]
    prepared = jax.jit(lambda task: task.prepare())(tasks[0])
    np.testing.assert_array_equal(prepared.first.inputs.table, prepared.then.inputs.table)
    assert {one.seed for one in tasks[0].evaluation_sets().values()} == {1}


def test_ciwl_only_and_icl_only_data():
    """Without support, the query's label in one slot of another class; two bursts with labels of the sequence."""
    ciwl, in_context = (
        jax.jit(lambda key, t=t: t.sample(key, 1000))(jax.random.key(0))
        for t in (singh_ciwl(20, CLUSTERS), singh_icl(20, CLUSTERS))
    )
    classes, targets = np.asarray(ciwl.latents["classes"]), np.asarray(ciwl.targets)
    assert all(len(set(row)) == 3 for row in classes) and np.array_equal(targets[:, -1], classes[:, -1])
    shown = targets[:, :2] != classes[:, :2]
    assert np.all(shown.sum(axis=1) == 1) and np.all(targets[:, :2][shown] == targets[:, -1])
    assert 400 < shown[:, 0].sum() < 600
    classes, targets = np.asarray(in_context.latents["classes"]), np.asarray(in_context.targets)
    slot = np.argmax(classes[:, :2] == classes[:, -1:], axis=1)
    assert np.all(classes[:, 0] != classes[:, 1]) and np.all(targets[:, 0] != targets[:, 1])
    assert np.array_equal(np.take_along_axis(targets, slot[:, None], axis=1)[:, 0], targets[:, -1])
    assert np.mean(targets[:, -1] == classes[:, -1]) < 0.15 and len(np.unique(targets)) == 20


def test_what_shown_labels_are_asked_is_what_fixed_ones_are():
    fixed, shown = (t.evaluation_sets() for t in (singh_coopetition(20, CLUSTERS), singh_ciwl(20, CLUSTERS)))
    assert set(fixed) == set(shown)
    assert all(shown[name].labels == "fixed" for name in shown if name != "default")
    assert shown["ciwl"] == fixed["ciwl"]


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (Switched(first=NEAR, then=FAR, after=1.5), "task.after is 1.5; it must be a whole number"),
        (Switched(first=NEAR, then=FAR, seed=-1), "task.seed is -1; it must be a whole number from 0"),
        (Switched(first=NEAR, then=Switched()), "task.then is Switched; a switch is between two tasks"),
        (Switched(first=Conditions(), then=FAR), "task.first is Conditions; a switch is between"),
        (Switched(first=NEAR, then=Corners(classes=0)), "of different structure: .*num_classes is 2 in one and 0"),
        (
            Switched(first=singh_icl(20, CLUSTERS), then=singh_icl(20, Clusters(dim=3, exemplars=2))),
            r"inputs is \[2, 3, 2\] float32 in one and \[2, 3, 3\] float32",
        ),
        (Switched(first=BurstySequences(p_bursty=2.0)), "task.p_bursty is 2.0"),
        (Switched(first=Regression(), then=NEAR), "num_classes is 0 in one and 2 in the other"),
    ],
)
def test_impossible_switches_are_refused(task, sentence):
    with pytest.raises(ValueError, match=sentence):
        task.check()
