"""`import icl_sim` is free: whoever only wants `--help`, a setting or a version does not wait for jax."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# What is heavy and not needed until something is simulated, tabulated or drawn.
HEAVY = ("flax", "jax", "matplotlib", "numpy", "optax", "orbax", "pandas", "plotly", "pyarrow")

REPORT = """
import json, os, sys
before = os.times()
{statement}
after = os.times()
cpu = after.user + after.system - before.user - before.system
print(json.dumps({{"cpu": cpu, "modules": sorted(sys.modules)}}))
"""


def imported(statement: str) -> dict:
    """The CPU seconds of a statement in a fresh interpreter, and the modules there after it."""
    command = [sys.executable, "-c", REPORT.format(statement=statement)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("name", HEAVY)
def test_import_brings_nothing_heavy(name):
    assert name not in imported("import icl_sim")["modules"]


def test_import_costs_little_cpu():
    # Least of three: the first one may have to compile the byte code.
    assert min(imported("import icl_sim")["cpu"] for _ in range(3)) < 0.3


def test_the_public_names_come_on_first_use():
    modules = imported("import icl_sim; icl_sim.tasks")["modules"]
    assert "icl_sim.tasks" in modules
    assert "matplotlib" not in modules
