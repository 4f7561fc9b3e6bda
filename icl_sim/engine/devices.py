"""The devices as one mesh, `member x data`: members are spread first, which needs no communication, and a batch is
divided where there are more devices than members. On a CPU every core is a device: small matrices cannot keep one
matmul of many threads busy, but many members keep many cores busy. A large model has all cores as one device."""

from __future__ import annotations

import math
import os

import jax
import jaxlib.version
import numpy as np
from jax.sharding import AxisType, Mesh

MEMBER, DATA = "member", "data"  # the axes of the mesh

# One thread per device: a second thread per matmul only waits at this size (measured: 1.2x on 2 cores).
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
# Products by Eigen, on all cores a tenth faster than by what XLA chooses, YNNPACK, which keeps the sums.
_EIGEN = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_REDUCE"
_UNTRIED = (0, 13)  # jaxlibs from here on: XLA ends the process at a flag that it does not know


def use_all_cores(cores: int | None = None) -> None:
    """Makes every CPU core a jax device. Call it before anything touches a device; it does nothing on other backends.

    Raises:
      RuntimeError: if the jax backend has already started with fewer devices.
    """
    cores = cores or len(os.sched_getaffinity(0))
    _ask(_ONE_THREAD)
    if "--xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    jax.config.update("jax_num_cpu_devices", cores)


def share_all_cores() -> None:
    """Has the products of one large model, whose one device has all CPU cores, computed by what is fastest there.

    Call it before anything touches a device. It does nothing with jaxlibs that it was not tried with.
    """
    if jaxlib.version.__version_info__ < _UNTRIED:
        _ask(_EIGEN)


def _ask(flag: str) -> None:
    """Adds a flag of XLA, unless the user has set it, or names a file of flags, beside which none can stand."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flag.split("=")[0] not in flags and (not flags or flags.startswith("-")):
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def require() -> None:
    """Starts the jax backend.

    Raises:
      ValueError: in jax's sentence, where there is none as JAX_PLATFORMS asks for.
    """
    try:
        jax.devices()
    except RuntimeError as error:
        raise ValueError(f"jax has no devices here. {error}") from None


def member_mesh(size: int, data: int = 1) -> Mesh:
    """A mesh over the devices of all processes: members along "member", parts of their batches along "data".

    Args:
      size: how many members there are; no more devices are used than they need.
      data: how many devices share the batches of one member.

    Raises:
      ValueError: if there are not as many devices as share a batch.
    """
    devices = jax.devices()
    if not 1 <= data <= len(devices):
        raise ValueError(
            f"{data} devices are to share a batch, and there {'is' if len(devices) == 1 else 'are'} {len(devices)}."
        )
    rows = min(max(1, size), len(devices) // data)
    grid = np.asarray(devices[: rows * data]).reshape(rows, data)
    return Mesh(grid, (MEMBER, DATA), axis_types=(AxisType.Auto, AxisType.Auto))


def memory() -> float:
    """Bytes that this process's devices have in all: on a CPU, those of the machine; inf where they do not tell."""
    if jax.default_backend() == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return sum((device.memory_stats() or {}).get("bytes_limit", math.inf) for device in jax.local_devices())


def memory_for_training() -> float:
    """Bytes that training may take on one device; the rest is for evaluation, what is fetched, and others."""
    is_cpu = jax.default_backend() == "cpu"  # where what is fetched to be saved takes of the same memory
    return (0.4 if is_cpu else 0.8) * memory() / len(jax.local_devices())
