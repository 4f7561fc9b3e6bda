"""The exact law of small class mixtures, against the sampler, the copier h and bounds in closed form."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim import metrics
from icl_sim.predictors import KernelCopy
from icl_sim.tasks import ClassMixture, Prototypes
from icl_sim.theory import exact
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Batch

DRAWS = 20_000
# One false alarm in a few hundred runs of all of these tests; seeds are fixed, so it is now or never.
ALPHA = 1e-4

ORTHONORMAL = Prototypes(noise=0.0, dim=4, table=jnp.eye(4))  # squared distance 2 between different classes
SMALL = ClassMixture(p_high=0.7, p_relevant=0.5, num_high=2, num_low=2, context_length=2, inputs=ORTHONORMAL)


@functools.partial(jax.jit, static_argnums=2)
def _jitted_sample(task, key, batch_size):
    return task.sample(key, batch_size)


def _sample(task, key):
    """A batch. Settings are traced, so tasks of equal structure share a program."""
    return _jitted_sample(task, jax.random.clone(key), DRAWS)


def _rows(classes, labels):
    return np.concatenate([np.asarray(classes), np.asarray(labels)], axis=1)


def _numbers(sequences, batch):
    """Which of the R sequences each of a batch is, `[B]`; fails where one was drawn that is not among them."""
    index = {tuple(row): i for i, row in enumerate(_rows(sequences.classes, sequences.labels).tolist())}
    drawn = [index.get(tuple(row), -1) for row in _rows(batch.latents["classes"], batch.targets).tolist()]
    assert min(drawn) >= 0, "a sequence was drawn whose probability is 0"
    return np.asarray(drawn)


def _chi_square(observed, law):
    expected = observed.sum() * law
    rare = expected < 5
    if np.any(rare):  # pool cells that are too rare to count
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return stats.chisquare(observed, expected).pvalue if len(expected) > 1 else 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"context_length": 1},
        {"context_length": 1, "num_relevant": 1, "label_noise": 0.2},
        {"context_length": 1, "relabel": 1, "label_noise": 0.2},
        {"p_relevant": 0.0},
        {"p_relevant": 0.5},
        {"p_relevant": 1.0},
        {"num_relevant": 1},
        {"num_relevant": 2},
        {"label_noise": 0.2},
        {"label_noise": 1.0, "relabel": 1},
        {"relabel": 1},
        {"relabel": -1},
        {"relabel": -1, "label_noise": 0.3, "num_relevant": 1},
        {"query_group": 1},
        {"query_group": 2},
        {"relevant_law": "insert", "p_relevant": 1.0},
        {"relevant_law": "insert", "query_group": 2, "label_noise": 0.1},
        {"relevant_law": "insert", "num_relevant": 1, "p_relevant": 1.0},
        # Fresh shifts differ between groups only where these have different sizes, of more than two.
        {"relabel": -1, "num_high": 3, "num_low": 4, "context_length": 1, "label_noise": 0.1, "inputs": Prototypes()},
        # A query that no context would ever match: the limit of a small mass.
        {"p_high": 1.0, "query_group": 2, "p_relevant": 0.7},
        {"p_high": 1.0, "query_group": 2, "p_relevant": 1.0, "relevant_law": "insert"},
    ],
    ids=lambda change: ",".join(f"{name}={value}" for name, value in change.items() if name != "inputs"),
)
def test_sampler_has_the_exact_law(key, change):
    task = SMALL.replace(**change)
    sequences = exact.sequences(task)
    assert sequences.probability.sum() == pytest.approx(1, abs=1e-12) and np.all(sequences.probability > 0)
    rows = _rows(sequences.classes, sequences.labels)
    assert len(np.unique(rows, axis=0)) == len(rows)
    batch = _sample(task, key)
    observed = np.bincount(_numbers(sequences, batch), minlength=len(rows))
    assert _chi_square(observed, sequences.probability) > ALPHA
    relevant = int(np.any(np.asarray(batch.kinds) == SUPPORT, axis=1).sum())
    assert stats.binomtest(relevant, DRAWS, task.p_relevant).pvalue > ALPHA
    assert exact.expected(sequences, sequences.relevant) == pytest.approx(task.p_relevant)


def test_probabilities_worked_out_by_hand():
    """p_high = .7: masses .35, .35, .15, .15. Query 0, context (0, 2)."""

    def chance(**change):
        sequences = exact.sequences(SMALL.replace(p_relevant=1.0, **change))
        (row,) = np.flatnonzero(np.all(sequences.classes == [0, 2, 0], axis=1))
        return sequences.probability[row]

    assert chance() == pytest.approx(0.35 * 0.35 * 0.15 / (1 - 0.65**2))
    assert chance(num_relevant=1) == pytest.approx(0.35 * 0.15 / (2 * 0.65))
    # Drawn as it stands, or (c, 2) with c not 0 and its first slot overwritten.
    assert chance(relevant_law="insert") == pytest.approx(0.35 * (0.35 * 0.15 + 0.65 * 0.15 / 2))
    assert chance(query_group=1) == pytest.approx(0.5 * 0.35 * 0.15 / (1 - 0.65**2))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
@pytest.mark.parametrize(
    "change",
    [
        # Where all contexts are relevant no loss is the floor's, beside which the others would not be seen.
        {"p_relevant": 1.0},
        {"p_relevant": 1.0, "relevant_law": "insert", "query_group": 2, "relabel": 1},
        {"context_length": 1},
        {"label_noise": 0.2},
        {"relabel": 1, "label_noise": 0.1, "p_relevant": 0.8},
    ],
    ids=str,
)
def test_loss_and_error_of_the_copier_are_the_exact_expectations(key, change, temperature):
    task, h = SMALL.replace(**change), KernelCopy(temperature=temperature)
    sequences = exact.sequences(task)
    p_RC = exact.copy_probabilities(sequences, task.num_classes, temperature, squared_distance=2.0)
    np.testing.assert_allclose(p_RC.sum(axis=1), 1)
    query_R = sequences.labels[:, -1]
    exactly = {
        "loss": -np.log(np.maximum(p_RC[np.arange(len(p_RC)), query_R], h.floor)),
        "error": np.argmax(p_RC, axis=1) != query_R,
    }
    batch = _sample(task, key)
    outputs = h.apply(h.init(key, batch), batch)
    np.testing.assert_allclose(
        np.exp(outputs.values), np.maximum(p_RC, h.floor)[_numbers(sequences, batch)], rtol=1e-5, atol=0
    )
    for name, values_R in exactly.items():
        mean = exact.expected(sequences, values_R)
        standard_error = math.sqrt(exact.expected(sequences, (values_R - mean) ** 2) / DRAWS)
        drawn = float(np.mean(np.asarray(getattr(metrics, name)(outputs, batch), np.float64)))
        assert abs(drawn - mean) <= 5 * standard_error + 1e-6  # float32


def _cross_entropy_of_relevant_sequences(length, squared_distance):
    """Cross-entropy of h and the number k of slots that do not match, for every relevant sequence without noise."""
    task = SMALL.replace(context_length=length, p_relevant=1.0)
    sequences = exact.sequences(task)
    assert np.all(sequences.relevant)
    p_RC = exact.copy_probabilities(sequences, task.num_classes, squared_distance=squared_distance)
    k_R = np.sum(sequences.classes[:, :-1] != sequences.classes[:, -1:], axis=1)
    return -np.log(p_RC[np.arange(len(p_RC)), sequences.labels[:, -1]]), k_R


@pytest.mark.parametrize("squared_distance", [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_cross_entropy_of_the_copier_lies_between_the_bounds(length, squared_distance):
    """Unit vectors have squared distances in [0, 4]; both ends are attained, at 4 and at 0."""
    loss_R, k_R = _cross_entropy_of_relevant_sequences(length, squared_distance)
    assert set(k_R) == set(range(length))
    lower_R = np.log(1 + k_R / ((length - k_R) * math.exp(4)))
    upper_R = np.log(length / (length - k_R))
    assert np.all(lower_R <= loss_R + 1e-12) and np.all(loss_R <= upper_R + 1e-12)
    assert np.allclose(loss_R, lower_R, rtol=0, atol=1e-12) == (squared_distance == 4.0 or length == 1)
    assert np.allclose(loss_R, upper_R, rtol=0, atol=1e-12) == (squared_distance == 0.0 or length == 1)


def test_factor_two_of_the_papers_figure_is_no_lower_bound_of_the_cross_entropy():
    """L = 2, k = 1 is the smallest case (L = 1 has only k = 0, where both are 0): .0360 against a loss of .0181."""
    length, k = 2, 1
    figure = 2 * k / (k + (length - k) * math.exp(4))
    loss_R, k_R = _cross_entropy_of_relevant_sequences(length, squared_distance=4.0)
    assert np.all(loss_R[k_R == k] < figure) and np.any(k_R == k)
    assert np.all(loss_R[k_R == k] >= figure / 2)  # without the 2 it is one
    # The same in the flesh: the query's own input and the opposite one, labels 0 and 1.
    batch = Batch(
        inputs=jnp.asarray([[[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]]),
        targets=jnp.asarray([[0, 1, 0]]),
        kinds=jnp.asarray([[SUPPORT, CONTEXT, QUERY]], jnp.int8),
        num_classes=2,
    )
    values = KernelCopy().apply({"theta": jnp.zeros(())}, batch).values
    assert -float(values[0, 0]) == pytest.approx(math.log1p(math.exp(-4)), rel=1e-5)
    assert -float(values[0, 0]) < figure


def test_a_copier_pays_the_floor_where_no_context_is_relevant(key):
    task, h = SMALL.replace(p_relevant=0.0), KernelCopy()
    sequences = exact.sequences(task)
    assert not np.any(sequences.relevant)
    p_RC = exact.copy_probabilities(sequences, task.num_classes)
    right_R = p_RC[np.arange(len(p_RC)), sequences.labels[:, -1]]
    loss = exact.expected(sequences, -np.log(np.maximum(right_R, h.floor)))
    assert loss == pytest.approx(-math.log(h.floor), rel=1e-12)
    batch = _sample(task, key)
    np.testing.assert_allclose(metrics.loss(h.apply(h.init(key, batch), batch), batch), loss, rtol=1e-5)


@pytest.mark.parametrize("law", ["conditional", "insert"])
def test_classes_of_an_empty_group_never_occur(law):
    sequences = exact.sequences(SMALL.replace(p_high=1.0, relevant_law=law))
    assert set(np.unique(sequences.classes)) == {0, 1}
    assert sequences.probability.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"num_sequences": 64.0}, "num_sequences is 64; it must be inf"),
        # 4^9 classes and 2^9 patterns of noise.
        ({"context_length": 8, "label_noise": 0.1}, "has 1.34218e[+]8 sequences .* at most 10000000"),
        ({"context_length": 2000}, "at most 10000000"),
        ({"query_group": 3}, "query_group is 3"),
        ({"relabel": -2}, "relabel is -2"),
        ({"relabel": 0.5}, "relabel is 0.5"),
        ({"p_relevant": 1.5}, "p_relevant is 1.5"),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(change, words):
    with pytest.raises(ValueError, match=words):
        exact.sequences(SMALL.replace(**change))


def test_bad_arguments_are_refused_in_a_sentence():
    sequences = exact.sequences(SMALL)
    with pytest.raises(ValueError, match="temperature of h is 0"):
        exact.copy_probabilities(sequences, 4, temperature=0)
    with pytest.raises(ValueError, match="squared distance is -1"):
        exact.copy_probabilities(sequences, 4, squared_distance=-1)
    with pytest.raises(ValueError, match="number of classes is 3; it must exceed the largest label, 3"):
        exact.copy_probabilities(sequences, 3)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        exact.expected(sequences, np.zeros(2))
