"""Inputs that are drawings of characters: what Omniglot and the procedural glyphs have in common."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim import draws, names
from icl_sim.tasks import gradients
from icl_sim.types import Array, Key, Leaf, setting, static

PIXELS, GRADIENTS = "pixels", "gradients"
VIEWS = (PIXELS, GRADIENTS)
NUM_DRAWERS = 20  # people who drew each character of Omniglot, and the styles of the glyphs


@setting
class Drawings:
    """Characters, each drawn by several people: a class is a character, an input a drawing of it with noise.

    Images are grey, paper 1 and ink 0, and noise is added without clipping (Chan et al. 2025, Omniglot). They
    stay bool or uint8 on the device and become float32 only as they are rendered.

    Attributes:
      noise: standard deviation of what is added to every pixel, or every feature, of every item.
      held_out: whether to show `held_out_drawings` rather than `drawings`.
      size: height and width in pixels.
      drawings: numbers (0 to 19) of the drawings of each character to train on; each item shows a random one.
      held_out_drawings: numbers of the drawings that only evaluation sees.
      orientations: 8 makes a class of each of the 4 quarter turns of a character and of their mirror images, the
        classes 8 i to 8 i + 7 being of character i; 1 leaves them as they are.
      view: inputs are the "pixels", or 64 features of the image's "gradients" (`icl_sim.tasks.gradients`).
      table: what `load` returns, bound by `prepare`.
    """

    noise: Leaf = 0.1
    held_out: Leaf = False
    size: int = static(28)
    drawings: tuple[int, ...] = static((0,))
    held_out_drawings: tuple[int, ...] = static((NUM_DRAWERS - 1,))
    orientations: int = static(1)
    view: str = static(PIXELS)
    table: Any = None

    @property
    def max_characters(self) -> int | None:
        """How many characters exist; None: as many as are asked for."""
        return None

    @property
    def exemplars(self) -> int:
        """How many drawings of each class training shows."""
        return len(self.drawings)

    @property
    def has_new(self) -> bool:
        """Whether there are classes beyond those asked for."""
        return False

    @property
    def new(self) -> int:
        """How many such classes a batch shares."""
        return 0

    def characters_of(self, num_classes: int) -> int:
        """How many characters so many classes are made of."""
        return -(-num_classes // self.orientations)

    def check(self, num_classes: int) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""
        self.check_structure(num_classes)
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"task.inputs.noise is {self.noise}; it must be finite and at least 0.")
        if self.held_out not in (0, 1):
            raise ValueError(f"task.inputs.held_out is {self.held_out}; it must be True or False.")

    def check_structure(self, num_classes: int) -> None:
        """The part of `check` that `load` needs: it reads no leaf, so it works on traced and on stacked settings."""
        names.require("task.inputs.view", self.view, VIEWS)
        if self.orientations not in (1, len(ORIENTATIONS)):
            raise ValueError(f"task.inputs.orientations is {self.orientations}; it must be 1 or {len(ORIENTATIONS)}.")
        if self.max_characters is not None and self.characters_of(num_classes) > self.max_characters:
            most = self.max_characters * self.orientations
            raise ValueError(f"The task has {num_classes} classes; {type(self).__name__} has {most}.")
        for field in ("drawings", "held_out_drawings"):
            numbers = getattr(self, field)
            if not (isinstance(numbers, tuple) and numbers and set(numbers) <= set(range(NUM_DRAWERS))):
                allowed = f"it must be a tuple of at least one number from 0 to {NUM_DRAWERS - 1}"
                raise ValueError(f"task.inputs.{field} is {numbers!r}; {allowed}.")
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"task.inputs.{field} is {numbers}; it must not name a drawing twice.")
        if both := sorted(set(self.drawings) & set(self.held_out_drawings)):
            raise ValueError(
                f"task.inputs.drawings is {self.drawings} and task.inputs.held_out_drawings is "
                f"{self.held_out_drawings}; they must have no drawing in common, but share {both}."
            )

    def images(self, num_classes: int) -> np.ndarray:
        """Images of so many classes' characters, `[characters, drawings + held-out drawings, size, size]`."""
        raise NotImplementedError(f"{type(self).__name__} must define images(num_classes) -> array of images.")

    def load(self, num_classes: int) -> np.ndarray:
        """The `images`, or the features `[characters * orientations, drawings + held-out drawings, 64]`."""
        images_CNHW = self.images(num_classes)
        if self.view == PIXELS:
            return images_CNHW
        if self.orientations > 1:
            images_CNHW = all_turned(images_CNHW)
        return gradients.features(images_CNHW)

    def prepare(self, key: Key, num_classes: int, shared: Any = None) -> Self:
        """Binds the images, `shared` being what `load` returned; loads them where it is left out."""
        del key
        table = self.load(num_classes) if shared is None else shared
        return dataclasses.replace(self, table=table)

    def render(self, keys_B: Key, classes_BS: Array) -> Array:
        """Inputs `[B, S, size, size, 1]` or features `[B, S, 64]`, a random drawing in every slot; a row is a function
        of its own key and classes alone."""
        first = jnp.where(self.held_out, len(self.drawings), 0)
        count = jnp.where(self.held_out, len(self.held_out_drawings), len(self.drawings))

        def row(key: Key, classes_S: Array) -> Array:
            drawing_key, noise_key = jax.random.split(key)
            drawing_S = first + jax.random.randint(drawing_key, classes_S.shape, 0, count)
            return self._shown(noise_key, classes_S, drawing_S)

        return jax.vmap(row)(keys_B, classes_BS)

    def render_exemplars(self, keys_B: Key, classes_BS: Array, exemplars_BS: Array) -> Array:
        """Inputs `[B, S, size, size, 1]` or features `[B, S, 64]`, of each class the given one of the `drawings`,
        counted from 0."""
        return jax.vmap(self._shown)(keys_B, classes_BS, exemplars_BS)

    def _shown(self, noise_key: Key, classes_S: Array, drawing_S: Array) -> Array:
        if self.table is None:
            raise ValueError(f"{type(self).__name__} has no images yet; call prepare(key, num_classes) first.")
        if self.view == GRADIENTS:
            feature_SF = jnp.asarray(self.table)[classes_S, drawing_S]
            return feature_SF + self.noise * draws.normal(noise_key, feature_SF.shape)
        table_CNHW = jnp.asarray(self.table)  # N drawings of each character
        white = 1.0 if table_CNHW.dtype == jnp.bool_ else 255.0
        image_SHW = table_CNHW[classes_S // self.orientations, drawing_S]
        if self.orientations > 1:
            image_SHW = jax.vmap(turned)(image_SHW, classes_S % self.orientations)
        image_SHW = image_SHW.astype(jnp.float32) / white
        return (image_SHW + draws.noise(noise_key, image_SHW.shape, self.noise))[..., None]


# Of a square image: whether it is mirrored left to right, top to bottom, and then in its main diagonal. In this order
# number n < 4 is a rotation by n quarter turns counter-clockwise, and n + 4 the mirror image of that, left to right.
ORIENTATIONS = (
    (False, False, False),
    (True, False, True),
    (True, True, False),
    (False, True, True),
    (True, False, False),
    (True, True, True),
    (False, True, False),
    (False, False, True),
)


def turned(image_HW: Array, orientation: Array) -> Array:
    """A square image in one of the eight `ORIENTATIONS`."""
    left_right, top_bottom, diagonal = jnp.asarray(ORIENTATIONS)[orientation]
    image_HW = jnp.where(left_right, image_HW[:, ::-1], image_HW)
    image_HW = jnp.where(top_bottom, image_HW[::-1], image_HW)
    return jnp.where(diagonal, image_HW.T, image_HW)


def all_turned(images_CNHW: np.ndarray) -> np.ndarray:
    """Square images in all `ORIENTATIONS`, `[8 C, N, H, W]`: those of character i are 8 i to 8 i + 7."""
    turned = []
    for left_right, top_bottom, diagonal in ORIENTATIONS:
        one = images_CNHW[..., ::-1] if left_right else images_CNHW
        one = one[..., ::-1, :] if top_bottom else one
        turned.append(np.swapaxes(one, -1, -2) if diagonal else one)
    return np.stack(turned, axis=1).reshape(-1, *images_CNHW.shape[1:])
