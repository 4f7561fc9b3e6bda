"""Features computed beforehand, such as those of a trained image network (Singh et al. 2023)."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim import draws
from icl_sim.names import expanded
from icl_sim.types import Array, Key, Leaf, setting, static


@setting
class Features:
    """x = features[class, exemplar] + noise N(0, I), read from an .npy file `[classes, exemplars, dim]`.

    Attributes:
      noise: standard deviation of what is added to every coordinate of every occurrence.
      file: the .npy file of floats; class c is its row c.
      exemplars: how many of each class's exemplars to use, the first ones.
      table: `[C, exemplars, dim]`, bound by `prepare`.
    """

    noise: Leaf = 0.0
    file: str = static("")
    exemplars: int = static(20)
    table: Any = None

    @property
    def has_new(self) -> bool:
        return False

    @property
    def new(self) -> int:
        """How many such classes a batch shares."""
        return 0

    def check(self, num_classes: int) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"task.inputs.noise is {self.noise}; it must be at least 0 and finite.")
        if self.exemplars < 1:
            raise ValueError(f"task.inputs.exemplars is {self.exemplars}; it must be at least 1.")
        self.load(num_classes)

    def load(self, num_classes: int) -> np.ndarray:
        """The features of the first classes, `[C, exemplars, dim]` float32."""
        features_CEX = _read(self.file)
        classes, exemplars, _ = features_CEX.shape
        if classes < num_classes or exemplars < self.exemplars:
            raise ValueError(
                f"The features of {self.file} are of {classes} classes with {exemplars} exemplars each; the task has "
                f"{num_classes} classes, and task.inputs.exemplars is {self.exemplars}."
            )
        return _finite(self.file, num_classes, self.exemplars)

    def prepare(self, key: Key, num_classes: int, shared: Any = None) -> Features:
        del key
        table = self.load(num_classes) if shared is None else shared
        return Features(noise=self.noise, file=self.file, exemplars=self.exemplars, table=table)

    def render_exemplars(self, keys_B: Key, classes_BS: Array, exemplars_BS: Array) -> Array:
        """Inputs `[B, S, dim]`."""
        if self.table is None:
            raise ValueError("The features have not been read yet; call prepare first.")
        table_CEX = jnp.asarray(self.table)
        shape = (classes_BS.shape[1], table_CEX.shape[-1])
        noise_BSX = jax.vmap(lambda key: draws.noise(key, shape, self.noise))(keys_B)
        return table_CEX[classes_BS, exemplars_BS] + noise_BSX


@functools.lru_cache(maxsize=2)
def _read(file: str) -> np.ndarray:
    cure = "it must name an .npy file of floats [classes, exemplars, dim]."
    if not file:
        raise ValueError(f"task.inputs.file is empty; {cure}")
    path = expanded(file)
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"task.inputs.file is {file!r}, which cannot be read ({error}); {cure}") from error
    known = isinstance(features, np.ndarray) and np.issubdtype(features.dtype, np.floating)
    if not known or features.ndim != 3 or not features.shape[2]:
        found = f"{features.dtype} {list(features.shape)}" if isinstance(features, np.ndarray) else "an archive"
        raise ValueError(f"task.inputs.file is {file!r}, which holds {found}; {cure}")
    return features


@functools.lru_cache(maxsize=2)  # of all members, since it reads the whole file
def _finite(file: str, num_classes: int, exemplars: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        used_CEX = np.asarray(_read(file)[:num_classes, :exemplars], np.float32)
    if not np.all(finite_CEX := np.isfinite(used_CEX)):
        class_, exemplar, _ = np.argwhere(~finite_CEX)[0]
        raise ValueError(
            f"The features of {file} are not all finite in single precision; the first that is not is of class "
            f"{class_}, exemplar {exemplar}, counted from 0."
        )
    return used_CEX
