"""The gated mixture is the convex combination of its parts; its gate is never trained over untrained ones."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import metrics
from icl_sim.engine.devices import member_mesh
from icl_sim.engine.program import Program
from icl_sim.engine.step import join
from icl_sim.predictors import (
    PREDICTORS,
    Gated,
    InWeightMLP,
    KernelCopy,
    ResidualEncoder,
    TwoLayerNet,
    with_parts,
)
from icl_sim.tasks import Regression
from icl_sim.tasks.regression import Linear
from icl_sim.types import SUPPORT, Outputs
from tests.engine import toys


def test_is_exactly_the_convex_combination_of_its_parts(make_batch, random_params, apply):
    batch, model = make_batch(length=3, shape=(4,)), Gated()
    params = random_params(model.init, batch)
    out = apply(model, params, batch, record=True)
    g = np.exp(apply(InWeightMLP(), params["in_weight"], batch).values)
    h = np.exp(apply(KernelCopy(), params["in_context"], batch).values)
    a = np.asarray(out.record["gate"])[:, None]
    assert np.all((a > 0) & (a < 1)) and np.ptp(a) > 0
    np.testing.assert_allclose(np.exp(out.values), a * g + (1 - a) * h, rtol=1e-5)
    np.testing.assert_allclose(np.exp(out.values).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(("bias", "part"), [(40.0, "in_weight"), (-40.0, "in_context")])
def test_a_shut_gate_leaves_one_part(bias, part, make_batch, random_params, apply):
    batch, model = make_batch(length=2, shape=(4,)), Gated()
    params = random_params(model.init, batch)
    params["gate"]["layers"]["2"]["bias"] = jnp.asarray([bias])
    out = apply(model, params, batch, record=True)
    np.testing.assert_allclose(out.values, out.record[part], atol=1e-5)


def test_the_gate_sees_inputs_and_no_label(make_batch, random_params, apply):
    batch, model = make_batch(shape=(4,)), Gated()
    params = random_params(model.init, batch)
    gate = apply(model, params, batch, record=True).record["gate"]
    other = dataclasses.replace(batch, targets=(batch.targets + 1) % 10)
    np.testing.assert_array_equal(gate, apply(model, params, other, record=True).record["gate"])
    for slot in range(3):
        moved = dataclasses.replace(batch, inputs=np.asarray(batch.inputs) + np.eye(3, dtype=np.float32)[slot, :, None])
        assert np.all(gate != apply(model, params, moved, record=True).record["gate"])


def test_reports_shares_and_errors():
    batch_kinds = jnp.asarray([[SUPPORT, 2], [0, 2], [SUPPORT, 2]], jnp.int8)
    log_g = jnp.log(jnp.asarray([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]))
    record = {"gate": jnp.asarray([0.5, 0.7, 0.1]), "in_weight": log_g, "in_context": log_g[:, ::-1]}
    targets = jnp.asarray([[0, 0], [1, 0], [0, 0]])
    batch = dataclasses.make_dataclass("Stub", ["kinds", "targets"])(batch_kinds, targets)
    report = Gated().report(Outputs(values=log_g, record=record), batch)
    np.testing.assert_array_equal(report["gate_share"], [1, 1, 0])
    np.testing.assert_array_equal(report["gate_share_matched"], [1, np.nan, 0])
    np.testing.assert_array_equal(report["in_weight_error"], [0, 0, 1])
    np.testing.assert_array_equal(report["in_context_error"], [1, 1, 0])
    np.testing.assert_array_equal(report["gate_mean"], record["gate"])


def test_two_phases_train_the_parts_first_and_then_only_the_gate(make_batch, random_params, apply):
    parts, gate = Gated(protocol="two_phase", parts_share=0.75).phases
    params = random_params(Gated().init, make_batch())
    assert set(parts.trains) | set(gate.trains) == set(params)
    assert not set(parts.trains) & set(gate.trains)
    assert (parts.share, gate.share) == (0.75, 0.25) and gate.scores == ()
    record = apply(Gated(), params, make_batch(), record=True).record
    assert set(parts.scores) <= set(record)
    assert [phase.share for phase in Gated().phases] == [1.0]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_refuses_a_gate_over_untrained_parts(share):
    with pytest.raises(ValueError, match="must not be trained over untrained parts"):
        Gated(protocol="two_phase", parts_share=share).check()
    with pytest.raises(ValueError, match="Did you mean 'two_phase'"):
        Gated(protocol="twophase").check()


def test_parts_from_elsewhere_must_be_trained(make_batch, random_params):
    initial = random_params(Gated().init, make_batch())
    trained = jax.tree.map(lambda leaf: leaf + 1.0, initial)
    joined = with_parts(initial, trained["in_weight"], trained["in_context"])
    assert joined["gate"] is initial["gate"] and joined["in_weight"] is trained["in_weight"]
    assert with_parts(initial, trained["in_weight"], None)["in_context"] is initial["in_context"]
    with pytest.raises(ValueError, match="for in_weight equal their initialisation"):
        with_parts(initial, initial["in_weight"], trained["in_context"])
    with pytest.raises(ValueError, match="for in_context equal their initialisation"):
        with_parts(initial, trained["in_weight"], initial["in_context"])
    with pytest.raises(ValueError, match="do not have the shapes"):
        with_parts(initial, trained["gate"], None)


OF_CLASSES = (
    "gated",
    "in_weight",
    "induction",
    "induction_head",
    "kernel_copy",
    "nearest",
    "recurrent",
    "transformer",
)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_no_predictor_reads_the_class_of_the_query(name, make_batch, random_params):
    batch, model = make_batch(shape=(4,)), PREDICTORS[name]()
    model.check()
    params = random_params(model.init, batch)
    poisoned = dataclasses.replace(batch, targets=batch.targets.at[:, -1].set(-(2**31)))
    apply = jax.jit(model.apply)
    values = apply(params, batch).values
    assert values.shape == (3, 10) and np.all(np.isfinite(values))
    np.testing.assert_array_equal(values, apply(params, poisoned).values)


# What regression is not for.
REFUSED = {"gated", "hidden_markov", "in_weight", "induction", "induction_head", "kernel_copy", "logistic_regression"}


@pytest.fixture(scope="module")
def prompts():
    """Of regression, with the last target as it is and as a number that nobody overlooks."""
    task = Regression(dim=3, context_length=4, noise=0.3, function=Linear(pool=4.0))
    batch = jax.tree.map(np.asarray, jax.jit(lambda key: task.sample(key, 3))(jax.random.key(0)))
    targets_BS = batch.targets.copy()
    targets_BS[:, -1] = 1e30
    return batch, dataclasses.replace(batch, targets=targets_BS)


@pytest.mark.parametrize("name", sorted(set(PREDICTORS) - REFUSED))
def test_no_predictor_reads_the_value_of_the_last_slot(name, prompts, random_params):
    if name in ("boosting", "tree"):
        pytest.importorskip("sklearn")
    batch, poisoned = prompts
    model = TwoLayerNet(steps=20) if name == "two_layer" else PREDICTORS[name]()
    model.check()
    params = random_params(model.init, batch)
    apply = jax.jit(model.apply)
    values = apply(params, batch).values
    assert values.shape == (3, 5) and np.all(np.isfinite(values))
    np.testing.assert_array_equal(values, apply(params, poisoned).values)


def test_images_with_and_without_encoders(make_batch, key):
    batch = make_batch(sequences=2, length=1, shape=(28, 28, 1), classes=5)
    encoder = ResidualEncoder(stem="small", stem_width=4, widths=(4, 8), strides=(1, 2), blocks=1)
    encoded = Gated(
        in_weight=InWeightMLP(encoder=encoder), in_context=KernelCopy(encoder=encoder), encoder=encoder
    )
    for model in (Gated(), encoded):
        outputs = jax.eval_shape(lambda key, model=model: model.apply(model.init(key, batch), batch), key)
        assert outputs.values.shape == (2, 5)
    # Without an encoder, h compares raw pixels.
    params = {"theta": jnp.asarray(0.0)}
    flat = dataclasses.replace(batch, inputs=batch.inputs.reshape(2, 2, 784))
    np.testing.assert_array_equal(
        KernelCopy().apply(params, batch).values, KernelCopy().apply(params, flat).values
    )


# ------------------------------------------------------------------------------- as in Algorithm 1

SIMULTANEOUS = Gated(protocol="simultaneous")


def gradients(loss, params):
    return jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(params))


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b)
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(a))  # so that the comparison says something


def scored(model):
    """What the engine minimises in the model's only phase."""
    (phase,) = model.phases

    def loss(params, batch):
        outputs = model.apply(params, batch, record=True)
        if not phase.scores:
            return jnp.mean(metrics.loss(outputs, batch))
        return sum(jnp.mean(metrics.log_loss(outputs.record[name], batch)) for name in phase.scores)

    return loss


@pytest.mark.parametrize("sees", ["sequence", "query"])
def test_at_once_each_part_has_the_gradient_of_its_own_loss_alone(sees, make_batch, random_params, apply):
    batch = make_batch(sequences=8, length=3, shape=(4,), classes=4)  # most contexts hold the answer
    model = dataclasses.replace(SIMULTANEOUS, gate_sees=sees)
    model.check()
    params = random_params(model.init, batch)
    params["gate"] = jax.tree.map(lambda leaf: leaf / 4, params["gate"])  # ajar
    found = gradients(lambda p: scored(model)(p, batch), params)

    def alone(name, part):
        return gradients(lambda p: jnp.mean(metrics.loss(part.apply(p, batch), batch)), params[name])

    assert_close(found["in_weight"], alone("in_weight", model.in_weight))
    assert_close(found["in_context"], alone("in_context", model.in_context))
    # The gate's own is a l(g) + (1 - a) l(h), with the losses of the parts as numbers.
    end_to_end = dataclasses.replace(model, protocol="end_to_end")
    record = apply(end_to_end, params, batch, record=True).record
    at_label = jnp.arange(8), batch.targets[:, -1]
    g_B, h_B = (-np.asarray(record[name][at_label]) for name in ("in_weight", "in_context"))

    def linear(params):
        gate_B = end_to_end.apply(params, batch, record=True).record["gate"]
        return jnp.mean(gate_B * g_B + (1 - gate_B) * h_B)

    assert_close(found["gate"], gradients(linear, params)["gate"])
    # End to end, g learns what h leaves over: another gradient.
    mixture = gradients(lambda p: scored(end_to_end)(p, batch), params)
    different = jax.tree.map(lambda x, y: np.abs(x - y).max() > 1e-4, found["in_weight"], mixture["in_weight"])
    assert any(jax.tree.leaves(different))


def test_at_once_it_says_what_it_says_end_to_end(make_batch, random_params):
    batch = make_batch(length=3, shape=(4,))
    params = random_params(Gated().init, batch)
    ours, theirs = (model.apply(params, batch, record=True) for model in (SIMULTANEOUS, Gated()))
    np.testing.assert_array_equal(ours.values, theirs.values)
    g_BC, h_BC, a_B1 = ours.record["in_weight"], ours.record["in_context"], ours.record["gate"][:, None]
    np.testing.assert_allclose(ours.record["linear"], a_B1 * g_BC + (1 - a_B1) * h_BC, rtol=1e-5)
    assert set(ours.record) - set(theirs.record) == {"linear"}
    (phase,) = SIMULTANEOUS.phases
    assert (phase.share, phase.trains, set(phase.scores)) == (1.0, (), {"in_weight", "in_context", "linear"})


def test_the_engine_trains_the_parts_at_once_as_in_the_first_of_two_phases():
    small = {"in_weight": InWeightMLP(hidden=(3,)), "hidden": (3,)}

    def trained(protocol):
        program = Program(toys.group(toys.member(Gated(protocol=protocol, **small), steps=40)), member_mesh(1))
        first, *_ = Gated(protocol=protocol).phases
        start = program.fetch(program.start())
        return [join(state.parts) for state in (start, program.fetch(program.train(program.start(), 0, 20, first)))]

    (start, once), (_, first) = trained("simultaneous"), trained("two_phase")
    for part in ("in_weight", "in_context"):
        assert_close(once[part], first[part])
    moved = jax.tree.map(lambda a, b: np.any(a != b), start, once)
    assert all(any(jax.tree.leaves(moved[part])) for part in ("gate", "in_weight", "in_context"))


def test_a_gate_may_see_the_query_alone(make_batch, random_params, apply):
    batch, model = make_batch(length=2, shape=(4,)), Gated(gate_sees="query")
    params = random_params(model.init, batch)
    gate = apply(model, params, batch, record=True).record["gate"]
    for slot in range(3):
        moved = dataclasses.replace(batch, inputs=np.asarray(batch.inputs) + np.eye(3, dtype=np.float32)[slot, :, None])
        same = apply(model, params, moved, record=True).record["gate"] == gate
        assert np.all(same) if slot < 2 else not np.any(same)
    with pytest.raises(ValueError, match="gate_sees.*Did you mean 'query'"):
        Gated(gate_sees="qery").check()
    with pytest.raises(ValueError, match="protocol.*Did you mean 'simultaneous'"):
        Gated(protocol="simultanous").check()
