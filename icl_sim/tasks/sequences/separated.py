"""Every exemplar a class of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from icl_sim.tasks.glyphs import Glyphs
from icl_sim.tasks.omniglot import Omniglot
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.features import Features
from icl_sim.types import Array, Key, setting


@setting
class Separated:
    """Each exemplar of other inputs is a class, of that one item (Chan et al. 2022, drawings that are "separated").

    Class c shows exemplar c mod E of their class c / E, so that E classes in a row lie close together.

    Attributes:
      of: inputs of E fixed exemplars.
    """

    of: Clusters | Features | Glyphs | Omniglot = Glyphs(drawings=tuple(range(19)))

    @property
    def exemplars(self) -> int:
        return 1

    @property
    def has_new(self) -> bool:
        return False

    @property
    def new(self) -> int:
        return 0

    @property
    def together(self) -> int:
        """How many classes in a row training must not share with those held out."""
        return self.of.exemplars * getattr(self.of, "orientations", 1)

    def check(self, num_classes: int) -> None:
        if not self.of.exemplars:
            raise ValueError("task.inputs.of.exemplars is 0, without end; to be separated exemplars must be fixed.")
        self.of.check(self._whole(num_classes))

    def load(self, num_classes: int) -> Any:
        return self.of.load(self._whole(num_classes))

    def prepare(self, key: Key, num_classes: int, shared: Any = None) -> Separated:
        return dataclasses.replace(self, of=self.of.prepare(key, self._whole(num_classes), shared))

    def render_exemplars(self, keys_B: Key, classes_BS: Array, exemplars_BS: Array) -> Array:
        """Inputs of the classes `[B, S, ...]`, whose exemplars are all number 0."""
        del exemplars_BS
        whole_BS, number_BS = jnp.divmod(classes_BS, self.of.exemplars)
        return self.of.render_exemplars(keys_B, whole_BS, number_BS)

    def _whole(self, num_classes: int) -> int:
        """How many classes of theirs so many are parts of."""
        return -(-num_classes // self.of.exemplars)
