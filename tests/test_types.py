"""Settings are pytrees: what they are made of, and that no two classes are one structure."""

from __future__ import annotations

import jax
import pytest

from icl_sim.predictors import PREDICTORS
from icl_sim.tasks.regression.shifts import SHIFTS
from icl_sim.types import setting, static


@setting
class Apple:
    weight: float = 1.0
    kind: str = static("red")


@setting
class Pear:
    weight: float = 1.0
    kind: str = static("red")


def test_leaves_and_structure_come_back_as_they_were():
    pear = Pear(weight=2.0, kind="green")
    leaves, treedef = jax.tree.flatten(pear)
    assert leaves == [2.0]
    assert jax.tree.unflatten(treedef, leaves) == pear
    assert jax.tree.map(lambda leaf: leaf + 1, pear) == Pear(weight=3.0, kind="green")


def test_a_leaf_is_named_by_its_field():
    [(path, _)] = jax.tree_util.tree_leaves_with_path({"fruit": Pear()})
    assert jax.tree_util.keystr(path, simple=True, separator=".") == "fruit.weight"


def test_what_is_structure_and_only_that_tells_settings_apart():
    assert jax.tree.structure(Pear(weight=2.0)) == jax.tree.structure(Pear())
    assert jax.tree.structure(Pear(kind="green")) != jax.tree.structure(Pear())


@pytest.mark.parametrize("kinds", [[Apple, Pear], SHIFTS.values(), PREDICTORS.values()])
def test_two_classes_of_the_same_fields_are_two_structures(kinds):
    """Equality, not the hash: caches ask for it when hashes meet."""
    kinds = list(dict.fromkeys(kinds))
    structures = [jax.tree.structure(kind()) for kind in kinds]
    for number, one in enumerate(structures):
        assert not any(one == other for other in structures[number + 1 :])
