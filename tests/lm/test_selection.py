from __future__ import annotations

import numpy as np
import pytest

from icl_sim.lm import selection

SST2 = 67_349
PUBLISHED = {1: [38518, 11577, 35837, 48824, 33249], 2: [29199, 21524, 12250], 3: [50268, 40020, 31362]}


@pytest.mark.parametrize("seed", PUBLISHED)
def test_the_published_picks_of_sst2(seed):
    assert selection.picks(SST2, seed)[: len(PUBLISHED[seed])].tolist() == PUBLISHED[seed]
    assert selection.demonstrations(range(SST2), 3, seed) == PUBLISHED[seed][:3]


def test_at_most_2000_are_asked_after_a_shuffle_of_seed_1():
    asked = selection.validation(range(7600))
    assert asked == np.random.default_rng(1).permutation(7600)[:2000].tolist()
    assert sorted(selection.validation(range(5))) == list(range(5))


def test_other_orders_are_of_the_same_demonstrations():
    chosen = list("abcdefgh")
    assert selection.permuted(chosen, 0) == chosen
    orders = {tuple(selection.permuted(chosen, index)) for index in range(6)}
    assert len(orders) == 6 and all(sorted(order) == chosen for order in orders)


def test_too_many_shots_are_a_sentence():
    with pytest.raises(ValueError, match="shots is 4; it must be from 0 to 3"):
        selection.demonstrations("abc", 4, 0)


@pytest.mark.parametrize(("budget", "fits"), [(26, 2), (27, 3), (100, 4), (6, 0)])
def test_demonstrations_stop_before_the_budget_is_reached(budget, fits):
    assert selection.fitting([5, 5, 10, 3], start=1, longest_query=5, budget=budget) == fits


def test_a_long_demonstration_stops_what_comes_after_it():
    assert selection.fitting([5, 50, 1], start=0, longest_query=5, budget=30) == 1
