"""Shifts of evaluation: what changes, by how much, and that nothing else does."""

import functools
import math

import jax
import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks.regression import (
    SHIFTS,
    DecisionTree,
    GaussianProcess,
    Interpolated,
    Linear,
    LinearClassification,
    Mixture,
    Normal,
    Quadratic,
    Regression,
    Sparse,
    Uniform,
)
from icl_sim.tasks.regression.shifts import named

ALPHA = 1e-5
QUERY_SHIFTS = {  # and which of 7 slots they can ask, at 3 coordinates
    "orthants": range(7),
    "orthogonal_query": range(3),
    "matching_query": range(1, 7),
    "query_scale": range(7),
}


@functools.partial(jax.jit, static_argnums=3)
def _draw(task, shifts, key, batch_size):
    """In one program, so that what they share is compiled once."""
    tasks = (task, *(shift.on(task) for shift in shifts))
    return [one.sample(jax.random.clone(key), batch_size) for one in tasks]


def _shifted(task, key, batch_size, *names):
    """Batches without and with each of the shifts, from one key."""
    return _draw(task, tuple(map(named, names)), jax.random.clone(key), batch_size)


def _shifted_small(task, key, name):
    """Batches of 1,024 sequences without and with the shift: one program for all who ask."""
    kind = named(name)
    others = {type(named(other)): other for other in ("x_scale", "x_shift", "orthants", "query_scale")}
    before, *afters = _shifted(task, key, 1024, *{**others, type(kind): name}.values())
    return before, afters[list(others).index(type(kind))]


def _small(**changes):
    return Regression(dim=3, context_length=6, **changes)


def _asked(weights_BS):
    """The one slot of each sequence that counts."""
    counts_BS = np.asarray(weights_BS) != 0
    assert np.all(counts_BS.sum(axis=1) == 1)
    return np.argmax(counts_BS, axis=1)


@pytest.mark.parametrize("name, expected", [("x_scale:1/3", lambda x: x / 3), ("x_shift:2.5", lambda x: x + 2.5)])
def test_inputs_are_scaled_and_moved_and_nothing_else_changes(key, name, expected):
    before, after = _shifted_small(_small(noise=0.1), key, name)
    np.testing.assert_allclose(after.inputs, expected(np.asarray(before.inputs)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(after.latents["w"], before.latents["w"])
    np.testing.assert_allclose(
        after.targets - after.latents["clean"], before.targets - before.latents["clean"], atol=1e-5
    )
    np.testing.assert_allclose(
        after.latents["clean"], np.einsum("BSX,BX->BS", after.inputs, after.latents["w"]), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(after.weights, before.weights)


@pytest.mark.parametrize("pool", [4.0, math.inf])
def test_weights_are_scaled_and_moved_and_nothing_else_changes(key, pool):
    task = _small(function=Linear(pool=pool, mean=0.5))
    before, scaled, moved = _shifted(task, key, 1024, "w_scale:3", "w_shift")
    w_BX = np.asarray(before.latents["w"])
    for after, expected_BX in ((scaled, 3 * w_BX), (moved, w_BX + 2.5)):
        np.testing.assert_array_equal(after.inputs, before.inputs)
        np.testing.assert_allclose(after.latents["w"], expected_BX, rtol=1e-5)


def test_weights_of_other_linear_functions_are_scaled_too(key):
    before, after = _shifted(_small(function=Mixture(a=Sparse(), b=Linear())), key, 16, "w_scale:2")
    np.testing.assert_allclose(after.latents["w"], 2 * before.latents["w"], rtol=1e-6)


@pytest.mark.parametrize(
    "dim, name, sigma", [(20, "label_noise", 1.0), (5, "label_noise", 0.5), (8, "label_noise:0.4", 0.4)]
)
def test_label_noise_has_variance_d_over_20_or_what_it_is_given(key, dim, name, sigma):
    before, after = _shifted(Regression(dim=dim, context_length=9), key, 512, name)
    noise_BS = np.asarray(after.targets - after.latents["clean"])
    assert stats.kstest(noise_BS.reshape(-1) / sigma, "norm").pvalue > ALPHA
    np.testing.assert_array_equal(after.latents["clean"], before.latents["clean"])
    assert after.latents["noise"] == pytest.approx(sigma)


def test_between_interpolates_the_functions_of_the_task():
    ends = Linear(pool=8.0)
    assert named("between:0.25").on(_small(function=ends)).function == Interpolated(ends=ends, alpha=0.25)


@pytest.mark.parametrize("name, power", [("skewed", 1), ("skewed:2", 2), ("skewed:0", 0)])
def test_skewed_inputs_have_a_spectrum_of_powers_in_random_directions(key, name, power, sample):
    task = Regression(dim=4, context_length=9999)
    after = sample(named(name).on(task), key, 16)
    x_BSX = np.asarray(after.inputs, np.float64)
    covariance_BXX = np.einsum("BSX,BSZ->BXZ", x_BSX, x_BSX) / 10_000
    spectrum = (1.0 + np.arange(4)) ** (-2 * power)
    spectrum *= 4 / spectrum.sum()
    values_BX = np.linalg.eigvalsh(covariance_BXX)[:, ::-1]
    np.testing.assert_allclose(values_BX, np.tile(spectrum, (16, 1)), rtol=0.08)
    if power:
        first_BX = np.linalg.eigh(covariance_BXX)[1][:, :, -1]
        assert np.abs(first_BX @ first_BX.T - np.eye(16)).max() < 0.9999  # no two sequences share their direction


def test_skewed_inputs_have_no_direction_on_average(key, sample):
    after = sample(named("skewed").on(Regression(dim=3, context_length=1)), key, 8192)
    x_BX = np.asarray(after.inputs[:, 0], np.float64)
    second_BXX = np.einsum("BX,BZ->BXZ", x_BX, x_BX)
    error_XX = second_BXX.std(axis=0) / math.sqrt(8192)
    assert np.all(np.abs(second_BXX.mean(axis=0) - np.eye(3)) < 5 * error_XX)


@pytest.mark.parametrize("dim, kept", [(4, 2), (5, 3), (1, 1)])
def test_half_of_the_space_is_filled_evenly(key, dim, kept, sample):
    after = sample(named("half_subspace").on(Regression(dim=dim, context_length=9999)), key, 8)
    x_BSX = np.asarray(after.inputs, np.float64)
    values_BX = np.linalg.eigvalsh(np.einsum("BSX,BSZ->BXZ", x_BSX, x_BSX) / 10_000)[:, ::-1]
    np.testing.assert_allclose(values_BX[:, :kept], dim / kept, rtol=0.08)
    np.testing.assert_allclose(values_BX[:, kept:], 0, atol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 5.0])
def test_other_laws_are_one_of_three_for_a_sequence_and_the_context_has_its_norm(key, factor, sample):
    after = sample(named(f"other_laws:{factor}").on(Regression(dim=5, context_length=199)), key, 900)
    x_BSX = np.asarray(after.inputs, np.float64)
    np.testing.assert_allclose(np.linalg.norm(x_BSX[:, :-1], axis=(1, 2)), factor, rtol=1e-5)
    # Kurtosis about the mean: 9 of an exponential, 6 of a Laplace, 3 of a normal law.
    positive_B = np.all(x_BSX >= 0, axis=(1, 2))
    heavy_B = stats.kurtosis(x_BSX.reshape(900, -1), axis=1) > 1.2
    laws = [positive_B.sum(), (heavy_B & ~positive_B).sum(), (~heavy_B & ~positive_B).sum()]
    assert stats.chisquare(laws).pvalue > ALPHA
    # The query is drawn and divided as its context.
    assert np.mean(x_BSX[:, -1] ** 2) == pytest.approx(factor**2 / (199 * 5), rel=0.15)


@pytest.mark.parametrize("count", [0, 2, 6, 9])
def test_noisy_targets_replace_that_many_of_the_context_and_never_the_query(key, count):
    before, after = _shifted(_small(function=Linear(scale=100.0)), key, 1024, f"noisy_targets:{count}")
    changed_BS = np.asarray(after.targets != before.targets)
    assert np.all(changed_BS.sum(axis=1) == min(count, 6)) and not changed_BS[:, -1].any()
    np.testing.assert_array_equal(after.latents["clean"], before.latents["clean"])
    np.testing.assert_array_equal(after.inputs, before.inputs)
    if count:
        assert stats.kstest(np.asarray(after.targets)[changed_BS], "norm").pvalue > ALPHA
    if count == 2:
        _, counts = np.unique(changed_BS, axis=0, return_counts=True)
        assert len(counts) == math.comb(6, 2)
        assert stats.chisquare(counts).pvalue > ALPHA


@pytest.mark.parametrize("name", QUERY_SHIFTS)
@pytest.mark.parametrize("batch_size", [20, 3])
def test_a_shift_of_the_query_asks_the_slots_in_turn(key, name, batch_size, sample_weights):
    weights_BS = np.asarray(sample_weights(named(name).on(_small()), key, batch_size))
    slots = QUERY_SHIFTS[name]
    counts = np.bincount(_asked(weights_BS), minlength=7)
    assert counts.sum() == batch_size and counts[list(slots)].sum() == batch_size
    assert np.ptp(counts[list(slots)]) <= 1
    assert np.all(weights_BS.max(axis=1) == 1)


def test_the_first_slot_to_be_asked_is_random(key, sample_weights):
    task = named("query_scale").on(_small())
    first = [int(_asked(sample_weights(task, jax.random.fold_in(key, n), 1))[0]) for n in range(40)]
    assert set(first) == set(range(7))


@pytest.mark.parametrize("name, slots", [("orthants", {5, 6}), ("orthogonal_query", {2}), ("matching_query", {5, 6})])
def test_a_window_is_asked_alone(key, name, slots, sample_weights):
    first = min(slots)
    task = named(name).on(_small(scored="window", first_scored=first))
    assert set(_asked(sample_weights(task, key, 24))) == slots


def test_where_only_the_last_slot_is_asked_it_is_the_one_shifted(key):
    task = Regression(dim=8, context_length=6, scored="last")
    before, *afters = jax.tree.map(np.asarray, _shifted(task, key, 64, *QUERY_SHIFTS))
    for name, after in zip(QUERY_SHIFTS, afters, strict=True):
        assert after.weights is None
        if name == "orthants":
            np.testing.assert_array_equal(after.inputs[:, -1], before.inputs[:, -1], name)
            assert np.any(after.inputs[:, :-1] != before.inputs[:, :-1], axis=2).mean() > 0.9
        else:
            np.testing.assert_array_equal(after.inputs[:, :-1], before.inputs[:, :-1], name)
            assert np.all(np.any(after.inputs[:, -1] != before.inputs[:, -1], axis=1)), name


def test_the_context_lies_in_one_orthant_and_the_query_anywhere(key):
    before, after = _shifted_small(_small(), key, "orthants")
    x_BSX, old_BSX, asked_B = np.asarray(after.inputs), np.asarray(before.inputs), _asked(after.weights)
    np.testing.assert_array_equal(np.abs(x_BSX), np.abs(old_BSX))
    signs = []
    for b, asked in enumerate(asked_B):
        np.testing.assert_array_equal(x_BSX[b, asked], old_BSX[b, asked])
        context = np.sign(np.delete(x_BSX[b], asked, axis=0))
        assert np.all(context == context[0])
        signs.append(context[0])
    _, counts = np.unique(signs, axis=0, return_counts=True)
    assert len(counts) == 8 and stats.chisquare(counts).pvalue > ALPHA


@pytest.mark.parametrize("dim, length", [(20, 40), (20, 5), (3, 2), (1, 4)])
def test_an_orthogonal_query_is_orthogonal_to_its_context_and_has_its_old_length(key, dim, length):
    before, after = _shifted(Regression(dim=dim, context_length=length), key, 64, "orthogonal_query")
    x_BSX, old_BSX = np.asarray(after.inputs, np.float64), np.asarray(before.inputs, np.float64)
    asked_B = _asked(after.weights)
    assert set(asked_B) == set(range(min(dim, length + 1)))
    for x_SX, old_SX, asked in zip(x_BSX, old_BSX, asked_B, strict=True):
        query_X, context_LX = x_SX[asked], x_SX[:asked]
        np.testing.assert_array_equal(np.delete(x_SX, asked, axis=0), np.delete(old_SX, asked, axis=0))
        assert np.linalg.norm(query_X) == pytest.approx(np.linalg.norm(old_SX[asked]), rel=1e-5)
        cosines = context_LX @ query_X / np.linalg.norm(query_X) / np.linalg.norm(context_LX, axis=1)
        assert np.abs(cosines).max(initial=0) < 1e-5
        # What is left of the old query is along the new one: the least change that makes it orthogonal.
        rest_X = old_SX[asked] - np.linalg.pinv(context_LX) @ (context_LX @ old_SX[asked]) if asked else query_X
        assert rest_X @ query_X / np.linalg.norm(rest_X) / np.linalg.norm(query_X) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(
        after.targets, np.einsum("BSX,BX->BS", x_BSX, np.asarray(after.latents["w"])), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("function", [Linear(), DecisionTree()])
def test_a_matching_query_is_an_earlier_input_with_its_answer(key, function, sample):
    task = _small(function=function)
    # Not in one program, which may compute a copied input twice and round it in two ways.
    before, after = sample(task, key, 1024), sample(named("matching_query").on(task), key, 1024)
    x_BSX, asked_B = np.asarray(after.inputs), _asked(after.weights)
    rows = np.arange(1024)
    same_BS = np.all(x_BSX == x_BSX[rows, asked_B][:, None], axis=-1)
    same_BS[rows, asked_B] = False
    earlier_B = np.argmax(same_BS, axis=1)
    assert np.all(same_BS.sum(axis=1) == 1) and np.all(earlier_B < asked_B)
    y_BS = np.asarray(after.targets)
    np.testing.assert_allclose(y_BS[rows, asked_B], y_BS[rows, earlier_B], rtol=1e-5)
    assert stats.chisquare(np.bincount(earlier_B[asked_B == 6], minlength=6)).pvalue > ALPHA
    others_BS = np.arange(7)[None] != asked_B[:, None]
    np.testing.assert_array_equal(x_BSX[others_BS], np.asarray(before.inputs)[others_BS])


def test_a_matching_query_of_a_gaussian_process_has_the_answer_too(key, sample):
    after = sample(named("matching_query").on(_small(function=GaussianProcess())), key, 64)
    x_BSX, y_BS, asked_B = np.asarray(after.inputs), np.asarray(after.targets), _asked(after.weights)
    for x_SX, y_S, asked in zip(x_BSX, y_BS, asked_B, strict=True):
        (earlier,) = [s for s in range(asked) if np.all(x_SX[s] == x_SX[asked])]
        assert abs(y_S[earlier] - y_S[asked]) < 0.02


def test_the_query_alone_is_scaled(key):
    before, after = _shifted_small(_small(), key, "query_scale:1/16")
    is_asked_BS1 = (np.arange(7)[None] == _asked(after.weights)[:, None])[..., None]
    np.testing.assert_allclose(after.inputs, np.where(is_asked_BS1, before.inputs / 16, before.inputs), rtol=1e-6)


def test_every_shift_can_be_named_and_works_on_the_shortest_task(key):
    task = Regression(dim=1, context_length=1, shifts=tuple(SHIFTS), inputs=Uniform())
    task.check()

    @jax.jit
    def draw(task):
        return {name: one.sample(jax.random.clone(key), 8) for name, one in task.evaluation_sets().items()}

    batches = draw(task)
    assert set(batches) == {"default", *SHIFTS}
    for name, batch in batches.items():
        assert np.all(np.isfinite(batch.inputs)) and np.all(np.isfinite(batch.targets)), name


def test_a_shift_of_training_shifts_the_default_too(key, sample):
    task = _small(shift=named("x_scale:100"))
    task.check()
    assert np.abs(sample(task.evaluation_sets()["default"], key, 8).inputs).max() > 50


def test_the_shifts_of_akyurek_are_the_laws_that_they_name(key):
    for name, law in (("x_scale:2.5", Normal(scale=2.5)), ("x_shift:2.5", Normal(shift=2.5))):
        _, shifted = _shifted_small(_small(), key, name)
        said, _ = _shifted_small(_small(inputs=law), key, name)
        np.testing.assert_allclose(shifted.inputs, said.inputs, rtol=1e-6)


@pytest.mark.parametrize(
    "task, words",
    [
        (_small(shifts=("skewd",)), r"'skewd' is 'skewd'; allowed: true, .* Did you mean 'skewed'\?"),
        (_small(shifts=("orthants:2",)), "'orthants:2' is given a number; orthants takes none"),
        (_small(shifts=("x_scale:big",)), "'x_scale:big' is given 'big' as its factor; it must be a number"),
        (_small(shifts=("x_scale:1/0",)), "'x_scale:1/0' is given '1/0' as its factor; it must be a number"),
        (_small(shifts=("x_scale:",)), "'x_scale:' is given '' as its factor; it must be a number"),
        (_small(shifts=("skewed:-1",)), r"task\.shifts 'skewed:-1'\.power is -1\.0; it must be at least 0"),
        (_small(shifts=("between:2",)), r"task\.shifts 'between:2'\.alpha is 2\.0; a probability"),
        (_small(shifts=("skewed", "skewed")), r"task\.shifts is \('skewed', 'skewed'\); each name must be there once"),
        (_small(shifts=("between",), function=Sparse()), "shift between is for Linear functions, and not for Sparse"),
        (_small(shifts=("w_scale",), function=Quadratic()), "Quadratic has no weights that a shift could scale"),
        (_small(shifts=("w_shift",), function=Sparse()), "Sparse has no weights that a shift could move"),
        (
            _small(shifts=("noisy_targets",), function=LinearClassification()),
            "'noisy_targets' replaces targets by numbers, and the targets of task.function are classes",
        ),
        (_small(shift=named("noisy_targets:-1")), r"task\.shift\.count is -1\.0; it must be at least 0"),
        (
            _small(shifts=("orthogonal_query",), scored="last"),
            r"can ask the slots 0 to 2 only, and task\.scored is 'last': none of them counts\. With task\.dim 3",
        ),
        (_small(shifts=("orthogonal_query",), scored="window", first_scored=3), "task.scored is 'window': none"),
    ],
)
def test_refuses_with_a_sentence(task, words):
    with pytest.raises(ValueError, match=words):
        task.check()
