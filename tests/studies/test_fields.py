"""Dotted names of settings, and values of the declared types."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icl_sim.studies import fields
from icl_sim.tasks import ClassMixture, Glyphs, Prototypes
from icl_sim.types import Array, Leaf, Task, setting, static


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


def test_arrays_that_code_binds_are_not_chosen():
    assert set(fields.declared(Inner)) == {"noise"}
    assert set(fields.declared(Prototypes)) == {"noise", "held_out", "dim"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", 1, 1.0),
        ("rate", np.float32(0.5), 0.5),
        ("rate", math.inf, math.inf),
        ("count", 4.0, 4),
        ("on", 1, True),
        ("seed", 3, 3),
        ("seed", None, None),
        ("inner.noise", 0, 0.0),
        ("size", 1e4, 10_000),
        ("sizes", [3], (3,)),
        ("law", "b", "b"),
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
