"""The algebra of sweeps and its command-line form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_sim.studies.sweep import Sweep, chain, overridden, parse, product, zip_

values = st.lists(
    st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["x", "y"])), min_size=1, max_size=4
)


def axis(name: str):
    return values.map(lambda chosen: product({name: chosen}))


def as_set(sweep: Sweep) -> set[str]:
    return {repr(sorted(point.items())) for point in sweep}


@given(axis("a"), axis("b"), axis("c"))
def test_product_is_associative_has_an_identity_and_commutes_up_to_order(a, b, c):
    assert product(product(a, b), c) == product(a, product(b, c)) == product(a, b, c)
    assert product(a, Sweep()) == product(Sweep(), a) == a
    assert as_set(product(a, b)) == as_set(product(b, a))
    assert len(product(a, b, c)) == len(a) * len(b) * len(c)


@given(axis("a"), axis("a"), axis("a"), axis("b"))
def test_chain_is_associative_idempotent_and_distributes_over_product(a1, a2, a3, b):
    assert chain(chain(a1, a2), a3) == chain(a1, chain(a2, a3))
    assert chain(a1, a1) == chain(a1)
    assert as_set(product(chain(a1, a2), b)) == as_set(chain(product(a1, b), product(a2, b)))


def test_the_first_name_varies_slowest():
    assert [tuple(p.values()) for p in product({"a": [1, 2], "b": [3, 4]})] == [
        (1, 3),
        (1, 4),
        (2, 3),
        (2, 4),
    ]


def test_zip_pairs_values_and_nests():
    pairs = zip_({"a": [1, 2], "b": ["x", "y"]})
    assert list(pairs) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert len(product(pairs, {"seed": range(3)})) == 6
    assert list(zip_(pairs, {"c": (5, 6)}))[1] == {"a": 2, "b": "y", "c": 6}
    with pytest.raises(ValueError, match="a has 2, b has 3"):
        zip_({"a": [1, 2], "b": [1, 2, 3]})


def test_chain_tells_values_of_different_types_apart():
    assert len(chain({"a": [1]}, {"a": [1.0]}, {"a": [True]}, {"a": [1]})) == 3


def test_a_name_can_vary_in_one_place_only():
    with pytest.raises(ValueError, match="task.p_high twice"):
        product({"task.p_high": [0.5]}, zip_({"task.p_high": [0.9], "seed": [0]}))


def test_values_become_plain_python():
    point = product({"a": np.logspace(0, 1, 2), "b": [[1, np.int64(2)]]}).points[0]
    assert type(point["a"]) is float and point["b"] == (1, 2)


@pytest.mark.parametrize("bad", [{"a": 3}, {"a": "word"}, {"a": []}, {"a": [object()]}, {"a": [math.nan]}])
def test_bad_axes_are_refused_by_name(bad):
    with pytest.raises(ValueError, match="sweep gives a "):
        product(bad)


def test_more_points_than_a_study_holds_are_refused():
    with pytest.raises(ValueError, match="has 100,000,000 points; at most 1,000,000"):
        product({"a": range(10_000), "b": range(10_000)})


@pytest.mark.parametrize("bad", [5, None, "abc", [("seed", [1])], {5: [1]}])
def test_what_is_no_sweep_is_refused(bad):
    for combine in (product, zip_, chain):
        with pytest.raises(ValueError, match="A sweep is made of"):
            combine(bad)


@given(axis("a"), axis("b"), axis("a"))
def test_overriding_replaces_what_both_set_and_keeps_the_rest(a, b, other):
    combined = overridden(product(a, b), other)
    assert as_set(combined.without(["a"])) == as_set(chain(b))
    assert as_set(combined.without(["b"])) == as_set(other)
    assert overridden(a, Sweep()) == a


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5,0.9,-1e-3", [0.5, 0.9, -1e-3]),
        ("0..4", [0, 1, 2, 3, 4]),
        ("-2..2:2", [-2, 0, 2]),
        ("2^10, 2**3,inf", [1024, 8, math.inf]),
        ("2^6..2^12:2", [64, 256, 1024, 4096]),
        ("10^0..10^2", [1, 10, 100]),
        ("2^-1", [0.5]),
        ("true,False,none", [True, False, None]),
        ("rsqrt,constant", ["rsqrt", "constant"]),
    ],
)
def test_values_of_the_command_line(text, expected):
    read = [point["task.x"] for point in parse(f"task.x={text}")]
    assert read == expected and list(map(type, read)) == list(map(type, expected))


def test_the_command_line_is_a_product_of_axes():
    assert parse("task.p_high=0.5,0.9; seed=0..1") == product({"task.p_high": [0.5, 0.9], "seed": [0, 1]})
    assert parse("") == parse(" ; ") == Sweep()
    assert parse("predictors.network.clamps.0.strength=0.5").names == ("predictors.network.clamps.0.strength",)


@pytest.mark.parametrize(
    "text",
    [
        "seed",
        "=3",
        "seed=",
        "seed=1,,2",
        "seed=4..0",
        "seed=0..inf",
        "seed=2^6..3^9",
        "seed=0..9:0",
        "seed=[1]",
    ],
)
def test_what_cannot_be_read_is_named(text):
    with pytest.raises(ValueError, match=r"[Tt]he sweep") as error:
        parse(text)
    assert text.partition("=")[0] in str(error.value)


def test_a_repeated_name_or_value_and_an_endless_range_are_refused():
    with pytest.raises(ValueError, match="seed the value 2 twice"):
        parse("seed=0..2,2")
    assert len(parse("a=1,1.0,true")) == 3
    with pytest.raises(ValueError, match="seed twice"):
        parse("seed=1; seed=2")
    with pytest.raises(ValueError, match="at most 100000"):
        parse("seed=0..1000000000")


@pytest.mark.parametrize("power", ["0.1^-1000", "0^-3", "10^1000"])
def test_powers_beyond_what_a_number_holds_are_named(power):
    with pytest.raises(ValueError, match="the value"):
        parse(f"task.num_sequences={power}")


def test_zip_keeps_a_value_that_comes_again():
    sweep = zip_({"a": (0.0, 0.5, 0.5), "b": (1, 1, 2)})
    assert sweep.points == ({"a": 0.0, "b": 1}, {"a": 0.5, "b": 1}, {"a": 0.5, "b": 2})
