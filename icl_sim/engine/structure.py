"""Trees of settings: which have equal structure, and many of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


def structure(tree: Any) -> Any:
    """What decides the program: the tree's static fields and its leaves' shapes, hashable."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple(np.shape(leaf) for leaf in leaves)


def stack(trees: Sequence[Any]) -> Any:
    """Stacks trees of equal structure leaf by leaf; whole numbers stay integers, others become float32."""
    return jax.tree.map(lambda *leaves: _column(leaves), *trees)


def _column(leaves: Sequence[Any]) -> np.ndarray:
    column = np.stack([np.asarray(leaf) for leaf in leaves])
    if column.dtype.kind == "f":
        return column.astype(np.float32)
    if column.dtype.kind in "iu":
        return column.astype(np.int32 if column.max() < 2**31 else np.uint32)
    return column
