"""One update and a stretch of updates, against Adam run by hand in a Python loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from icl_sim.engine.settings import Training
from icl_sim.engine.step import learning_rate
from icl_sim.keys import stream
from icl_sim.types import Phase
from tests.engine.toys import Corners, Line, Parts, group, member, run


@pytest.mark.parametrize(
    ("training", "rates"),
    [
        (Training(learning_rate=0.5), {0: 0.5, 1: 0.5, 10**6: 0.5}),
        (Training(learning_rate=0.5, warmup_steps=4), {0: 0.125, 1: 0.25, 2: 0.375, 3: 0.5, 4: 0.5, 99: 0.5}),
        (
            Training(learning_rate=0.5, warmup_steps=4, schedule="rsqrt"),
            {0: 0.125, 1: 0.25, 3: 0.5, 15: 0.25, 63: 0.125, 399: 0.05},
        ),
        (
            Training(learning_rate=0.5, warmup_steps=4, steps=12, schedule="triangle"),
            {0: 0.125, 3: 0.5, 5: 0.375, 7: 0.25, 11: 0.0},
        ),
        (
            Training(learning_rate=0.5, warmup_steps=4, steps=16, schedule="cosine"),
            {1: 0.25, 3: 0.5, 6: 0.25 * (1 + 0.5**0.5), 9: 0.25, 15: 0.0},
        ),
    ],
)
def test_learning_rates(training, rates):
    """Update s (0-based) has the rate r (s+1)/w up to s+1 = w, then r or, by rsqrt, r sqrt(w/(s+1))."""
    for step, rate in rates.items():
        assert learning_rate(training, step) == pytest.approx(rate, rel=1e-6, abs=1e-8)
    by_program = jax.jit(jax.vmap(learning_rate, (None, 0)))(training, jnp.asarray(list(rates)))
    np.testing.assert_allclose(by_program, list(rates.values()), rtol=1e-6, atol=1e-8)


RATE, EPSILON, WARMUP, STEPS, SEED = 0.05, 0.01, 5, 30, 3


@pytest.fixture(scope="module")
def by_engine_and_by_hand():
    """The last chunk of a member among others, and (params, counts, loss of every step) by optax alone."""
    task = Corners()
    adam = {"learning_rate": RATE, "adam_epsilon": EPSILON, "schedule": "rsqrt", "warmup_steps": WARMUP}
    members = group(*(member(task=task, seed=seed, steps=STEPS, points=1, **adam) for seed in (1, SEED, 2)))
    *_, (chunk, state) = run(members)

    def loss(params, batch):
        values_BC = Line().apply(params, batch).values
        return optax.softmax_cross_entropy_with_integer_labels(values_BC, batch.targets[:, -1]).mean()

    def rate(count):
        return RATE * jnp.minimum((count + 1) / WARMUP, (WARMUP / (count + 1)) ** 0.5)

    adam = optax.adam(rate, eps=EPSILON)

    @jax.jit
    def update(params, moments, batch):
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, moments = adam.update(gradient, moments)
        return optax.apply_updates(params, updates), moments, value

    sample = jax.jit(lambda step: task.sample(stream(SEED, "train", step), 4))
    params = jax.jit(lambda: Line().init(stream(SEED, "init"), sample(0)))()
    moments, losses, labels = adam.init(params), [], []
    for step in range(STEPS):
        batch = sample(step)
        params, moments, value = update(params, moments, batch)
        losses.append(float(value))
        labels += batch.targets[:, -1].tolist()
    return chunk, state, params, losses, labels


def test_parameters_are_those_of_adam_by_hand(by_engine_and_by_hand):
    _, state, params, _, _ = by_engine_and_by_hand
    assert set(state.parts["all"]) == set(params)
    for name, leaf in params.items():
        np.testing.assert_allclose(state.parts["all"][name][1], leaf, atol=1e-6, rtol=0)
    assert np.abs(params["bias"]).max() > 0.01  # it has moved, so that the comparison says something


def test_the_loss_is_the_mean_since_the_last_evaluation(by_engine_and_by_hand):
    chunk, _, _, losses, _ = by_engine_and_by_hand
    assert chunk.measures["training", "loss"][1] == pytest.approx(np.mean(losses), rel=1e-5)


def test_counters_are_those_of_the_batches_one_by_one(by_engine_and_by_hand):
    chunk, _, _, _, labels = by_engine_and_by_hand
    shown = {key: column[1] for key, column in chunk.measures.items() if key[1].startswith("shown")}
    assert shown == {("training", f"shown/{c}"): labels.count(c) for c in (0, 1)}


def test_phases_end_at_their_share_of_the_steps():
    first, second = Parts(share=0.25).phases
    assert member(Parts(share=0.25), steps=60).phase_ends() == [(first, 15), (second, 60)]
    assert member(Parts(share=0.25), steps=7).phase_ends() == [(first, 2), (second, 7)]
    assert member(Line(), steps=7).phase_ends() == [(Phase(), 7)]
    with pytest.raises(ValueError, match="training.steps is 1, too few for the 2 phases"):
        member(Parts(), steps=1).check()
