"""Training without gradients: an online predictor sees the batches of its steps, each once and in order, however the
run is cut; and what it counts is what the task counts."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.engine.evaluate import ONLINE
from icl_sim.engine.simulate import TRAINING
from icl_sim.keys import stream
from icl_sim.tasks import ClassMixture, Symbols
from icl_sim.theory import OnlineGated
from icl_sim.types import Outputs, Predictor, setting, static
from tests.engine.toys import Corners, assert_same, group, measures, member, run

STEPS, BATCH = 40, 5  # evaluated at 0, 1, 6 and 40


@setting
class Diary(Predictor):
    """Writes every batch down, in the order in which they come, and tells the number of its page as its loss."""

    pages: int = static(STEPS + 10)

    @property
    def online(self):
        return True

    def init(self, key, batch):
        empty = {"inputs": batch.inputs, "targets": batch.targets.astype(jnp.float32)}
        return {"count": jnp.zeros(()), **{k: jnp.zeros((self.pages, *leaf.shape)) for k, leaf in empty.items()}}

    def observe(self, params, batch):
        page = params["count"].astype(jnp.int32)
        written = {name: params[name].at[page].set(getattr(batch, name)) for name in ("inputs", "targets")}
        return {"count": params["count"] + 1, **written}, jnp.full(len(batch.targets), params["count"])

    def apply(self, params, batch, *, record=False):
        return Outputs(values=jnp.zeros((len(batch.targets), batch.num_classes)) + 0 * params["count"])


SEEDS = (3, 8, 2**31)


@pytest.fixture(scope="module")
def diaries():
    return group(*(member(Diary(), seed=seed, steps=STEPS, batch_size=BATCH, points=3) for seed in SEEDS))


@functools.cache
def batches(seed):
    """All batches, drawn by themselves."""
    steps = jnp.arange(STEPS)
    found = jax.jit(jax.vmap(lambda step: Corners().sample(stream(seed, "train", step), BATCH)))(steps)
    return {"inputs": np.asarray(found.inputs), "targets": np.asarray(found.targets)}


def check_diary(state, stop):
    for number, seed in enumerate(SEEDS):
        diary = {name: leaf[number] for name, leaf in state.parts["all"].items()}
        assert diary["count"] == stop
        for name, expected in batches(seed).items():
            np.testing.assert_allclose(diary[name][:stop], expected[:stop], rtol=1e-6, atol=1e-6)
            assert not diary[name][stop:].any()
    shown = state.counts["shown"].sum(axis=1)
    np.testing.assert_array_equal(shown, [stop * BATCH] * 3)


@pytest.mark.parametrize("chunk_steps", [1, 7, 40])
def test_every_step_sees_its_own_batch_once(diaries, chunk_steps):
    for chunk, state in run(diaries, chunk_steps=chunk_steps):
        check_diary(state, chunk.step)


@pytest.mark.parametrize("cut", [6, 14])
def test_a_resumed_run_goes_on_with_the_batch_after_the_last(diaries, cut):
    by_step = {chunk.step: state for chunk, state in run(diaries, chunk_steps=7)}
    rest = run(diaries, state=by_step[cut], step=cut, chunk_steps=9)
    assert rest[0][0].step > cut
    for chunk, state in rest:
        check_diary(state, chunk.step)


def test_the_loss_of_training_is_the_mean_of_its_losses(diaries):
    told = measures(run(diaries, chunk_steps=7))
    since = {1: range(1), 6: range(1, 6), 40: range(6, 40)}
    for step, steps in since.items():
        np.testing.assert_allclose(told[step][TRAINING, "loss"], [np.mean(steps)] * 3)


# ------------------------------------------------------------------------------- Algorithm 1

TASK = ClassMixture(inputs=Symbols(), num_high=2, num_low=3, context_length=2, p_relevant=0.8, label_noise=0.1)


@pytest.fixture(scope="module")
def learners():
    tasks = [TASK.replace(seed=seed, p_relevant=p) for seed, p in ((0, 0.8), (1, 0.8), (0, 1.0))]
    return group(
        *(
            member(OnlineGated(), task, seed=i, steps=STEPS, batch_size=BATCH, points=3, sequences=10)
            for i, task in enumerate(tasks)
        )
    )


@pytest.fixture(scope="module")
def whole(learners):
    return run(learners, chunk_steps=STEPS)


@pytest.mark.parametrize("chunk_steps", [1, 7, None])
def test_chunks_change_nothing_of_a_learner(learners, whole, chunk_steps):
    chunks = run(learners, chunk_steps=chunk_steps)
    assert_same(measures(chunks), measures(whole))
    assert_same(chunks[-1][1], whole[-1][1])


@pytest.mark.parametrize("cut", [1, 6, 13, 39])
def test_a_resumed_learner_is_as_if_never_stopped(learners, whole, cut):
    by_step = {chunk.step: state for chunk, state in run(learners, chunk_steps=1)}
    rest = run(learners, state=by_step[cut], step=cut, chunk_steps=20)
    assert_same(measures(rest), {step: told for step, told in measures(whole).items() if step > cut})
    assert_same(rest[-1][1], whole[-1][1])


def test_counters_of_groups_are_means_over_their_classes(whole):
    for step, told in measures(whole).items():
        for name in ("exposures", "exposures_relevant", "exposures_irrelevant"):
            of_class = np.stack([told[TRAINING, f"{name}/{c}"] for c in range(5)])
            np.testing.assert_allclose(told[TRAINING, f"{name}_high"], of_class[:2].mean(axis=0))
            np.testing.assert_allclose(told[TRAINING, f"{name}_low"], of_class[2:].mean(axis=0))
        both = told[TRAINING, "exposures_relevant_low"] + told[TRAINING, "exposures_irrelevant_low"]
        np.testing.assert_allclose(told[TRAINING, "exposures_low"], both)
        total = 2 * told[TRAINING, "exposures_high"] + 3 * told[TRAINING, "exposures_low"]
        np.testing.assert_allclose(total, [step * BATCH] * 3)
    assert told[TRAINING, "exposures_irrelevant_high"][2] == 0 < told[TRAINING, "exposures_irrelevant_high"][0]


def test_what_the_learner_counts_is_what_the_task_counts(whole):
    for told in measures(whole).values():
        for c in range(5):
            np.testing.assert_array_equal(told[ONLINE, f"exposures/{c}"], told[TRAINING, f"exposures/{c}"])
        of_class = np.stack([told[ONLINE, f"gate/{c}"] for c in range(5)])
        np.testing.assert_array_equal(told[ONLINE, "gate_low"], np.median(of_class[2:], axis=0))
