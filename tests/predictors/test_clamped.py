"""What each clamp makes of the intermediates that it is of, what is left as it was, and training under clamps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icl_sim as icl
from icl_sim.engine.settings import Evaluation, Member, Training
from icl_sim.engine.step import initial_state, train
from icl_sim.predictors import Ablated, Clamped, Frozen, InductionNetwork, KernelCopy, Transformer
from icl_sim.predictors.clamped import (
    CopiedItems,
    CopiedLabels,
    InductionPattern,
    LabelsOnly,
    Match,
    NoPreviousToken,
    PreviousToken,
    Temperature,
)
from icl_sim.studies import codec
from icl_sim.studies.plan import plan
from icl_sim.tasks.sequences.presets import reddy
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Batch, Outputs, Phase
from tests.engine.toys import Corners

NETWORK = Transformer(depth=2, width=8, heads=2, mlp_ratio=0, position="rotary")
LABELS, ITEMS = np.array([1, 3, 5]), np.array([0, 2, 4, 6])


@pytest.fixture(scope="module")
def known():
    """A batch of three pairs and a query of 4-d items, and parameters with none 0."""
    rng = np.random.default_rng(0)
    right = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]])
    batch = Batch(
        inputs=jnp.asarray(rng.normal(size=(4, 4, 4)), jnp.float32),
        targets=jnp.asarray([[0, 1, 2, 0], [3, 3, 0, 3], [1, 2, 4, 0], [2, 2, 2, 2]]),
        kinds=jnp.asarray(np.c_[np.where(right, SUPPORT, CONTEXT), np.full(4, QUERY)], jnp.int8),
        num_classes=5,
    )
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), batch)
    return batch, jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2, jnp.float32), shapes)


@pytest.fixture(scope="module")
def told(known):
    """The record under some clamps, and the answers: `told(*clamps)`."""
    batch, params = known
    apply = jax.jit(lambda model, params: model.apply(params, batch, record=True))

    def of(*clamps):
        outputs = apply(Clamped(network=NETWORK, clamps=clamps), params)
        return jax.tree.map(np.asarray, {**outputs.record, "answers": outputs.values})

    return of


@pytest.fixture(scope="module")
def free(known):
    batch, params = known
    outputs = jax.jit(lambda params: NETWORK.apply(params, batch, record=True, clamps={}))(params)
    return jax.tree.map(np.asarray, {**outputs.record, "answers": outputs.values})


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize(("rows", "clamped"), [("all", range(7)), ("labels", LABELS)])
def test_a_perfect_previous_token_pattern(rows, clamped, told, free):
    record = told(PreviousToken(layer=0, heads=(1,), rows=rows, strength=0.75))
    for t in range(7):
        expected = free["attention/0"][:, 1, t]
        if t in clamped:
            expected = np.zeros((4, 7))
            expected[:, t] = 0.25
            expected[:, max(t - 1, 0)] += 0.75
        np.testing.assert_allclose(record["attention/0"][:, 1, t], expected, atol=1e-6)
    np.testing.assert_allclose(record["attention/0"][:, 0], free["attention/0"][:, 0], atol=1e-6)
    mixed = np.einsum("bhqt,bhtk->bhqk", record["attention/0"], free["values/0"])
    np.testing.assert_allclose(record["heads/0"], mixed, atol=1e-5)
    assert not np.allclose(record["answers"], free["answers"], atol=1e-3)
    np.testing.assert_allclose(record["unclamped"], free["answers"], atol=1e-5)


@pytest.mark.parametrize(("rows", "clamped"), [("all", range(1, 7)), ("labels", LABELS)])
def test_who_cannot_look_at_the_token_before_shares_its_weight(rows, clamped, told, free):
    record = told(NoPreviousToken(layer=0, rows=rows))
    for t in range(7):
        expected = free["attention/0"][:, :, t].copy()
        if t in clamped:
            expected[:, :, t - 1] = 0
            expected /= expected.sum(-1, keepdims=True)
        np.testing.assert_allclose(record["attention/0"][:, :, t], expected, atol=1e-5)


def test_a_perfect_induction_pattern(told, free):
    """Of one right label, of two, of none and of all: s and 1 - s, shared evenly, unless one of the two is empty."""
    record = told(InductionPattern(layer=1, heads=(0,), strength=0.8))
    expected = np.zeros((4, 7))
    expected[:, LABELS] = [[0.8, 0.1, 0.1], [0.4, 0.4, 0.2], [1 / 3] * 3, [1 / 3] * 3]
    np.testing.assert_allclose(record["attention/1"][:, 0, -1], expected, atol=1e-6)
    np.testing.assert_allclose(record["attention/1"][:, 0, :-1], free["attention/1"][:, 0, :-1], atol=1e-6)
    np.testing.assert_allclose(record["attention/1"][:, 1], free["attention/1"][:, 1], atol=1e-6)


def test_a_match_of_items(told, free, known):
    record = told(Match(layer=1, heads=(1,), temperature=0.5))
    x = np.asarray(known[0].inputs, np.float64)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    expected = np.zeros((4, 7))
    expected[:, LABELS] = softmax(np.einsum("blx,bx->bl", x[:, :-1], x[:, -1]) / 0.5)
    np.testing.assert_allclose(record["attention/1"][:, 1, -1], expected, atol=1e-5)
    np.testing.assert_allclose(record["attention/1"][:, 0], free["attention/1"][:, 0], atol=1e-6)


def test_labels_alone_and_sharper(told, free):
    """Two clamps of the same scores, one after the other."""
    record = told(LabelsOnly(layer=1), Temperature(layer=1, heads=(0,), temperature=0.25))
    score = free["scores/1"][:, :, -1][..., LABELS] / np.array([0.25, 1.0])[:, None]
    np.testing.assert_allclose(record["attention/1"][:, :, -1][..., LABELS], softmax(score), atol=1e-5)
    assert np.all(record["attention/1"][:, :, -1][..., ITEMS] == 0)
    np.testing.assert_allclose(record["attention/1"][:, 1, :-1], free["attention/1"][:, 1, :-1], atol=1e-6)


def test_answers_that_are_a_heads_scores_of_labels(told, free):
    record = told(CopiedLabels(layer=1, head=1))
    np.testing.assert_allclose(record["scores/1"], free["scores/1"], atol=1e-5)
    score = free["scores/1"][:, 1, -1][:, LABELS]
    np.testing.assert_allclose(record["answers"][0, :3], score[0], atol=1e-5)  # each label once: the scores themselves
    assert np.all(record["answers"][0, 3:] == -1e9)
    summed = softmax(score[1])
    np.testing.assert_allclose(softmax(record["answers"][1])[[3, 0]], [summed[0] + summed[1], summed[2]], atol=1e-5)


def test_labels_that_carry_their_items_to_the_match_and_themselves_to_the_values(told, free, known):
    """Against the next layer applied by hand to either stream."""
    batch, params = known
    record = told(CopiedItems(layer=0))
    tokens = record["residual/0"]
    to_match, to_copy = record["residual/1"].copy(), record["residual/1"].copy()
    to_match[:, LABELS], to_copy[:, LABELS] = tokens[:, LABELS - 1], tokens[:, LABELS]
    np.testing.assert_array_equal(record["residual/1"], to_copy)
    apply = jax.jit(
        lambda stream: NETWORK.apply(params, batch, record=True, clamps={"residual/1": (stream, True)}).record
    )
    matched, copied = (jax.tree.map(np.asarray, dict(apply(stream))) for stream in (to_match, to_copy))
    np.testing.assert_allclose(record["attention/1"], matched["attention/1"], atol=1e-5)
    np.testing.assert_allclose(record["values/1"], copied["values/1"], atol=1e-5)
    mixed = np.einsum("bhqt,bhtk->bhqk", matched["attention/1"], copied["values/1"])
    np.testing.assert_allclose(record["heads/1"], mixed, atol=1e-5)
    assert not np.allclose(matched["attention/1"], copied["attention/1"], atol=1e-2)


def test_clamps_from_outside_win_and_reach_what_is_inside_wrappers(known):
    batch, params = known
    inner = Frozen(network=Clamped(network=NETWORK, clamps=(PreviousToken(layer=0),)))
    model = Clamped(network=inner, clamps=(PreviousToken(layer=0, heads=(0,), strength=0.5),))
    maps = np.asarray(jax.jit(lambda params: model.apply(params, batch, record=True).record["attention/0"])(params))
    assert np.all(maps[:, 0, 3, [2, 3]] == 0.5) and np.all(maps[:, 1, 3, [2, 3]] == [1, 0])
    told = jax.jit(lambda params: Ablated(network=inner).apply(params, batch, record=True).record)(params)
    assert np.all(told["attention/0"][:, :, 3, 2] == 1) and "unclamped" in told and "without/1.0" in told
    outputs = Outputs(values=jnp.zeros((4, 5)), record=told)
    assert "unclamped_error" in Ablated(network=inner).report(outputs, batch)


def test_training_moves_what_is_not_clamped_and_not_what_is():
    """The maps of the first layer given, its queries and keys have no gradient; its values have."""
    task = reddy(num_classes=8, num_labels=4, burst=2, context_length=4)
    model = Clamped(network=InductionNetwork(hidden=(4,)), clamps=(PreviousToken(layer=0, strength=0.9),))
    model.check()
    member = Member(
        predictor=model,
        task=task,
        eval_task=task,
        training=Training(steps=3, batch_size=8, learning_rate=0.01),
        evaluation=Evaluation(sequences=8, batch_size=8),
    )
    (phase,) = model.phases
    assert phase == Phase(trains=("attention", "classifier"))
    before, after = jax.jit(lambda: (state := initial_state(member, None), train(member, state, None, 0, 3, phase)))()
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before.parts, after.parts)
    still = {name for name, did in moved["attention"].items() if not did}
    assert still == {"key0", "query0"} and all(moved["classifier"]["layer0"].values())


CLAMPS = "predictors.network.clamps"


def test_a_clamp_is_swept_by_its_number_and_written_down():
    clamps = (PreviousToken(layer=0, heads=(1,)), Temperature(layer=1, temperature=2))
    study = icl.Study(
        task=Corners(),
        predictors={"network": Clamped(network=Transformer(width=8, heads=2), clamps=clamps)},
        sweep=icl.product(
            {"predictors.network.clamps.0.strength": (0.0, 0.5, 1), "predictors.network.clamps.1.heads": ((0,),)}
        ),
    )
    planned = plan(study)
    assert len(planned.groups) == 1  # strengths are leaves
    found = [entry.member.predictor.clamps for entry in planned.entries]
    assert [clamps[0].strength for clamps in found] == [0, 0.5, 1] and {clamps[1].heads for clamps in found} == {(0,)}
    assert found[0][1].temperature == 2.0 and type(found[0][1].temperature) is float
    assert study.value(f"{CLAMPS}.1.temperature") == 2.0
    for again in (
        codec.decode(codec.from_json(codec.jsonable(codec.encode(study)))),
        codec.study_of(codec.config_of(study)),
    ):
        assert again.predictors == study.predictors and codec.fingerprint(again) == codec.fingerprint(study)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (f"{CLAMPS}.2.strength", 1.0, "clamps is a tuple, so .*clamps.2.strength does not exist; allowed: 0.FIELD"),
        (f"{CLAMPS}.0.strenth", 1.0, "clamps.0 has no field 'strenth'; .*Did you mean 'strength'?"),
        (CLAMPS, (1.0,), "clamps holds 1.0; it must hold one that extends icl_sim.predictors.clamped.Clamp"),
    ],
)
def test_wrong_names_of_clamps(name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        icl.Study(task=Corners(), predictors={"network": Clamped()}, sweep=icl.product({name: (value,)}))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Clamped(clamps=()), "Clamped has no clamps"),
        (Clamped(network=KernelCopy()), "Clamped overwrites intermediates of a network, and KernelCopy does not"),
        (Clamped(clamps=(PreviousToken(layer=-1),)), "The layer of PreviousToken is -1"),
        (Clamped(clamps=(PreviousToken(heads=(-1,)),)), r"The heads of PreviousToken are \(-1,\)"),
        (
            Clamped(clamps=(PreviousToken(rows="label"),)),
            "The rows of PreviousToken is 'label'.*Did you mean 'labels'?",
        ),
        (Clamped(clamps=(InductionPattern(strength=1.5),)), "The strength of InductionPattern is 1.5"),
        (Clamped(clamps=(Match(temperature=0.0),)), "The temperature of Match is 0.0; it must be positive"),
        (Clamped(clamps=(CopiedLabels(head=-1),)), "The head of CopiedLabels is -1"),
    ],
)
def test_impossible_clamps_are_refused(model, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.check()


@pytest.mark.parametrize(
    ("clamp", "sentence"),
    [
        (PreviousToken(layer=2), "A clamp is of layer 2; the network has 2 layers"),
        (PreviousToken(heads=(2,)), "PreviousToken clamps head 2 of layer 0, which has 2 heads"),
        (CopiedLabels(head=2), "CopiedLabels clamps head 2 of layer 1, which has 2 heads"),
        (CopiedItems(layer=1), "CopiedItems clamps layer 1 for the next to read, and the network has none"),
    ],
)
def test_clamps_of_what_the_network_does_not_have(clamp, sentence, known):
    batch, params = known
    with pytest.raises(ValueError, match=sentence):
        jax.eval_shape(lambda params: Clamped(network=NETWORK, clamps=(clamp,)).apply(params, batch).values, params)
