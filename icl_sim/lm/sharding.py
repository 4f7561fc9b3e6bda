"""How the parameters of a decoder are divided over devices that hold it together: heads and the inner width of the
MLP along the axis "model" of a mesh (Shoeybi et al. 2019), and rows of the vocabulary.

The mesh must have Auto axes: the compiler divides the arithmetic as the parameters are, and puts in the sums.
"""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from icl_sim.lm import decoder
from icl_sim.lm.architecture import Architecture
from icl_sim.types import Params

AXIS = "model"


def mesh_of(devices: int) -> Mesh | None:
    """A mesh of the first so many devices, to hold a model together; None for one, which needs no dividing.

    Raises:
      ValueError: if there are not so many.
    """
    there = jax.devices()
    if not 1 <= devices <= len(there):
        raise ValueError(f"A model is to be divided over {devices} devices; there are {len(there)} here.")
    if devices == 1:
        return None
    return Mesh(np.asarray(there[:devices]), (AXIS,), axis_types=(AxisType.Auto,))


def spec_of(architecture: Architecture, path: tuple[str, ...], mesh: Mesh) -> PartitionSpec:
    """How one array is divided. What does not divide evenly, as heads or words, is on every device.

    Raises:
      ValueError: if the mesh has no axis "model".
    """
    if AXIS not in mesh.shape:
        raise ValueError(f"The mesh has the axes {', '.join(mesh.axis_names)}; it must have one named {AXIS}.")
    a, parts = architecture, mesh.shape[AXIS]
    many = {
        "query": a.heads,
        "output": a.heads,
        "key": a.kv_heads,
        "value": a.kv_heads,
        "gate": a.mlp_width,
        "up": a.mlp_width,
        "down": a.mlp_width,
    }
    part, name, leaf = path[0], path[1], path[-1]
    if part == "layers" and many.get(name, 1) % parts == 0:
        if name in ("output", "down"):  # their inputs are divided; the bias is added to the sum
            return PartitionSpec(None, AXIS, None) if leaf == "kernel" else PartitionSpec()
        return PartitionSpec(None, None, AXIS) if leaf == "kernel" else PartitionSpec(None, AXIS)
    if leaf == "token" and a.vocab_size % parts == 0:
        return PartitionSpec(AXIS, None)
    return PartitionSpec()


def shardings(architecture: Architecture, mesh: Mesh) -> Params:
    """A `NamedSharding` for every parameter, as a tree of the same form: for `jax.device_put` and `jit`."""

    def named(path, _):
        return NamedSharding(mesh, spec_of(architecture, tuple(key.key for key in path), mesh))

    return jax.tree_util.tree_map_with_path(named, decoder.shapes(architecture))
