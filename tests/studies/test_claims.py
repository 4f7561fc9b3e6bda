"""Claims are data: they survive JSON, and mistakes in them are sentences."""

from __future__ import annotations

import json
import math

import pytest

from icl_sim.studies import claims
from icl_sim.studies.claims import (
    At,
    Claim,
    Crossing,
    Difference,
    Largest,
    Lowest,
    MinimumAt,
    Ratio,
    Smallest,
    Trend,
    Value,
    above,
    below,
    near,
)

VALUE = Value(predictor="p", metric="error", eval_set="test", where={"n": math.inf, "word": "a", "hidden": (64, 64)})
MEASURES = [
    VALUE,
    Difference(VALUE, VALUE),
    Largest(VALUE, "n", at_least=4, ends=(4.0, 8.0)),
    Smallest(VALUE, "n", at_most=4),
    MinimumAt(VALUE, "n", (2, 4)),
    Lowest(VALUE, (VALUE, VALUE)),
    Trend(VALUE, "n", rising=False),
    Crossing(VALUE, VALUE),
    Crossing(VALUE, 0.0, over="n", summed=True),
    At(VALUE, Crossing(VALUE, math.inf)),
    Ratio(VALUE, At(VALUE, Crossing(VALUE, 0.5))),
]


def claim(measure=VALUE, **changes):
    fields = {
        "id": "a",
        "statement": "s",
        "source": "x",
        "measure": measure,
        "condition": below(1.0),
    } | changes
    return Claim(**fields)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: type(m).__name__)
def test_json_round_trip(measure):
    before = (
        claim(measure, published="≈ 1"),
        claim(measure, id="b", condition=near(0.5, 0.1), published=0.5, exact=True),
    )
    plain = json.loads(json.dumps(claims.to_json(before), allow_nan=False))
    assert claims.from_json(plain) == before


def test_ranges():
    assert (below(0.2).high, above(0.2).low) == (0.2, 0.2)
    assert (near(0.5, 0.25).low, near(0.5, 0.25).high) == (0.25, 0.75)
    with pytest.raises(ValueError, match="low < high"):
        near(0.5, 0.0)


def test_two_claims_of_one_id_are_refused():
    with pytest.raises(ValueError, match='"a"'):
        claims.check([claim(), claim()])


@pytest.mark.parametrize(
    "wrong",
    [
        Crossing(VALUE, "0"),
        Crossing(0.5, VALUE),
        At(VALUE, VALUE),
        Ratio(VALUE, Difference(VALUE, VALUE)),
        Ratio(VALUE, 2.0),
        Lowest(VALUE, (VALUE, 2.0)),
    ],
)
def test_parts_of_another_kind_are_refused(wrong):
    plain = claims.to_json([claim(wrong)])
    with pytest.raises(ValueError, match=f"A {type(wrong).__name__} has .*; it must be "):
        claims.from_json(plain)


@pytest.mark.parametrize("plain", [[{"kind": "Nonsense"}], [{"kind": "Range"}], [{"kind": "Claim", "id": "a"}], 3])
def test_what_is_no_claim_is_refused(plain):
    with pytest.raises(ValueError, match="kind|Claims"):
        claims.from_json(plain)


def test_lowest_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one other"):
        Lowest(VALUE, ())
