"""The preference for context or memory: numbers worked out by hand, Wilson's limits, and rows of real evaluations."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import icl_sim as icl
from icl_sim import metrics
from icl_sim.engine.simulate import simulate
from icl_sim.predictors import KernelCopy
from icl_sim.tasks import ClassMixture, Symbols
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Batch, Leaf, Outputs, Predictor, setting
from tests.engine.toys import group, member

NAMES = ("preference", "preference_from", "preference_to")


preference = jax.jit(metrics.preference)


def told(context, memory, queries):
    found = preference(context, memory, queries)
    return tuple(float(found[n]) for n in NAMES)


# ------------------------------------------------------------------------------- the numbers


def test_known_values():
    assert told(1.0, 0.0, 100)[0] == 1
    assert told(0.0, 1.0, 100)[0] == -1
    assert told(0.25, 0.25, 100)[0] == 0
    assert told(0.5, 0.25, 100)[0] == pytest.approx(1 / 3)
    assert told(0.06, 0.02, 100)[0] == pytest.approx(0.5)  # answers of neither do not move it
    assert all(math.isnan(value) for value in told(0.0, 0.0, 100))


def test_limits_by_hand():
    """Of 16 answers that follow either, 12 follow the context: with z² = 3.8415,
    w = (0.75 + z²/32 ± z sqrt(0.1875/16 + z²/1024)) / (1 + z²/16) = (0.870046 ± 1.959964 · 0.124379) / 1.240091."""
    expected = (0.5, 2 * 0.505017 - 1, 2 * 0.898182 - 1)
    assert told(0.12, 0.04, 100) == pytest.approx(expected, abs=1e-5)
    # At the ends one limit is the end itself, the other n / (n + z²).
    assert told(1.0, 0.0, 20)[1:] == pytest.approx((2 * 20 / 23.841459 - 1, 1.0), abs=1e-6)
    assert told(0.0, 1.0, 20)[1:] == pytest.approx((-1.0, 1 - 2 * 20 / 23.841459), abs=1e-6)


COUNTS = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300)).filter(lambda c: c[0] + c[1] > 0)


@given(COUNTS)
@settings(deadline=None, max_examples=100)
def test_limits_are_wilsons_and_hold_the_preference(counts):
    context, memory, neither = counts
    n = sum(counts)
    point, low, high = told(context / n, memory / n, n)
    wilson = stats.binomtest(context, context + memory).proportion_ci(0.95, method="wilson")
    assert point == pytest.approx((context - memory) / (context + memory), abs=1e-5)
    assert (low, high) == pytest.approx((2 * wilson.low - 1, 2 * wilson.high - 1), abs=1e-4)
    assert -1 <= low <= point + 1e-5 and point - 1e-5 <= high <= 1
    other = told(memory / n, context / n, n)
    assert (point, low, high) == pytest.approx((-other[0], -other[2], -other[1]), abs=1e-5)


def test_broadcasts_over_members():
    found = metrics.preference(jnp.asarray([1.0, 0.0, 0.0]), jnp.asarray([0.0, 1.0, 0.0]), 10)
    np.testing.assert_array_equal(found["preference"], [1, -1, np.nan])
    assert all(found[name].shape == (3,) for name in NAMES)


ANSWERS = {  # classes and labels of two slots and a query of class 1, the answer, whether it follows context, memory
    "the label that the class has there": ([1, 0], [2, 3], 2, 1, 0),
    "the label as trained": ([1, 0], [2, 3], 1, 0, 1),
    "the label of a distractor": ([1, 0], [2, 3], 3, 0, 0),
    "neither": ([1, 0], [2, 3], 0, 0, 0),
    "as trained, which a distractor shows": ([1, 0], [2, 1], 1, 0, 0),
    "as trained, which the class shows": ([1, 0], [1, 3], 1, 0, 0),
    "the second of two matches": ([1, 1], [2, 3], 3, 1, 0),
    "as trained, without a match": ([0, 0], [3, 3], 1, 0, 1),
    "a label shown, without a match": ([0, 0], [3, 3], 3, 0, 0),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_whom_an_answer_follows(name):
    classes, labels, answer, context, memory = ANSWERS[name]
    class_S = np.array([*classes, 1])
    for hidden in (0, 2):  # the label of the query does not matter
        batch = Batch(
            inputs=jnp.zeros((1, 3, 1)),
            targets=jnp.asarray([[*labels, hidden]]),
            kinds=jnp.asarray([[*np.where(class_S[:2] == 1, SUPPORT, CONTEXT), QUERY]], jnp.int8),
            latents={"classes": jnp.asarray(class_S[None])},
            num_classes=4,
        )
        outputs = Outputs(values=3.0 * jnp.eye(4)[answer][None])
        np.testing.assert_array_equal(metrics.context(outputs, batch), [context])
        np.testing.assert_array_equal(metrics.memory(outputs, batch), [memory])


# ------------------------------------------------------------------------------- in evaluations


REMEMBERS, NEITHER, BOTH = range(3)


@setting
class Answers(Predictor):
    """The class of the query, by its symbol; or the first class, always, which is neither the class of a rare query nor
    its shifted label; or the class for even ones, and else the label of the context."""

    how: Leaf = REMEMBERS

    def apply(self, params, batch, *, record=False):
        remembered_BC, label_C = batch.inputs[:, -1], jnp.eye(batch.num_classes)
        first_BC = jnp.zeros_like(remembered_BC).at[:, 0].set(1.0)
        even_B1 = jnp.argmax(remembered_BC, axis=-1, keepdims=True) % 2 == 0
        both_BC = jnp.where(even_B1, remembered_BC, label_C[batch.targets[:, 0]])
        return Outputs(values=10 * jnp.stack([remembered_BC, first_BC, both_BC])[self.how])


ENDS = 2 * 20 / 23.841459 - 1  # Wilson's other limit where all of 20 answers agree
RELABELLED = "eval-relevant-low_prob-flip_label"


@pytest.fixture(scope="module")
def rows():
    own = {"remembers": REMEMBERS, "neither": NEITHER, "both": BOTH}
    predictors = {"copies": KernelCopy(), **{name: Answers(how=how) for name, how in own.items()}}
    study = icl.Study(
        task=ClassMixture(inputs=Symbols()),
        predictors=predictors,
        training=icl.Training(steps=0),
        evaluation=icl.Evaluation(sequences=20, batch_size=10),
    )
    return icl.simulate(study)


def read(rows, predictor, metric, eval_set=RELABELLED):
    (value,) = rows[(rows["predictor"] == predictor) & (rows["metric"] == metric) & (rows["eval_set"] == eval_set)][
        "value"
    ]
    return value


@pytest.mark.fleet
@pytest.mark.parametrize(
    ("predictor", "expected"),
    [("copies", (1, ENDS, 1)), ("remembers", (-1, -1, -ENDS)), ("neither", (math.nan,) * 3)],
)
def test_rows_of_relabelled_relevant_sets(rows, predictor, expected):
    found = [read(rows, predictor, name) for name in NAMES]
    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert read(rows, predictor, "preference_low", "summary") == pytest.approx(expected[0], nan_ok=True)
    if predictor != "neither":  # class 0 is itself a common one
        for name, group_ in (("preference", "none"), ("preference_high", "high_prob")):
            assert read(rows, predictor, name, "summary") == pytest.approx(expected[0])
            assert read(rows, predictor, "preference", f"eval-relevant-{group_}-flip_label") == expected[0]


@pytest.mark.fleet
def test_a_preference_between_the_ends_is_that_of_its_shares(rows):
    for group_, summary in (("none", "preference"), ("high_prob", "preference_high"), ("low_prob", "preference_low")):
        eval_set = f"eval-relevant-{group_}-flip_label"
        c, m = read(rows, "both", "context", eval_set), read(rows, "both", "memory", eval_set)
        assert c == pytest.approx(1 - read(rows, "both", "error", eval_set))  # one pair, no label noise
        assert 0 < c < 1 and c + m == pytest.approx(1)
        point, low, high = (read(rows, "both", name, eval_set) for name in NAMES)
        wilson = stats.binomtest(round(20 * c), 20).proportion_ci(0.95, method="wilson")
        assert point == pytest.approx(c - m, abs=1e-5) == read(rows, "both", summary, "summary")
        assert (low, high) == pytest.approx((2 * wilson.low - 1, 2 * wilson.high - 1), abs=1e-5)


@pytest.mark.fleet
def test_only_sets_on_which_context_and_memory_differ_have_a_preference(rows):
    told = set(rows.loc[rows["metric"] == "preference", "eval_set"])
    assert told == {*ClassMixture().conflicts(), "summary"} and RELABELLED in told
    assert read(rows, "remembers", "memory", "eval-irrelevant-none") == 1


def test_a_task_without_conflicts_has_no_preference():
    (chunk,) = simulate(group(member(steps=0)))
    assert not [key for key in chunk.measures if key[1].startswith(("preference", "memory", "context"))]
