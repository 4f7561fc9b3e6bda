"""Dotted names of settings, and values of the declared types."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icl_sim.studies import fields
from icl_sim.tasks import ClassMixture, Glyphs, Prototypes, Regression
from icl_sim.types import Array, Leaf, Task, setting, static, unbounded


@setting
class Inner:
    noise: Leaf = 0.2
    table: Array | None = None


@setting
class Outer(Task):
    rate: Leaf = 1.0
    count: Leaf = 0
    on: Leaf = False
    seed: Leaf | None = None
    inner: Inner = Inner()
    size: int = static(3)
    sizes: tuple[int, ...] = static((1, 2))
    law: str = static("a")
    words: tuple[str, ...] = static(())
    rates: Leaf | tuple[Leaf, ...] = 1.0
    pool: Leaf | None = unbounded(None)
    most: Leaf = math.inf


def test_arrays_that_code_binds_are_not_chosen():
    assert set(fields.declared(Inner)) == {"noise"}
    assert set(fields.declared(Prototypes)) == {"noise", "held_out", "dim"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", 1, 1.0),
        ("rate", np.float32(0.5), 0.5),
        ("most", math.inf, math.inf),
        ("pool", math.inf, math.inf),
        ("pool", "inf", math.inf),  # so it comes from a command line where nothing says that it is a number
        ("pool", "none", None),
        ("count", 4.0, 4),
        ("on", 1, True),
        ("seed", 3, 3),
        ("seed", None, None),
        ("inner.noise", 0, 0.0),
        ("size", 1e4, 10_000),
        ("sizes", [3], (3,)),
        ("law", "b", "b"),
        ("words", "b", ("b",)),
        ("words", True, ("true",)),  # as a sweep reads the word
        ("words", (True, "b"), ("true", "b")),
        ("rates", (0.5, 0.25), (0.5, 0.25)),
        ("rates", 2, 2.0),
    ],
)
def test_values_take_the_declared_type(name, value, expected):
    read = fields.read(fields.replaced(Outer(), name, value, "task"), name)
    assert read == expected and type(read) is type(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("rate", bad) for bad in ("x", None, True)),
        *(("count", bad) for bad in (0.5, math.inf)),
        ("size", True),
        ("law", 3),
        ("inner", 3),
        ("inner.noise", "loud"),
        ("seed", "x"),
    ],
)
def test_wrong_types_are_named(name, value):
    with pytest.raises(ValueError, match=rf"task\.{name} is {value!r}; it must be "):
        fields.replaced(Outer(), name, value, "task")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("rate", math.inf, "is inf; it must be finite"),
        ("rate", math.nan, "is nan; it must be finite"),
        ("most", math.nan, "is nan; it must be a number, or inf"),
        ("most", 1e300, r"is 1e\+300; it must be at most 3.4e\+38 in size"),
        ("rate", -1e39, r"is -1e\+39; it must be at most 3.4e\+38 in size"),
        ("rate", 10**400, r"is 10+\.\.\.0+; it must be at most 3.4e\+38 in size"),
        ("rates", (0.5, math.nan), "is nan; it must be finite"),
        ("rates", (0.5, "x"), r"is \(0.5, 'x'\); it must be a tuple of numbers"),
        ("inner.noise", math.inf, "is inf; it must be finite"),
        ("count", 2**32, r"is 4294967296; it must be from -2\^31 to 2\^32 - 1"),
        ("size", 2**31, r"is 2147483648; it must be below 2\^31 in size"),
    ],
)
def test_numbers_that_32_bits_cannot_hold_are_refused(name, value, sentence):
    with pytest.raises(ValueError, match=rf"task\.{name} {sentence}"):
        fields.replaced(Outer(), name, value, "task")
    assert fields.replaced(Outer(), "size", 2**31 - 1, "task").size == 2**31 - 1


def test_unknown_names_get_the_nearest():
    with pytest.raises(ValueError, match=r"task has no field 'p_hihg'.*Did you mean 'p_high'"):
        fields.replaced(ClassMixture(), "p_hihg", 0.5, "task")
    with pytest.raises(ValueError, match=r"task\.inputs has no field 'nois'.*Did you mean 'noise'"):
        fields.replaced(ClassMixture(), "inputs.nois", 0.5, "task")
    with pytest.raises(ValueError, match=r"task\.p_high is 0\.9 and has no fields"):
        fields.replaced(ClassMixture(), "p_high.x", 0.5, "task")


def test_normalizing_reaches_nested_settings_and_changes_nothing_else():
    task = ClassMixture(p_high=1, inputs=Glyphs(noise=0))
    normal = fields.normalized(task, "task")
    assert normal == task and type(normal.p_high) is type(normal.inputs.noise) is float
    with pytest.raises(ValueError, match=r"task\.inputs\.dim is 'x'"):
        fields.normalized(ClassMixture(inputs=Prototypes(dim="x")), "task")


def test_tuples_of_words_take_no_numbers():
    task = Regression()
    assert fields.coerced(task, "shifts", (True, "x_scale:2"), "task") == ("true", "x_scale:2")
    for wrong in ((1,), (0.0,), (["x"],)):
        with pytest.raises(ValueError, match="task.shifts is .* must be a tuple of words"):
            fields.coerced(task, "shifts", wrong, "task")
