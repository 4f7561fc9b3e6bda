"""Algorithm 1 against a plain loop in double precision, its guarantees, and the exposures at which its gate turns."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import icl_sim as icl
from icl_sim.engine.devices import member_mesh
from icl_sim.engine.program import Program
from icl_sim.tasks import ClassMixture, Symbols
from icl_sim.theory import Counts, FollowTheRegularizedLeader, GradientDescent, Hedge, OnlineGated, online
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Batch, setting
from tests.engine.toys import assert_same, group, measures, member, run

TASK = ClassMixture(inputs=Symbols(), context_length=4, num_relevant=2, p_relevant=0.9, label_noise=0.1)
ROUNDS, X = 1500, 10


def _batch(classes_BS, targets_BS, num_classes) -> Batch:
    """Sequences of symbols, by class, under any labels."""
    classes_BS, targets_BS = np.asarray(classes_BS), np.asarray(targets_BS)
    kinds_BS = np.where(classes_BS == classes_BS[:, -1:], SUPPORT, CONTEXT)
    kinds_BS[:, -1] = QUERY
    return Batch(
        inputs=jnp.asarray(math.sqrt(2) * np.eye(num_classes)[classes_BS], jnp.float32),
        targets=jnp.asarray(targets_BS, jnp.int32),
        kinds=jnp.asarray(kinds_BS, jnp.int8),
        num_classes=num_classes,
    )


def _part(batch, first, end):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[first:end], batch)


@jax.jit
def _start(predictor, batch):
    return predictor.init(jax.random.key(0), batch)


@jax.jit
def _observe(predictor, params, batch):
    return predictor.observe(params, batch)


_account = jax.jit(lambda predictor, params: predictor.account(params))
_apply = jax.jit(lambda predictor, params, batch: predictor.apply(params, batch, record=True))


def _observed(predictor, batch):
    """The state after the batch from the start, the losses and the account."""
    params, losses_B = _observe(predictor, _start(predictor, batch), batch)
    return params, losses_B, _account(predictor, params)


@pytest.fixture(scope="module")
def sample():
    return jax.jit(TASK.sample, static_argnums=1)(jax.random.key(7), ROUNDS)


def _algorithm_1(batch, temperatures, floor):
    """g: add-1/2 counts. Gate: logit += l_h - l_g, one step of Hedge of rate 1. h: Hedge of rate 1, fed gradients."""
    inputs_BSX, targets_BS = np.asarray(batch.inputs, np.float64), np.asarray(batch.targets)
    J, C = len(temperatures), batch.num_classes
    counts_XC, logit_X, gradient_J = np.zeros((X, C)), np.zeros(X), np.zeros(J)
    rounds, switch_X2, loss_J, bound_h = [], np.full((X, 2), np.inf), np.zeros(J), math.log(J)
    for t, (inputs_SX, targets_S) in enumerate(zip(inputs_BSX, targets_BS, strict=True), start=1):
        x, y = int(np.flatnonzero(inputs_SX[-1])[0]), targets_S[-1]
        distance_L = np.square(inputs_SX[:-1] - inputs_SX[-1]).sum(axis=1)
        h_J = np.array([
            max(special.softmax(-distance_L / tau)[targets_S[:-1] == y].sum(), floor) for tau in temperatures
        ])
        h = special.softmax(-gradient_J) @ h_J
        g = (counts_XC[x, y] + 0.5) / (counts_XC[x].sum() + C / 2)
        gate, before = special.expit(logit_X[x]), logit_X[x]
        counts_XC[x, y] += 1
        logit_X[x] += math.log(g / h)
        if before <= 0 < logit_X[x]:
            switch_X2[x] = counts_XC[x].sum(), t
        gradient_J += -h_J / h
        bound_h += np.ptp(h_J / h) ** 2 / 8
        loss_J += -np.log(h_J)
        rounds.append((x, -math.log(gate * g + (1 - gate) * h), -math.log(g), -math.log(h), gate))
    switch_X2[logit_X <= 0] = np.inf
    x_B, f_B, g_B, h_B, gate_B = np.array(rounds).T

    def by_input(value_B):
        return np.bincount(x_B.astype(int), weights=value_B, minlength=X)

    n_X, f_X, g_X, h_X = counts_XC.sum(axis=1), by_input(f_B), by_input(g_B), by_input(h_B)
    better_X = np.minimum(g_X, h_X)
    entropy_X = special.entr(counts_XC / np.maximum(n_X, 1)[:, None]).sum(axis=1)
    slack_X = special.betaln((C - 1) / 2, 0.5) - special.betaln((C - 1) / 2, n_X + 0.5)
    with np.errstate(invalid="ignore"):
        losses = {"loss_mixture": f_X / n_X, "loss_in_weight": g_X / n_X, "loss_in_context": h_X / n_X}
    account = {
        "regret": (f_X - better_X).sum(),
        "regret_bound": math.log(2) * (n_X > 0).sum(),
        "regret_fixed": (f_X - np.minimum(n_X * entropy_X, h_X)).sum(),
        "regret_fixed_bound": math.log(2) * (n_X > 0).sum() + slack_X.sum(),
        "regret_gate": by_input(gate_B * g_B + (1 - gate_B) * h_B).sum() - better_X.sum(),
        "regret_gate_bound": math.log(2) * (n_X > 0).sum() + np.square(g_B - h_B).sum() / 8,
        "regret_in_weight": (g_X - n_X * entropy_X).sum(),
        "regret_in_weight_bound": slack_X.sum(),
        "regret_in_context": h_B.sum() - loss_J.min(),
        "regret_in_context_bound": bound_h if J > 1 else 0.0,
        "exposures": n_X,
        "gate": special.expit(logit_X),
        "switch_exposures": switch_X2[:, 0],
        "switch_time": switch_X2[:, 1],
        **losses,
    }
    return f_B, counts_XC, logit_X, gradient_J, account


# By hand.


@pytest.mark.parametrize(("temperatures", "floor"), [((1.0,), 0.01), ((1.0, math.inf), 0.05)])
def test_is_algorithm_1(sample, temperatures, floor):
    predictor = OnlineGated(temperatures=temperatures, floor=floor)
    params, losses_B, account = _observed(predictor, sample)
    f_B, counts_XC, logit_X, gradient_J, expected = _algorithm_1(sample, temperatures, floor)
    np.testing.assert_allclose(losses_B, f_B, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(params["in_weight"], counts_XC, rtol=1e-5)
    np.testing.assert_array_equal(params["labels"], counts_XC)
    np.testing.assert_allclose(params["gate"][:, 1] - params["gate"][:, 0], logit_X, rtol=1e-4, atol=1e-3)
    in_context_J = np.asarray(params["in_context"])
    np.testing.assert_allclose(in_context_J - in_context_J[0], gradient_J - gradient_J[0], rtol=1e-4, atol=1e-3)
    assert set(account) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(account[name], value, rtol=2e-4, atol=5e-3, err_msg=name)
    # Both have happened, so that the comparison says something.
    assert np.isfinite(account["switch_exposures"]).any() and np.isinf(account["switch_exposures"]).any()
    for name in ("exposures", "switch_exposures", "switch_time"):
        np.testing.assert_array_equal(account[name], expected[name], err_msg=name)


@pytest.mark.parametrize("cuts", [(1, 1000), (500, 1000)])
def test_batches_one_after_the_other_are_one_batch(sample, cuts):
    predictor = OnlineGated(temperatures=(1.0, math.inf))
    whole, losses_B, account = _observed(predictor, sample)
    params, parts = _start(predictor, sample), []
    for first, end in zip((0, *cuts), (*cuts, ROUNDS), strict=True):
        if first < end:
            params, losses = _observe(predictor, params, _part(sample, first, end))
            parts.append(losses)
    np.testing.assert_allclose(np.concatenate(parts), losses_B, rtol=1e-5, atol=1e-6)
    for name in ("in_weight", "gate", "in_context", "labels", "switch"):
        np.testing.assert_allclose(params[name], whole[name], rtol=1e-5, atol=1e-5, err_msg=name)
    for name, value in account.items():
        np.testing.assert_allclose(_account(predictor, params)[name], value, rtol=1e-4, atol=2e-3, err_msg=name)


def test_sums_of_many_batches_forget_nothing():
    """10^4 batches of one loss each: single precision alone would drift by far more."""
    batch = _batch([[0, 1, 1]], [[0, 1, 1]], 2)
    predictor = OnlineGated(in_weight=Counts(add=1e12))  # g stays at 1/2 and h at the floor's complement: no drift
    start, one = _start(predictor, batch), jax.jit(lambda params, _: (predictor.observe(params, batch)[0], None))
    params, _ = jax.jit(lambda params: jax.lax.scan(one, params, length=10_000))(start)
    account = _account(predictor, params)
    assert account["loss_in_weight"][1] == pytest.approx(math.log(2), rel=1e-6)
    assert account["exposures"][1] == 10_000


@pytest.mark.parametrize("gate", [Hedge(), GradientDescent(anytime=True)])
def test_large_tables_are_written_by_row_to_the_same_end(sample, monkeypatch, gate):
    predictor = OnlineGated(gate=gate)

    def observed():
        params = _start(predictor, sample)
        return jax.jit(lambda params: predictor.observe(params, sample))(params)  # traced anew

    masked = observed()
    monkeypatch.setattr("icl_sim.theory.online._MASKED", 0)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), observed(), masked)
    text = str(jax.make_jaxpr(predictor.observe)(_start(predictor, sample), sample))
    assert "scatter" in text


# What it says.


def test_before_any_observation_the_gate_is_one_half_and_g_uniform(sample):
    predictor = OnlineGated()
    outputs = _apply(predictor, _start(predictor, sample), sample)
    np.testing.assert_allclose(outputs.record["gate"], 0.5)
    np.testing.assert_allclose(np.exp(outputs.record["in_weight"]), 0.1, rtol=1e-5)
    h_BC = np.exp(outputs.record["in_context"])
    np.testing.assert_allclose(np.exp(outputs.values), 0.05 + h_BC / 2, rtol=1e-5)
    assert not jax.eval_shape(predictor.apply, _start(predictor, sample), sample).record


@pytest.mark.parametrize(
    "predictor",
    [
        OnlineGated(),
        OnlineGated(
            in_weight=Hedge(anytime=True),
            gate=FollowTheRegularizedLeader(anytime=True, rate=0.1),
            in_context=Hedge(anytime=True),
            temperatures=(0.5, 2.0, math.inf),
            smoothing=0.05,
        ),
    ],
)
def test_the_loss_of_a_round_is_that_of_what_it_says_of_the_query(sample, predictor):
    """`apply` after n rounds is what `observe` plays in the round after them."""
    params, _ = _observe(predictor, _start(predictor, sample), _part(sample, 0, 1000))
    last = _part(sample, 1000, 1001)
    _, losses_B = _observe(predictor, params, last)
    outputs = _apply(predictor, params, last)
    assert losses_B[0] == pytest.approx(-float(outputs.values[0, last.targets[0, -1]]), rel=1e-4)
    hidden = dataclasses.replace(last, targets=(last.targets + [[0] * 4 + [1]]).astype(np.int32) % 10)
    np.testing.assert_array_equal(_apply(predictor, params, hidden).values, outputs.values)  # it never looks
    g_C, gate = np.exp(outputs.record["in_weight"][0]), outputs.record["gate"][0]
    assert g_C.sum() == pytest.approx(1, rel=1e-4)
    mixture_C = gate * g_C + (1 - gate) * np.exp(outputs.record["in_context"][0])
    np.testing.assert_allclose(np.exp(outputs.values[0]), mixture_C, rtol=1e-4)


def test_in_context_laws_are_softmaxes_over_squared_distances_with_a_floor():
    batch = _batch([[0, 1, 2, 0]], [[3, 3, 1, 0]], 4)  # one match, labelled 3 as another slot is
    weigh = 1 / (1 + 2 * math.exp(-2))  # squared distance 4, temperature 2
    for temperature, at_match in ((2.0, weigh), (math.inf, 1 / 3)):
        predictor = OnlineGated(temperatures=(temperature,), floor=0.02)
        outputs = _apply(predictor, _start(predictor, batch), batch)
        other = (1 - at_match) / 2
        expected_C = [0.02, other, 0.02, at_match + other]
        np.testing.assert_allclose(np.exp(outputs.record["in_context"][0]), expected_C, rtol=1e-5)


def test_reports_the_gate_and_the_errors_of_its_parts(sample):
    predictor = OnlineGated()
    params, _, account = _observed(predictor, sample)
    outputs = _apply(predictor, params, sample)
    report = predictor.report(outputs, sample)
    assert {"gate_mean", "gate_share", "in_weight_error", "in_context_error"} <= set(report)
    x_B = np.asarray(sample.latents["classes"][:, -1])
    np.testing.assert_allclose(report["gate_mean"], np.asarray(account["gate"])[x_B], rtol=1e-5)


# What it guarantees.

CHUNKS, CHUNK = 4, 16
PLAYERS = {
    "as it comes": (OnlineGated(), 2, 1),
    "gradients": (
        OnlineGated(
            in_weight=GradientDescent(),
            gate=GradientDescent(anytime=True),
            in_context=GradientDescent(),
            temperatures=(1.0, math.inf),
            smoothing=0.05,
        ),
        3,
        3,
    ),
    "counts and gradients": (
        OnlineGated(gate=GradientDescent(), in_context=Hedge(anytime=True), temperatures=(1.0, math.inf)),
        4,
        2,
    ),
    "leaders": (
        OnlineGated(
            in_weight=FollowTheRegularizedLeader(),
            gate=FollowTheRegularizedLeader(anytime=True),
            in_context=FollowTheRegularizedLeader(),
            temperatures=(1.0, math.inf),
            smoothing=0.05,
        ),
        2,
        3,
    ),
    "anytime": (
        OnlineGated(
            in_weight=Hedge(anytime=True),
            gate=Hedge(anytime=True),
            in_context=FollowTheRegularizedLeader(anytime=True),
            temperatures=(1.0, math.inf),
            smoothing=0.05,
        ),
        3,
        2,
    ),
    "mixed": (
        OnlineGated(
            in_weight=GradientDescent(anytime=True),
            gate=FollowTheRegularizedLeader(regularizer="entropy"),
            in_context=GradientDescent(anytime=True),
            temperatures=(1.0, math.inf),
            smoothing=0.05,
        ),
        2,
        2,
    ),
}


@jax.jit
def _accounts(predictor, params, batches):
    """The account after every chunk, stacked."""

    def step(params, batch):
        params, losses_B = predictor.observe(params, batch)
        return params, {**predictor.account(params), "paid": jnp.sum(losses_B)}

    return jax.lax.scan(step, params, batches)[1]


def _problem(seed, C, L, labels, contexts):
    rng = np.random.default_rng(seed)
    B = CHUNKS * CHUNK
    x_B = rng.choice(C, p=rng.dirichlet(np.ones(C)), size=B)
    y_B = {
        "random": rng.integers(C, size=B),
        "one for every input": (x_B + 1) % C,
        "another in the end": np.where(np.arange(B) < B * rng.uniform(), x_B, (x_B + 1) % C),
        "in turn": (x_B + np.arange(B)) % C,
    }[labels]
    classes_BL, targets_BL = rng.integers(C, size=(B, L)), rng.integers(C, size=(B, L))
    if contexts == "right":
        targets_BL[:, 0], classes_BL[:, 0] = y_B, x_B
    elif contexts == "wrong":
        targets_BL, classes_BL[:, 0] = (y_B[:, None] + rng.integers(1, C, size=(B, L))) % C, x_B
    elif contexts == "right, of another class":
        targets_BL[:, 0], classes_BL[:, 0] = y_B, (x_B + 1) % C
    return _batch(np.c_[classes_BL, x_B], np.c_[targets_BL, y_B], C)


@given(
    name=st.sampled_from(sorted(PLAYERS)),
    labels=st.sampled_from(["random", "one for every input", "another in the end", "in turn"]),
    contexts=st.sampled_from(["random", "right", "wrong", "right, of another class"]),
    rates=st.tuples(*[st.floats(0.02, 4)] * 3),
    floor=st.sampled_from([1e-4, 0.01, 0.2]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=50)
def test_no_regret_exceeds_its_bound(name, labels, contexts, rates, floor, seed):
    predictor, C, L = PLAYERS[name]
    parts = (predictor.in_weight, predictor.gate, predictor.in_context)
    rated = [
        dataclasses.replace(part, **{"add": 0.5 + rate} if isinstance(part, Counts) else {"rate": rate})
        for part, rate in zip(parts, rates, strict=True)
    ]
    predictor = dataclasses.replace(predictor, in_weight=rated[0], gate=rated[1], in_context=rated[2], floor=floor)
    predictor.check()
    batch = _problem(seed, C, L, labels, contexts)
    batches = jax.tree.map(lambda leaf: np.reshape(leaf, (CHUNKS, CHUNK, *leaf.shape[1:])), batch)
    told = _accounts(predictor, _start(predictor, batch), batches)
    told = {key: np.asarray(value, np.float64) for key, value in told.items()}
    tolerance_N = 1e-3 + 1e-5 * CHUNK * np.arange(1, CHUNKS + 1)
    for which in ("regret", "regret_fixed", "regret_gate", "regret_in_weight", "regret_in_context"):
        bound_N = told[f"{which}_bound"]
        assert np.all(np.isfinite(bound_N)) and np.all(told[which] <= bound_N + tolerance_N), which
    assert np.all(told["regret"] <= told["regret_gate"] + tolerance_N)
    # What was paid is what is accounted for.
    paid = np.nansum(told["loss_mixture"][-1] * told["exposures"][-1])
    assert told["paid"].sum() == pytest.approx(paid, rel=1e-4)
    assert told["exposures"][-1].sum() == CHUNKS * CHUNK


def test_nothing_is_owed_before_the_first_round(sample):
    predictor = OnlineGated(gate=GradientDescent(), temperatures=(1.0, 2.0))
    account = _account(predictor, _start(predictor, sample))
    for name in ("regret", "regret_gate", "regret_in_weight"):
        assert account[name] == account[f"{name}_bound"] == 0
    assert account["regret_in_context"] == 0
    np.testing.assert_array_equal(account["exposures"], np.zeros(X))
    np.testing.assert_array_equal(account["switch_time"], np.full(X, math.inf))


# The switch.

LONG = 2000


def _relevant(matches, rounds):
    """The same query again and again, `matches` of 4 slots of its class, no noise, ten classes."""
    classes_S = [0] * matches + list(range(1, 5 - matches)) + [0]
    return _batch([classes_S] * rounds, [classes_S] * rounds, X)


@pytest.mark.parametrize(
    ("temperature", "loss", "expected"),
    [(1.0, math.log1p(math.exp(-4)), 1702), (math.inf, math.log(2), 15)],
)
def test_the_gate_turns_where_the_counts_have_paid_for_themselves(temperature, loss, expected):
    n = np.arange(1, 4000)
    slack_N = special.betaln(4.5, 0.5) - special.betaln(4.5, n + 0.5)
    exact = n[np.argmax(slack_N < n * loss)]
    assert exact == expected
    _, _, account = _observed(OnlineGated(temperatures=(temperature,)), _relevant(2, LONG))
    # At the root the sides differ by a few thousandths, what single precision may lose: a round at most.
    assert account["switch_exposures"][0] == pytest.approx(exact, abs=1)
    assert account["switch_time"][0] == account["switch_exposures"][0]
    assert np.isinf(account["switch_exposures"][1:]).all()


def test_the_gate_never_turns_where_every_slot_matches():
    _, _, account = _observed(OnlineGated(), _relevant(4, LONG))
    assert np.isinf(account["switch_exposures"]).all() and account["gate"][0] < 1e-6
    assert account["loss_in_context"][0] == pytest.approx(0, abs=1e-6)


def test_a_switch_is_at_exposures_of_the_input_and_a_time_of_all():
    """Two inputs in turn, the second three times as often: the same exposures, other times."""
    x_B = np.tile([0, 1, 1, 1], 15)
    classes_BS = np.c_[x_B, x_B, x_B + 2, x_B + 4, x_B]
    _, _, account = _observed(OnlineGated(temperatures=(math.inf,)), _batch(classes_BS, classes_BS, X))
    np.testing.assert_array_equal(account["switch_exposures"][:2], [15, 15])
    np.testing.assert_array_equal(account["switch_time"][:2], [1 + 4 * 14, 4 * 5])


def test_a_gate_that_turns_back_tells_its_last_switch():
    """Irrelevant contexts turn it to g; then, once labels change and contexts hold them, to h."""
    away = _batch([[1, 0]] * 6, [[1, 0]] * 6, X)
    back = _batch([[0, 0]] * 200, [[5, 5]] * 200, X)
    predictor = OnlineGated()
    params, _ = _observe(predictor, _start(predictor, away), away)
    turned = _account(predictor, params)
    assert turned["gate"][0] > 0.5 and np.isfinite(turned["switch_exposures"][0])
    params, _ = _observe(predictor, params, back)
    returned = _account(predictor, params)
    assert returned["gate"][0] < 0.5 and np.isinf(returned["switch_exposures"][0])
    params, _ = _observe(predictor, params, _batch([[1, 0]] * 200, [[1, 0]] * 200, X))
    assert _account(predictor, params)["switch_exposures"][0] > 206


# In a study.


@setting
class Few(ClassMixture):
    """A class mixture with one evaluation set, which compiles in a moment."""

    def evaluation_sets(self):
        return {"default": self}

    def summaries(self):
        return {}


@pytest.mark.fleet
def test_a_study_tells_regrets_and_switches():
    task = Few(inputs=Symbols(), num_high=2, num_low=2, context_length=2)
    study = icl.Study(
        task=task,
        predictors={"online": OnlineGated()},
        sweep=icl.product({"task.label_noise": [0.0, 0.1]}),
        training=icl.Training(steps=8, batch_size=16),
        evaluation=icl.Evaluation(sequences=20, points=1),
    )
    rows = icl.simulate(study)
    last = rows[(rows.step == 8) & (rows.eval_set == "online")]
    table = last.pivot(index="task.label_noise", columns="metric", values="value")
    assert len(table) == 2
    assert {"regret", "regret_bound", "switch_exposures/3", "switch_time_low", "gate_high", "exposures/0"} <= {*table}
    assert (table["regret"] <= table["regret_bound"] + 1e-3).all()
    exposures = table[[f"exposures/{x}" for x in range(4)]].to_numpy()
    np.testing.assert_array_equal(exposures.sum(axis=1), [8 * 16] * 2)
    np.testing.assert_allclose(table["gate_low"], table[["gate/2", "gate/3"]].mean(axis=1), rtol=1e-6)
    training = rows[(rows.eval_set == "training") & (rows.metric == "loss") & (rows.step > 0)]
    assert len(training) and np.isfinite(training.value).all()


def test_chunked_or_resumed_is_uninterrupted(monkeypatch):
    task = Few(inputs=Symbols(), num_high=2, num_low=2, label_noise=0.1)
    one = group(*(member(OnlineGated(), task, seed=seed, points=2, steps=12) for seed in (0, 1)))
    program = Program(one, member_mesh(2))
    monkeypatch.setattr("icl_sim.engine.simulate.Program", lambda *_: program)  # compiled once
    whole, chunked = run(one, chunk_steps=12), run(one, chunk_steps=1)
    assert_same(measures(chunked), measures(whole))
    cut = {chunk.step: state for chunk, state in chunked}
    rest = run(one, state=cut[5], step=5, chunk_steps=4)
    assert_same(rest[-1][1], whole[-1][1])


# Wrong inputs and settings.


def _drawn(*shape):
    """Inputs that are drawn, as prototypes and images are."""
    batch = _relevant(2, 3)
    inputs = np.random.default_rng(0).normal(size=(*batch.targets.shape, *shape))
    return dataclasses.replace(batch, inputs=jnp.asarray(inputs, jnp.float32))


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(lambda: _drawn(64), id="prototypes"),
        pytest.param(lambda: _drawn(4, 4), id="images"),
        pytest.param(lambda: dataclasses.replace(_relevant(2, 3), num_classes=0), id="regression"),
    ],
)
def test_inputs_that_are_no_symbols_are_refused(batch, key):
    predictor, batch, params = OnlineGated(), batch(), _start(OnlineGated(), _relevant(2, 3))
    words = r"keep a table over \d+ symbols, and got inputs of shape .*kind 'symbols'"
    for use in (
        lambda: predictor.init(key, batch),
        lambda: predictor.observe(params, batch),
        lambda: predictor.apply(params, batch),
    ):
        with pytest.raises(ValueError, match=words):
            use()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gate": Counts()}, "gate is counts, which learns from log losses of labels alone"),
        ({"in_context": Counts()}, "in_context is counts"),
        ({"temperatures": ()}, r"temperatures are \(\); give a tuple of at least one number"),
        ({"temperatures": (1.0, 0.0)}, r"temperatures are \(1\.0, 0\.0\); .*positive"),
        ({"temperatures": (-1.0,)}, r"temperatures are \(-1\.0,\)"),
        ({"temperatures": (math.nan,)}, r"temperatures are \(nan,\)"),
        ({"floor": 0.0}, r"floor is 0\.0; it must lie between 0 and 1"),
        ({"floor": 1.0}, r"floor is 1\.0"),
        ({"floor": math.nan}, "floor is nan"),
        ({"smoothing": 0.1}, r"smoothing is 0\.1; it must be 0 where in_weight is counts"),
        ({"smoothing": -0.1}, r"smoothing is -0\.1"),
        ({"in_weight": Hedge()}, r"smoothing is 0\.0; for an in_weight of kind Hedge it must lie between 0 and 1"),
        ({"in_weight": Hedge(), "smoothing": 1.0}, r"smoothing is 1\.0; for an in_weight of kind Hedge"),
        ({"in_weight": Counts(add=0.0)}, r"add is 0\.0"),
        ({"gate": Hedge(rate=0.0)}, r"rate is 0\.0"),
        ({"in_context": GradientDescent(rate=-1.0)}, r"rate is -1\.0"),
    ],
)
def test_wrong_settings_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        OnlineGated(**changes).check()


@pytest.mark.parametrize("predictor", [OnlineGated(), *(player for player, _, _ in PLAYERS.values())])
def test_right_settings_are_not(predictor):
    predictor.check()
    assert predictor.online


def test_sums_of_10_to_the_8_keep_differences_of_one():
    """10^5 batches lose 1000 + 2^-7 and 1000; single precision alone tells sums of 10^8 apart by multiples of 8."""
    more = jnp.asarray([1000 + 2**-7, 1000.0])
    sums, _ = jax.lax.scan(lambda pair, _: (online._added(pair, more), None), jnp.zeros((2, 2)), None, length=100_000)
    assert online._less(sums[:, 0], sums[:, 1]) == 100_000 * 2**-7
    np.testing.assert_allclose(online._difference(sums[:, :1], sums[:, 1:]).sum(axis=0), [781.25])
