"""Accelerators by name, alone and many."""

from __future__ import annotations

import pytest

from icl_sim.engine.accelerators import ACCELERATORS, parse


def test_a_name_and_how_many():
    assert parse("v5e") == (ACCELERATORS["v5e"], 1)
    assert parse(" V5e-256 ") == (ACCELERATORS["v5e"], 256)
    assert parse("h100-8")[0].name == "NVIDIA H100"


@pytest.mark.parametrize("text", ["", "v5e-0", "-8", "v5e-1000000", "v5e-x", "8xh100"])
def test_what_is_no_accelerator_is_a_sentence(text):
    with pytest.raises(ValueError, match="The accelerator "):
        parse(text)


def test_the_nearest_name_is_told():
    with pytest.raises(ValueError, match="Did you mean 'v6e'"):
        parse("v66e")


def test_the_fastest_is_not_slower_than_its_elders():
    assert ACCELERATORS["v4"].peak < ACCELERATORS["v5p"].peak < ACCELERATORS["v6e"].peak
    assert all(1e14 < each.peak < 1e15 and each.memory >= 16e9 and each.source for each in ACCELERATORS.values())
