"""Mixtures: which task each sequence is of, what is asked, and what cannot be mixed."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

import icl_sim as icl
from icl_sim.studies import codec
from icl_sim.studies.plan import plan
from icl_sim.tasks import BurstySequences, Clusters, Mixture
from icl_sim.tasks.sequences.presets import singh_ciwl, singh_coopetition, singh_icl
from icl_sim.theory import Conditions
from tests.engine.toys import Corners

PARTS = tuple(Corners(shift=shift) for shift in (0.0, 10.0, 20.0))
CLUSTERS = Clusters(dim=2, exemplars=2)


def test_every_sequence_is_of_one_task_by_its_share():
    task = Mixture(tasks=PARTS, shares=(1.0, 0.0, 3.0))
    sample = jax.jit(lambda task, key: task.sample(key, 4_000))

    def draw(task, key):
        return jax.tree.map(np.asarray, sample(task, key))

    batch = draw(task, jax.random.key(0))
    which = np.rint(batch.inputs.reshape(4_000, -1).mean(axis=1) / 10).astype(int)
    counts = np.bincount(which, minlength=3)
    assert counts[1] == 0 and stats.binomtest(int(counts[2]), 4_000, 0.75).pvalue > 1e-3
    # A row is the one that its task makes there, with its own answer.
    keys = jax.random.split(jax.random.key(0), 4)[1:]
    rows = [draw(part, key) for part, key in zip(PARTS, keys, strict=True)]
    for name in ("inputs", "targets", "kinds"):
        expected = np.stack([getattr(rows[part], name)[row] for row, part in enumerate(which)])
        np.testing.assert_allclose(getattr(batch, name), expected, rtol=1e-6)


def test_bursts_of_singh_are_mixed_as_by_p_bursty():
    """b = 3 with .9 and b = 0 with .1, of classes of one look."""
    task = Mixture(tasks=(singh_coopetition(20, CLUSTERS), singh_ciwl(20, CLUSTERS)), shares=(0.9, 0.1), seed=1)
    task.check()
    batch = jax.tree.map(np.asarray, jax.jit(lambda key: task.prepare().sample(key, 2_000))(jax.random.key(1)))
    assert stats.binomtest(int(batch.latents["bursty"].sum()), 2_000, 0.9).pvalue > 1e-3
    items = {}
    for class_, item in zip(batch.latents["classes"].ravel(), batch.inputs.reshape(-1, 2), strict=True):
        items.setdefault(class_, set()).add(tuple(np.round(item, 5)))
    assert max(map(len, items.values())) == 2  # the exemplars of a class


def test_what_is_asked_is_the_first_and_every_task_as_it_trains():
    task = Mixture(tasks=PARTS[:2], seed=2)
    sets = task.evaluation_sets()
    assert set(sets) == {"default", "as_trained", "far", "task_0", "task_1"}
    assert sets["default"] is task and sets["task_1"] is PARTS[1] and task.summaries() == PARTS[0].summaries()


def test_a_study_sweeps_shares_and_what_is_mixed():
    study = icl.Study(
        task=Mixture(tasks=(singh_coopetition(20, CLUSTERS), singh_icl(20, CLUSTERS))),
        predictors={"copy": icl.predictors.KernelCopy()},
        sweep=icl.product({"task.shares": ((0.5, 0.5), (0.1, 0.9)), "task.tasks.0.p_bursty": (0.0, 0.5)}),
    )
    assert codec.decode(codec.encode(study)) == study
    planned = plan(study)
    assert len(planned.groups) == 1 and len(planned.entries) == 4


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (Mixture(tasks=PARTS), "for 3 task.tasks; it must name a share for each"),
        (Mixture(tasks=(), shares=()), "at least one"),
        (Mixture(tasks=PARTS[:2], shares=(0.0, 0.0)), "not all 0"),
        (Mixture(tasks=PARTS[:2], shares=(-1.0, 2.0)), "at least 0"),
        (Mixture(tasks=PARTS[:2], seed=-1), "task.seed is -1"),
        (Mixture(tasks=(PARTS[0], Conditions())), "task.tasks.1 is Conditions, which makes no sequences"),
        (Mixture(tasks=(PARTS[0], BurstySequences(p_bursty=2.0))), "task.p_bursty is 2.0"),
        (Mixture(tasks=(PARTS[0], Corners(classes=0))), "task.tasks.0 and task.tasks.1 make batches of different"),
    ],
)
def test_impossible_mixtures_are_refused(task, sentence):
    with pytest.raises(ValueError, match=sentence):
        task.check()
