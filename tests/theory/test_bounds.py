"""The bounds against the table of Figure 1 of Chan et al. 2025, against contexts built by hand, and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_sim.theory import bounds

L = 8
K = np.arange(L)
FIGURE = dict(label_noise=0.01, constant=10.0)


def _as_printed(values, table):
    """Equal to every digit of a table that prints numbers such as 1.386 and .0026."""
    for value, printed in zip(values, table.split(), strict=True):
        assert f"{value:.{len(printed.split('.')[1])}f}" == ("0" if printed[0] == "." else "") + printed


# Figure 1: L = 8, eps = 0.01.


def test_entropy_of_the_figure_s_label_noise():
    _as_printed([bounds.label_noise_entropy(0.01)], ".0560")


def test_in_weight_column_of_the_table():
    _as_printed(bounds.in_weight_upper(2.0 ** np.array([12, 16, 20, 24]), **FIGURE), ".2123 .0951 .0658 .0584")


def test_in_context_columns_of_the_table():
    lower = bounds.in_context_lower(K, L)
    _as_printed(bounds.in_context_lower(K, L, factor=2), ".0000 .0052 .0121 .0217 .0360 .0592 .1042 .2273")
    _as_printed(lower, ".0000 .0026 .0061 .0109 .0180 .0296 .0521 .1136")
    _as_printed(bounds.in_context_best(K, L), ".0000 .0026 .0061 .0109 .0181 .0301 .0535 .1206")
    _as_printed(bounds.in_context_upper(K, L), ".0000 .1335 .2877 .4700 .6931 .9808 1.386 2.079")


def test_last_row_of_the_table():
    for bound in (bounds.in_context_lower, bounds.in_context_best, bounds.in_context_upper):
        _as_printed([bound(L, L)], "4.605")


def test_crossings_of_the_table():
    never, once = np.split(bounds.crossing(K, L, factor=2, **FIGURE), [5])
    assert (never == math.inf).all()
    _as_printed(np.log2(once), "23.2 15.4 11.7")


def test_what_the_figure_draws_is_no_bound_on_the_cross_entropy():
    # The best context there is costs less than the figure's "lower bound", for every k between the ends.
    assert bounds.in_context_lower(7, L, factor=2) > bounds.in_context_best(7, L) + 0.1
    assert (bounds.in_context_lower(K[1:], L, factor=2) > bounds.in_context_best(K[1:], L)).all()


# What contexts really cost: the right label's share of the weights exp(-d / temperature).


def _cross_entropy(matching_d, other_d, temperature):
    right, wrong = (np.exp(-np.asarray(d) / temperature).sum() for d in (matching_d, other_d))
    return -math.log(right / (right + wrong))


def test_best_and_upper_are_attained():
    near, far = np.full(3, 0.5), np.full(5, 2.5)
    best = bounds.in_context_best(5, L, distance_range=2.0, temperature=0.7)
    np.testing.assert_allclose(_cross_entropy(near, far, 0.7), best, rtol=1e-12)
    np.testing.assert_allclose(_cross_entropy(near, near[[0, 0, 0, 0, 0]], 0.7), bounds.in_context_upper(5, L))


def test_upper_does_not_hold_where_what_does_not_match_is_nearer():
    assert _cross_entropy([4.0] * 3, [0.0] * 5, 1.0) > bounds.in_context_upper(5, L)


def test_the_figure_s_factor_is_the_least_l1_distance():
    right = 3 * math.exp(4) / (3 * math.exp(4) + 5)
    l1 = (1 - right) + (1 - right)  # on the right label, and on all of the others
    np.testing.assert_allclose(bounds.in_context_lower(5, L, factor=2), l1, rtol=1e-12)


@given(
    distances=st.lists(st.floats(0, 4), min_size=2, max_size=12),
    data=st.data(),
    temperature=st.floats(0.05, 20),
)
def test_every_context_whose_matches_are_nearest_is_within_the_bounds(distances, data, temperature):
    num_matching = data.draw(st.integers(1, len(distances)))
    near_first = np.sort(distances)
    cost = _cross_entropy(near_first[:num_matching], near_first[num_matching:], temperature)
    k, length = len(distances) - num_matching, len(distances)
    low = bounds.in_context_best(k, length, temperature=temperature)
    assert low - 1e-9 <= cost <= bounds.in_context_upper(k, length) + 1e-9


@given(
    length=st.integers(1, 1000),
    data=st.data(),
    distance_range=st.floats(0, 1e6),
    temperature=st.floats(1e-6, 1e6),
)
def test_lower_is_below_best_is_below_upper(length, data, distance_range, temperature):
    k = data.draw(st.integers(0, length - 1))
    settings = dict(distance_range=distance_range, temperature=temperature)
    lower, best = bounds.in_context_lower(k, length, **settings), bounds.in_context_best(k, length, **settings)
    rounding = 1 + 1e-14
    assert 0 <= lower <= best * rounding and best <= bounds.in_context_upper(k, length) * rounding


# The crossing.


@given(
    length=st.integers(1, 50),
    data=st.data(),
    label_noise=st.floats(0, 0.5),
    constant=st.floats(0.01, 100),
    union=st.none() | st.tuples(st.integers(1, 10**9), st.floats(1e-9, 0.999)),
    distance_range=st.floats(0, 6),
    temperature=st.floats(0.5, 5),
    factor=st.sampled_from([1.0, 2.0]),
)
def test_the_bounds_are_equal_at_the_crossing(
    length, data, label_noise, constant, union, distance_range, temperature, factor
):
    k = data.draw(st.integers(0, length))
    in_context = dict(distance_range=distance_range, temperature=temperature, floor=0.02, factor=factor)
    in_weight = dict(label_noise=label_noise, constant=constant)
    if union is not None:
        in_weight |= dict(num_inputs=union[0], delta=union[1])
    lower = bounds.in_context_lower(k, length, **in_context)
    at = bounds.crossing(k, length, **in_weight, **in_context)
    if math.isinf(at):
        assert bounds.in_weight_upper(1e15, **in_weight) > lower
        return
    np.testing.assert_allclose(bounds.in_weight_upper(at, **in_weight), lower, rtol=1e-12)
    if lower - bounds.label_noise_entropy(label_noise) > 1e-12:  # else they differ by less than float64 resolves
        assert bounds.in_weight_upper(at * 0.99, **in_weight) > lower > bounds.in_weight_upper(at * 1.01, **in_weight)


def test_in_context_learning_persists_where_it_is_perfect_or_as_good_as_the_noise():
    assert bounds.crossing(0, L) == math.inf  # both bounds come down to 0
    h = bounds.label_noise_entropy(0.01)
    assert bounds.crossing(L, L, label_noise=0.01, floor=math.exp(-h) * (1 + 1e-9)) == math.inf
    assert bounds.crossing(7, L, distance_range=1e6) == math.inf  # so much the nearer that the error is 0 in float64


def test_crossing_without_noise_and_without_relevant_items():
    np.testing.assert_allclose(bounds.crossing(L, L, floor=math.exp(-5), constant=10.0), 4.0, rtol=1e-12)


# The in-weight bound.


def test_in_weight_bound_over_all_inputs():
    # log(2 * 50 / 0.1) = log(1000)
    expected = bounds.label_noise_entropy(0.25) + 3 * math.sqrt(math.log(1000) / 7)
    found = bounds.in_weight_upper(7, label_noise=0.25, constant=3, num_inputs=50, delta=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_in_weight_bound_without_data_is_vacuous_and_with_infinite_data_is_the_noise():
    assert bounds.in_weight_upper(0) == math.inf
    assert bounds.in_weight_upper(0, num_inputs=5, delta=0.1) == math.inf
    assert bounds.in_weight_upper(math.inf, label_noise=0.3) == bounds.label_noise_entropy(0.3)
    assert bounds.in_weight_upper(4) == 0.5


# The entropy.


def test_entropy_at_its_ends_and_its_middle():
    np.testing.assert_array_equal(bounds.label_noise_entropy([0.0, 1.0]), [0.0, 0.0])
    np.testing.assert_allclose(bounds.label_noise_entropy(0.5), math.log(2), rtol=1e-15)
    np.testing.assert_allclose(bounds.label_noise_entropy([0.2, 0.8]), [0.5004024235381879] * 2, rtol=1e-14)


def test_entropy_of_very_little_noise_keeps_its_digits():
    np.testing.assert_allclose(bounds.label_noise_entropy(1e-20), 1e-20 * (20 * math.log(10) + 1), rtol=1e-14)


# Limits.


def test_no_irrelevant_item_costs_exactly_nothing():
    for bound in (bounds.in_context_lower, bounds.in_context_best, bounds.in_context_upper):
        assert bound(0, [1, 8, 1000]).tolist() == [0.0, 0.0, 0.0]


def test_extreme_distances_neither_overflow_nor_warn():
    # The suite turns warnings into errors.
    for bound in (bounds.in_context_lower, bounds.in_context_best):
        assert bound([7, L], L, distance_range=1e300, temperature=1e-300).tolist() == [0.0, -math.log(0.01)]
        assert bound(7, L, distance_range=0.0) > 0.8


def test_the_factor_does_not_scale_the_floor():
    assert bounds.in_context_lower(L, L, factor=2, floor=0.1) == bounds.in_context_lower(L, L, floor=0.1)


def test_temperature_divides_the_distances():
    for bound in (bounds.in_context_lower, bounds.in_context_best):
        assert bound(7, L, distance_range=6.0, temperature=3.0) == bound(7, L, distance_range=2.0)


# Broadcasting.


def _axis(values, axis, axes):
    return np.reshape(values, [-1 if i == axis else 1 for i in range(axes)])


@pytest.mark.parametrize(
    "bound, axes",
    [
        (bounds.label_noise_entropy, dict(label_noise=[0.0, 0.1])),
        (
            bounds.in_weight_upper,
            dict(
                exposures=[0, 1, 9], label_noise=[0.0, 0.1], constant=[1, 10], num_inputs=[1, 5], delta=[0.1, 0.2, 0.3]
            ),
        ),
        (bounds.in_context_upper, dict(irrelevant=[0, 1, 4], length=[4, 5], floor=[0.1, 0.2])),
        (
            bounds.in_context_best,
            dict(irrelevant=[0, 1, 4], length=[4, 5], distance_range=[0, 4], temperature=[1, 2], floor=[0.1, 0.2, 0.3]),
        ),
        (
            bounds.in_context_lower,
            dict(
                irrelevant=[0, 1, 4],
                length=[4, 5],
                distance_range=[0, 4],
                temperature=[1, 2],
                floor=[0.1, 0.2],
                factor=[1, 2],
            ),
        ),
        (
            bounds.crossing,
            dict(
                irrelevant=[0, 1, 4],
                length=[4, 5],
                label_noise=[0.0, 0.1],
                constant=[1, 10],
                num_inputs=[1, 5],
                delta=[0.1, 0.2],
                distance_range=[0, 4],
                temperature=[1, 2],
                floor=[0.1, 0.2],
                factor=[1, 2],
            ),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_argument_broadcasts(bound, axes):
    shaped = {name: _axis(values, i, len(axes)) for i, (name, values) in enumerate(axes.items())}
    every = _call(bound, shaped)
    assert isinstance(every, np.ndarray) and every.dtype == np.float64
    assert every.shape == tuple(len(values) for values in axes.values())
    for index in np.ndindex(every.shape):
        one = _call(bound, {name: values[i] for (name, values), i in zip(axes.items(), index, strict=True)})
        assert isinstance(one, np.float64) and one == pytest.approx(every[index], rel=1e-12)


def _call(bound, arguments):
    """The two axes that have no default stand first, and everything else goes by its name."""
    by_name = dict(arguments)
    first = [by_name.pop(name) for name in ("exposures", "irrelevant", "length") if name in by_name]
    return bound(*first, **by_name)


# Arguments that are refused.

NAN = math.nan
WRONG = {
    "label_noise": (-0.1, 1.1, NAN, "x"),
    "exposures": (-1.0, NAN, None, 1j),
    "constant": (0.0, -1.0, math.inf, NAN),
    "num_inputs": (0, -5, math.inf, NAN),
    "delta": (0.0, 1.0, -0.1, 1.5, NAN),
    "irrelevant": (-1, 1.5, 9, math.inf, NAN),
    "length": (0, -8, 7.5, math.inf, NAN, 10**400),
    "floor": (0.0, 1.0, -0.1, NAN),
    "distance_range": (-1.0, math.inf, NAN),
    "temperature": (0.0, -1.0, math.inf, NAN),
    "factor": (0.0, -2.0, math.inf, NAN),
}
IN_WEIGHT = dict(label_noise=0.001, constant=1.0, num_inputs=5, delta=0.1)
IN_CONTEXT = dict(irrelevant=3, length=8, floor=0.01)
DISTANCES = dict(distance_range=4.0, temperature=1.0)
RIGHT = {
    bounds.label_noise_entropy: dict(label_noise=0.1),
    bounds.in_weight_upper: dict(exposures=7) | IN_WEIGHT,
    bounds.in_context_upper: IN_CONTEXT,
    bounds.in_context_best: IN_CONTEXT | DISTANCES,
    bounds.in_context_lower: IN_CONTEXT | DISTANCES | dict(factor=1.0),
    bounds.crossing: IN_CONTEXT | DISTANCES | IN_WEIGHT | dict(factor=1.0),
}
REFUSED = [
    pytest.param(bound, right, name, value, id=f"{bound.__name__}-{name}-{str(value)[:5]}")
    for bound, right in RIGHT.items()
    for name in right
    for value in WRONG[name]
]


@pytest.mark.parametrize("bound, right, name, value", REFUSED)
def test_a_wrong_argument_is_refused_by_name_and_value(bound, right, name, value):
    assert np.isfinite(_call(bound, right))
    shown = f"{value:g}" if isinstance(value, int | float) and value < 1e99 else repr(value)
    with pytest.raises(ValueError) as refused:
        _call(bound, right | {name: value})
    assert str(refused.value).startswith(f"{name} is {shown}") and "; allowed: " in str(refused.value)


def test_one_wrong_value_among_many_is_the_one_named():
    with pytest.raises(ValueError, match=r"^delta is 1\.5; allowed: numbers between 0 and 1, both excluded\.$"):
        bounds.in_weight_upper(1, num_inputs=5, delta=[0.1, 1.5, 0.2])
    with pytest.raises(ValueError, match=r"^irrelevant is 6 where length is 5; allowed: whole numbers from 0"):
        bounds.in_context_upper([[3], [6]], [8, 5])


@pytest.mark.parametrize("bound, first", [(bounds.in_weight_upper, (1,)), (bounds.crossing, (3, 8))])
def test_num_inputs_and_delta_go_together(bound, first):
    with pytest.raises(ValueError, match=r"^num_inputs is 5 and delta is None; allowed: both of them, or neither\."):
        bound(*first, num_inputs=5)
    with pytest.raises(ValueError, match=r"^num_inputs is None and delta is 0\.1; allowed: both of them, or neither\."):
        bound(*first, delta=0.1)
