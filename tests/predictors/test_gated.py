"""The gated mixture is the convex combination of its parts; its gate is never trained over untrained ones."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.predictors import PREDICTORS, Gated, InWeightMLP, KernelCopy, ResidualEncoder, with_parts
from icl_sim.types import SUPPORT, Outputs


def test_is_exactly_the_convex_combination_of_its_parts(make_batch, random_params):
    batch, model = make_batch(length=3, shape=(4,)), Gated()
    params = random_params(model.init, batch)
    out = model.apply(params, batch, record=True)
    g = np.exp(InWeightMLP().apply(params["in_weight"], batch).values)
    h = np.exp(KernelCopy().apply(params["in_context"], batch).values)
    a = np.asarray(out.record["gate"])[:, None]
    assert np.all((a > 0) & (a < 1)) and np.ptp(a) > 0
    np.testing.assert_allclose(np.exp(out.values), a * g + (1 - a) * h, rtol=1e-5)
    np.testing.assert_allclose(np.exp(out.values).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(("bias", "part"), [(40.0, "in_weight"), (-40.0, "in_context")])
def test_a_shut_gate_leaves_one_part(bias, part, make_batch, random_params):
    batch, model = make_batch(length=2, shape=(4,)), Gated()
    params = random_params(model.init, batch)
    params["gate"]["layers"]["2"]["bias"] = jnp.asarray([bias])
    out = model.apply(params, batch, record=True)
    np.testing.assert_allclose(out.values, out.record[part], atol=1e-5)


def test_the_gate_sees_inputs_and_no_label(make_batch, random_params):
    batch, model = make_batch(shape=(4,)), Gated()
    params = random_params(model.init, batch)
    gate = model.apply(params, batch, record=True).record["gate"]
    other = dataclasses.replace(batch, targets=(batch.targets + 1) % 10)
    np.testing.assert_array_equal(gate, model.apply(params, other, record=True).record["gate"])
    for slot in range(3):
        moved = dataclasses.replace(batch, inputs=batch.inputs.at[:, slot].add(1.0))
        assert np.all(gate != model.apply(params, moved, record=True).record["gate"])


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


def test_two_phases_train_the_parts_first_and_then_only_the_gate(make_batch, random_params):
    parts, gate = Gated(protocol="two_phase", parts_share=0.75).phases
    params = random_params(Gated().init, make_batch())
    assert set(parts.trains) | set(gate.trains) == set(params)
    assert not set(parts.trains) & set(gate.trains)
    assert (parts.share, gate.share) == (0.75, 0.25) and gate.scores == ()
    record = Gated().apply(params, make_batch(), record=True).record
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


@pytest.mark.parametrize("name", sorted(PREDICTORS))
def test_no_predictor_reads_the_target_of_the_query(name, make_batch, random_params):
    batch, model = make_batch(shape=(4,)), PREDICTORS[name]()
    model.check()
    params = random_params(model.init, batch)
    poisoned = dataclasses.replace(batch, targets=batch.targets.at[:, -1].set(-(2**31)))
    apply = jax.jit(model.apply)
    values = apply(params, batch).values
    assert values.shape == (3, 10) and np.all(np.isfinite(values))
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
