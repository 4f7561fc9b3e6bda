"""The processes of one run: one per host of a TPU pod, or several on one machine, each with devices of its own.

They run the same program side by side and wait for each other wherever numbers cross between them. So everything that
decides what comes next, how long a chunk is, whether to stop, whether a checkpoint is there, is decided by one process,
the writer, and told to the others; it alone reads and writes the run's folder. With one process none of this does
anything.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TypeVar

import jax
import numpy as np

COORDINATOR = ("JAX_COORDINATOR_ADDRESS", "COORDINATOR_ADDRESS")
T = TypeVar("T")


def connect(
    mode: str = "auto", *, coordinator: str | None = None, processes: int | None = None, number: int | None = None
) -> bool:
    """Connects the processes of a run, before anything asks for a device; whether there are several.

    Args:
      mode: "on": connect, as jax finds out by itself on TPU pods, Slurm, Kubernetes and Open MPI; "off": this process
        alone; "auto": on if the address of a coordinator is given, here or in the environment, or if Slurm or a TPU pod
        has started several processes.
      coordinator: address and port of the first process, as "10.0.0.1:8476", where jax cannot find them.
      processes: how many there are.
      number: of this one, from 0.

    Raises:
      ValueError: if they cannot be connected.
    """
    given = (coordinator, processes, number)
    if mode == "off" or (mode == "auto" and coordinator is None and not _are_several()):
        if given != (None, None, None):
            why = "--distributed is off" if mode == "off" else "--coordinator, the first process's HOST:PORT, is not"
            raise ValueError(f"A number of processes, or the number of one, is given, and {why}.")
        return False
    try:
        jax.distributed.initialize(coordinator, processes, number)
    except Exception as error:  # as many kinds as there are clusters
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"The processes cannot be connected ({told}). On a TPU pod or Slurm give --distributed=on alone; elsewhere "
            "--coordinator=HOST:PORT --processes=N --process=I, the same but the last in every process."
        ) from error
    return jax.process_count() > 1


def _are_several() -> bool:
    """Whether the environment says that this is one process of several."""
    sizes = {os.environ.get(name) or "1" for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")}
    workers = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return any(map(os.environ.get, COORDINATOR)) or sizes != {"1"} or "," in workers


def are_connected() -> bool:
    """Whether this process was connected to others; jax then hears for all of them the signal that one gets."""
    return jax.distributed.is_initialized()


def leave(code: int) -> int:
    """The exit code of a process that cannot go on; one of several ends at once, and with it the others.

    They wait for its numbers, and at its exit jax would wait for them.
    """
    if code and are_connected():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def is_writer() -> bool:
    """Whether this process reads and writes the run's folder and speaks for all."""
    return jax.process_index() == 0


def told(tree: T) -> T:
    """What the writer has: numbers and arrays, of the same shapes in every process."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree)


def said(text: str) -> str:
    """What the writer says."""
    if jax.process_count() == 1:
        return text
    size = int(told(len(text.encode())))
    letters = np.frombuffer(text.encode().ljust(size)[:size], np.uint8)
    return bytes(told(letters)).decode()


def gathered(tree: Any) -> Any:
    """Arrays spread over the devices of all processes, on every host."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return jax.device_get(multihost_utils.process_allgather(tree, tiled=True))


def spread(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Arrays that every host has, over the devices of all processes."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def placed(array: Any) -> jax.Array:
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(placed, tree)
