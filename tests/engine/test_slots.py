"""Where every slot is a query: losses and measures per slot, comparisons with references, bootstrap bands."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.engine.settings import Evaluation, Member, Training
from icl_sim.engine.simulate import simulate
from icl_sim.keys import stream
from icl_sim.types import CONTEXT, QUERY, Batch, Comparison, Leaf, Outputs, Phase, Predictor, Task, setting, static
from tests.engine.toys import group, run


@setting
class Sums(Task):
    """Points of the plane and the sum of their coordinates, plus 0.1. A curriculum moves `level` with the step."""

    level: Leaf = 0.0
    climbs: Leaf = False
    asked: bool = static(True)

    def sample(self, key, batch_size):
        x_BSX = jax.random.normal(key, (batch_size, 3, 2)) + jnp.asarray(self.level)[None, None, None]
        clean_BS = jnp.sum(x_BSX, axis=-1)
        kinds_BS = jnp.tile(jnp.asarray([[CONTEXT, CONTEXT, QUERY]], jnp.int8), (batch_size, 1))
        weights_BS = jnp.tile(jnp.asarray([[0.0, 1.0, 3.0]]), (batch_size, 1)) if self.asked else None
        return Batch(
            inputs=x_BSX,
            targets=clean_BS + 0.1,
            kinds=kinds_BS,
            latents={"clean": clean_BS},
            weights=weights_BS,
            scale=2.0,
        )

    def at(self, step):
        return self.replace(level=jnp.where(self.climbs, step.astype(jnp.float32), self.level))

    def count(self, batch):
        return {"levels": jnp.round(jnp.mean(batch.inputs[:, :, 0]))[None].astype(jnp.int32)}

    def evaluation_sets(self):
        return {"default": self}


@setting
class First(Predictor):
    """factor x_1 + bias, at every slot or at the last `slots` of them."""

    factor: Leaf = 1.0
    fitted: bool = static(False)
    slots: int = static(3)
    trains: bool = static(True)

    @property
    def phases(self):
        return (Phase(),) if self.trains else ()

    def init(self, key, batch):
        factor = jnp.mean(batch.inputs[:, :, 0] * batch.targets) if self.fitted else jnp.asarray(self.factor, float)
        return {"factor": factor, "kernel": jnp.ones(())}

    def apply(self, params, batch, *, record=False):
        return Outputs(values=params["factor"] * params["kernel"] * batch.inputs[:, -self.slots :, 0])


@setting
class Gap(Comparison):
    """The difference of the answers per slot, and the last one's where it is positive."""

    references: tuple[str, ...] = static(())

    def compare(self, a, b, batch):
        gap_BP = a(batch) - b(batch)
        return {"gap": gap_BP, "last": jnp.where(gap_BP[:, -1] > 0, gap_BP[:, -1], jnp.nan)}


def _member(
    predictor=None, task=None, *, eval_task=None, sequences=40, bootstrap=0, references=None, gap=None, **training
):
    task = task or Sums()
    return Member(
        predictor=predictor or First(),
        task=task,
        eval_task=eval_task or task,
        training=Training(**{"steps": 0, "batch_size": 8, "learning_rate": 0.01} | training),
        evaluation=Evaluation(sequences=sequences, batch_size=20, points=1, bootstrap=bootstrap),
        references=references or {},
        comparisons={"gap": gap or Gap()} if references else {},
        seed=5,
    )


def _evaluated(member):
    """What a member measures on its evaluation set "default" before training, and the sequences it was measured on."""
    chunk, *_ = simulate(group(member))
    batches = [
        member.eval_task.sample(jax.random.fold_in(stream(5, "eval", 0), number), 20)
        for number in range(member.evaluation.sequences // 20)
    ]
    together = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    return {metric: column[0] for (where, metric), column in chunk.measures.items() if where == "default"}, together


def test_errors_of_slots_and_their_weighted_mean():
    found, batch = _evaluated(_member(First(factor=1.5)))
    error_BS = (1.5 * batch.inputs[:, :, 0] - batch.targets) ** 2
    by_slot = error_BS.mean(axis=0) / 2
    for slot in (1, 2):
        assert found[f"normalized_error/{slot}"] == pytest.approx(by_slot[slot], rel=1e-5)
    assert np.isnan(found["normalized_error/0"])  # nothing is asked there
    assert found["normalized_error"] == pytest.approx((by_slot[1] + 3 * by_slot[2]) / 4, rel=1e-5)
    assert found["squared_error"] == pytest.approx((by_slot[1] + 3 * by_slot[2]) / 2, rel=1e-5)
    clean_BS = (1.5 * batch.inputs[:, :, 0] - batch.latents["clean"]) ** 2 / 2
    assert found["clean_error/2"] == pytest.approx(clean_BS[:, 2].mean(), rel=1e-5)


def test_who_answers_the_last_slots_is_measured_there():
    found, batch = _evaluated(_member(First(slots=2)))
    error_BS = (batch.inputs[:, :, 0] - batch.targets) ** 2 / 2
    assert "normalized_error/0" not in found
    assert found["normalized_error/1"] == pytest.approx(error_BS[:, 1].mean(), rel=1e-5)
    found, _ = _evaluated(_member(First(slots=1)))
    assert not any("/" in metric for metric in found)
    assert found["normalized_error"] == pytest.approx(error_BS[:, 2].mean(), rel=1e-5)


@setting
class Named(Sums):
    """The same, with two of its slots told at positions of its own, one of them traced."""

    late: Leaf = 2

    def positions(self):
        return {7: 1, 100: self.late}


def test_a_task_says_at_which_positions_its_slots_are_told():
    found, batch = _evaluated(_member(task=Named()))
    by_slot = ((batch.inputs[:, :, 0] - batch.targets) ** 2).mean(axis=0) / 2
    assert {metric for metric in found if metric.startswith("normalized_error/")} == {
        "normalized_error/7",
        "normalized_error/100",
    }
    assert found["normalized_error/7"] == pytest.approx(by_slot[1], rel=1e-5)
    assert found["normalized_error/100"] == pytest.approx(by_slot[2], rel=1e-5)
    found, _ = _evaluated(_member(First(slots=2), task=Named(late=0)))
    assert found["normalized_error/7"] == pytest.approx(by_slot[1], rel=1e-5)
    assert np.isnan(found["normalized_error/100"])  # of a slot that is not answered


def test_where_only_the_query_is_asked_the_other_answers_do_not_count():
    found, batch = _evaluated(_member(task=Sums(asked=False)))
    error_B = (batch.inputs[:, -1, 0] - batch.targets[:, -1]) ** 2
    assert found["squared_error"] == pytest.approx(error_B.mean(), rel=1e-5)
    assert not any("/" in metric for metric in found)


def test_the_loss_is_the_weighted_mean_over_slots():
    *_, (chunk, _) = run(group(_member(steps=1)))
    batch = Sums().sample(stream(5, "train", 0), 8)
    error_BS = np.square(batch.inputs[:, :, 0] - batch.targets)
    assert chunk.measures["training", "loss"][0] == pytest.approx((error_BS @ [0, 1, 3] / 4).mean(), rel=1e-5)


def test_comparisons_are_named_after_their_references():
    references = {"double": First(factor=2.0), "last": First(factor=0.5, slots=2)}
    found, batch = _evaluated(_member(references={"double": references["double"]}))
    gap_BS = -batch.inputs[:, :, 0]
    assert found["gap_double/1"] == pytest.approx(gap_BS[:, 1].mean(), rel=1e-5)
    assert found["gap_double"] == pytest.approx(gap_BS.mean(axis=0) @ [0, 1, 3] / 4, rel=1e-5)
    assert found["last_double"] == pytest.approx(gap_BS[gap_BS[:, 2] > 0, 2].mean(), rel=1e-5)
    found, _ = _evaluated(_member(First(slots=2), references=references, gap=Gap(references=("last",))))
    assert found["gap_last"] == pytest.approx(0.5 * -gap_BS[:, 1:].mean(axis=0) @ [1, 3] / 4, rel=1e-5)
    assert not any(metric.endswith("double") for metric in found)


def test_a_reference_that_fits_itself_does_so_on_what_is_evaluated_and_never_moves():
    far = Sums(level=2.0)
    member = _member(eval_task=far, references={"fit": First(fitted=True)}, steps=3)
    (_, before), *_, (chunk, after) = run(group(member))
    batch = far.sample(stream(5, "references", 0, 0), 40)
    fitted = np.mean(np.asarray(batch.inputs[:, :, 0] * batch.targets))
    assert before.references["fit"]["factor"][0] == pytest.approx(fitted, rel=1e-5)
    assert after.references["fit"]["factor"][0] == before.references["fit"]["factor"][0]
    assert after.parts["all"]["factor"][0] != before.parts["all"]["factor"][0]
    assert ("default", "gap_fit/2") in chunk.measures


def test_an_unknown_reference_of_a_comparison_is_refused():
    member = _member(references={"double": First()}, gap=Gap(references=("doubel",)))
    with pytest.raises(ValueError, match="A reference of a comparison is 'doubel'; .* Did you mean 'double'?"):
        member.check()


def test_who_has_no_phase_is_trained_by_its_init_alone():
    (chunk, state), *more = run(group(_member(First(fitted=True, trains=False), steps=10)))
    batch = Sums().sample(stream(5, "train", 0), 8)
    fitted = np.mean(np.asarray(batch.inputs[:, :, 0] * batch.targets))
    assert not more and chunk.step == 0 and not state.moments
    assert state.parts["all"]["factor"][0] == pytest.approx(fitted, rel=1e-5)


def test_a_curriculum_follows_the_step_of_training_alone():
    *_, (chunk, _) = run(group(_member(task=Sums(climbs=True), steps=5, batch_size=4000)))
    assert chunk.measures["training", "levels/0"][0] == 0 + 1 + 2 + 3 + 4
    found, _ = _evaluated(_member(task=Sums(climbs=True)))
    assert found["normalized_error"] < 2  # at level 0, where the second coordinate is all that is missing


@setting
class Bystander(First):
    """Trains the factor on the evaluated task, by a loss of its own."""

    @property
    def phases(self):
        return (Phase(scores=("own",), on_evaluated=True),)

    def apply(self, params, batch, *, record=False):
        own_B = (params["factor"] - jnp.mean(batch.inputs)) ** 2 + jnp.zeros(len(batch.targets))
        return Outputs(values=super().apply(params, batch).values, record={"own": own_B} if record else {})


def test_a_phase_can_train_on_what_is_evaluated_and_by_losses_of_its_own():
    member = _member(Bystander(factor=0.0), eval_task=Sums(level=3.0), steps=400, learning_rate=0.1, batch_size=64)
    *_, (_, state) = run(group(member))
    assert state.parts["all"]["factor"][0] == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("resamples", [200])
def test_bootstrap_bands_hold_the_mean_and_shrink_with_the_sequences(resamples):
    few, _ = _evaluated(_member(First(factor=0.2), bootstrap=resamples))
    many, _ = _evaluated(_member(First(factor=0.2), bootstrap=resamples, sequences=4000))
    for found in (few, many):
        assert found["normalized_error_from/2"] < found["normalized_error/2"] < found["normalized_error_to/2"]
    width = [found["clean_error_to/1"] - found["clean_error_from/1"] for found in (few, many)]
    assert 5 < width[0] / width[1] < 20  # the root of 100


@pytest.mark.parametrize(("norm", "kept"), [(0.1, True), (1e6, False)])
def test_clipped_gradients_have_at_most_the_norm(norm, kept):
    """Adam forgets the length of a gradient but for its epsilon: if that is large, a step is rate g / epsilon."""
    member = _member(First(factor=4.0), steps=1, clip_norm=norm, adam_epsilon=1e4, learning_rate=1e4)
    (_, before), *_, (_, after) = run(group(member))
    step = [before.parts["all"][name][0] - after.parts["all"][name][0] for name in ("factor", "kernel")]
    batch = Sums().sample(stream(5, "train", 0), 8)
    x_BS = batch.inputs[:, :, 0]
    slope = (2 * (4 * x_BS - batch.targets) * x_BS @ np.asarray([0, 1, 3]) / 4).mean()
    gradient = np.asarray([slope, 4 * slope])
    length = np.linalg.norm(gradient)
    np.testing.assert_allclose(step, gradient * (norm / length if kept else 1), rtol=5e-3)


def test_the_penalty_is_in_the_gradient_of_every_parameter():
    """With an epsilon so large a step of Adam is rate g / epsilon, so that steps differ by the penalty's gradient."""
    free, held = (
        [state.parts["all"] for _, state in (chunks[0], chunks[-1])]
        for l2 in (None, 0.25)
        for chunks in (run(group(_member(First(factor=4.0), steps=1, l2=l2, adam_epsilon=1e6, learning_rate=1e6))),)
    )
    for name in ("factor", "kernel"):
        assert free[0][name][0] == held[0][name][0] != 0
        assert free[1][name][0] - held[1][name][0] == pytest.approx(0.25 * free[0][name][0], rel=5e-3)


def test_decay_pulls_kernels_alone():
    decayed, free = (
        run(group(_member(First(factor=0.5), steps=1, learning_rate=0.1, weight_decay=decay)))[-1][1].parts["all"]
        for decay in (0.5, None)
    )
    assert decayed["factor"][0] == free["factor"][0]
    assert decayed["kernel"][0] == pytest.approx(free["kernel"][0] - 0.1 * 0.5 * 1.0, rel=1e-6)


def test_microbatches_change_nothing_but_rounding():
    whole, parts = (run(group(_member(steps=20, batch_size=12, microbatches=n)))[-1] for n in (1, 3))
    for name in ("factor", "kernel"):
        np.testing.assert_allclose(*(state.parts["all"][name] for _, state in (whole, parts)), rtol=1e-5)
    losses = [chunk.measures["training", "loss"][0] for chunk, _ in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    with pytest.raises(ValueError, match="microbatches is 5; it must be at least 1 and divide training.batch_size, 12"):
        Training(batch_size=12, microbatches=5).check()
