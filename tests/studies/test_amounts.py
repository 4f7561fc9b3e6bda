"""Amounts in words."""

from __future__ import annotations

import pytest

from icl_sim.studies.amounts import short, size, span


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 "), (0.5, "0.5 "), (999, "999 "), (999.9, "1 k"), (1000, "1 k"), (47_100_000, "47.1 M"), (2.5e15, "2.5 P")],
)
def test_three_digits_and_a_unit(number, told):
    assert short(number) == told
    assert size(number) == f"{told}B"


def test_spans_of_time():
    assert span(3723.4) == "1:02:03" and span(2 * 86400) == "2 days, 0:00:00" and span(1e30)
    assert span(0) == "0:00:00" and span(0.0123) == "12.3 ms" and span(0.9994) == "999 ms" and span(0.9996) == "0:00:01"
