"""Which processes belong together; with one, nothing has to be told. Two that do: tests/launch/test_distributed.py."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.engine import hosts


@pytest.fixture
def initialized(monkeypatch):
    """What jax was asked to connect."""
    asked = []
    for name in (*hosts.COORDINATOR, "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: asked.append(args))
    return asked


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1", "TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"SLURM_STEP_NUM_TASKS": "", "OMPI_COMM_WORLD_SIZE": ""}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1:8476"}, True),
    ],
)
def test_the_environment_tells_whether_there_are_several(environment, several, initialized, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    hosts.connect("auto")
    assert bool(initialized) is several
    initialized.clear()
    hosts.connect("off")
    assert not initialized


def test_they_are_connected_as_told(initialized):
    hosts.connect("auto", coordinator="localhost:1", processes=2, number=1)
    hosts.connect("on")
    assert initialized == [("localhost:1", 2, 1), (None, None, None)]
    with pytest.raises(ValueError, match="is given, and --distributed is off"):
        hosts.connect("off", processes=2)
    with pytest.raises(ValueError, match="is given, and --coordinator, the first process's HOST:PORT, is not"):
        hosts.connect("auto", processes=2)


def test_one_process_is_the_writer_and_has_all_there_is():
    tree = {"a": np.arange(3), "b": np.float32(1)}
    assert hosts.is_writer() and not hosts.are_connected() and hosts.leave(3) == 3
    assert hosts.told(tree) is tree and hosts.said("words") == "words"
    assert {name: array.tolist() for name, array in hosts.gathered(tree).items()} == {"a": [0, 1, 2], "b": 1.0}
