"""Glyphs: characters drawn by a procedure, for when real ones (Omniglot) are not at hand."""

from __future__ import annotations

import functools
import math

import numpy as np

from icl_sim.tasks.drawings import Drawings
from icl_sim.types import setting, static

# Axes: C characters, N drawings of each, I images, K strokes, P control points of a stroke, J points along
# it, X the two coordinates, Q pixels, U random numbers.
MIN_SIZE = 8
MAX_STROKES = 4
POINTS = 32  # along a stroke, so dense that no gap shows between them
MARGIN = 0.72  # half the width of a character, where 1 is half the width of the image
CHUNK = 64  # drawings inked at once, to bound memory


@setting
class Glyphs(Drawings):
    """Characters of two to four smooth strokes, as many classes as one likes, each drawn in 20 hands.

    A stroke is a cubic Bezier curve whose four control points belong to the character. A drawing jitters them
    and has the slant, proportions and pen of its hand. An image is a function of (glyph_seed, class, drawing)
    alone: it does not depend on how many classes or which other drawings are asked for.

    Attributes:
      glyph_seed: which characters, 0 to 2^32 - 1; all members of a study see the same ones.
    """

    glyph_seed: int = static(0)

    def check_structure(self, num_classes: int) -> None:
        super().check_structure(num_classes)
        if self.size < MIN_SIZE:
            raise ValueError(f"task.inputs.size is {self.size}; glyphs need at least {MIN_SIZE} pixels.")
        if not 0 <= self.glyph_seed < 2**32:
            raise ValueError(f"task.inputs.glyph_seed is {self.glyph_seed}; it must be from 0 to 2^32 - 1.")

    def images(self, num_classes: int) -> np.ndarray:
        self.check_structure(num_classes)
        drawings = self.drawings + self.held_out_drawings
        return _draw(self.characters_of(num_classes), self.size, drawings, self.glyph_seed)


@functools.lru_cache(maxsize=2)
def _draw(num_classes: int, size: int, drawings: tuple[int, ...], seed: int) -> np.ndarray:
    controls_CKPX, count_C = characters(num_classes, seed)
    controls_CNKPX, pen_N = hands(controls_CKPX, drawings, seed)
    points_CNKJX = MARGIN * curves(controls_CNKPX)
    # A stroke that a character does not have falls on its first one, where it inks nothing more.
    exists_CK = np.arange(MAX_STROKES) < count_C[:, None]
    points_CNKJX = np.where(exists_CK[:, None, :, None, None], points_CNKJX, points_CNKJX[:, :, :1])
    points_IJX = points_CNKJX.reshape(num_classes * len(drawings), MAX_STROKES * POINTS, 2)
    images_IHW = ink(points_IJX, np.tile(pen_N, num_classes), size)
    table_CNHW = images_IHW.reshape(num_classes, len(drawings), size, size)
    table_CNHW.flags.writeable = False  # all callers share it
    return table_CNHW


def characters(num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Control points of each character's strokes `[C, K, P, X]`, and how many of the K strokes it has `[C]`.

    A stroke sets out from anywhere, or half the time from the end of the stroke before, goes some way in some
    direction and bends. The character is then moved and scaled to fill the square [-1, 1]^2, or half of it if
    it is thin.
    """
    draws_CU = np.stack([_uniform((seed, index, 0), 7 * MAX_STROKES + 1) for index in range(num_classes)])
    count_C = 2 + (draws_CU[:, -1] * (MAX_STROKES - 1)).astype(int)
    draws_CKU = draws_CU[:, :-1].reshape(num_classes, MAX_STROKES, 7)
    start_CKX = 2 * draws_CKU[..., :2] - 1
    joined, turn, length, *bends = np.moveaxis(draws_CKU[..., 2:], -1, 0)
    angle = 2 * np.pi * turn
    along_CKX = (0.8 + length)[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    for stroke in range(1, MAX_STROKES):
        end_CX = start_CKX[:, stroke - 1] + along_CKX[:, stroke - 1]
        start_CKX[:, stroke] = np.where(joined[:, stroke, None] < 0.5, end_CX, start_CKX[:, stroke])
    across_CKX = along_CKX[..., ::-1] * np.array([-1, 1])
    inner = [
        start_CKX + share * along_CKX + (1.6 * bend - 0.8)[..., None] * across_CKX
        for share, bend in zip((1 / 3, 2 / 3), bends, strict=True)
    ]
    controls_CKPX = np.stack([start_CKX, *inner, start_CKX + along_CKX], axis=2)

    exists_CKJX = (np.arange(MAX_STROKES) < count_C[:, None])[..., None, None]
    points_CKJX = curves(controls_CKPX)
    low_CX = np.where(exists_CKJX, points_CKJX, np.inf).min(axis=(1, 2))
    high_CX = np.where(exists_CKJX, points_CKJX, -np.inf).max(axis=(1, 2))
    half_CX = (high_CX - low_CX) / 2
    half_CX = np.maximum(half_CX, half_CX.max(axis=-1, keepdims=True) / 2)
    return (controls_CKPX - ((low_CX + high_CX) / 2)[:, None, None]) / half_CX[:, None, None], count_C


def hands(controls_CKPX: np.ndarray, drawings: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Control points as drawn `[C, N, K, P, X]`, and the radius of the pen of each hand `[N]`."""
    num_classes, *shape = controls_CKPX.shape
    # The numbers of a hand are those of a class that no one will ask for.
    hand_NU = 2 * np.stack([_uniform((seed, 2**32 - 1, 1 + drawing), 4) for drawing in drawings]) - 1
    wide_N, tall_N, slant_N, pen_N = hand_NU.T
    numbers = [(index, drawing) for index in range(num_classes) for drawing in drawings]
    draws_IU = 2 * np.stack([_uniform((seed, i, 1 + n), 2 + math.prod(shape)) for i, n in numbers]) - 1
    draws_CNU = draws_IU.reshape(num_classes, len(drawings), -1)
    shift_CNX, jitter_CNU = 0.05 * draws_CNU[..., :2], 0.08 * draws_CNU[..., 2:]
    jittered_CNKPX = controls_CKPX[:, None] + jitter_CNU.reshape(num_classes, len(drawings), *shape)
    x_CNKP, y_CNKP = np.moveaxis(jittered_CNKPX, -1, 0)
    wide_N11, tall_N11, slant_N11 = (a_N[:, None, None] for a_N in (wide_N, tall_N, slant_N))
    x_CNKP = (1 + 0.07 * wide_N11) * x_CNKP + 0.12 * slant_N11 * y_CNKP
    y_CNKP = (1 + 0.07 * tall_N11) * y_CNKP
    drawn_CNKPX = np.stack([x_CNKP, y_CNKP], axis=-1) + shift_CNX[:, :, None, None]
    return drawn_CNKPX, 0.08 + 0.012 * pen_N


def curves(controls_PX: np.ndarray) -> np.ndarray:
    """Points along cubic Bezier curves: `[..., P, X]` to `[..., J, X]`."""
    t_J = (1 - np.cos(np.linspace(0, np.pi, POINTS))) / 2  # denser at the ends, where the curves are fastest
    basis_JP = np.stack([(1 - t_J) ** 3, 3 * t_J * (1 - t_J) ** 2, 3 * t_J**2 * (1 - t_J), t_J**3], axis=-1)
    return basis_JP @ controls_PX


def ink(points_IJX: np.ndarray, pen_I: np.ndarray, size: int) -> np.ndarray:
    """Draws points in [-1, 1]^2 with a round pen, anti-aliased: `[I, size, size]` uint8, 0 ink, 255 paper.

    The distance d of a pixel q to the nearest point p comes from one product of matrices,
    d^2 = |q|^2 - 2 max_p (q.p - |p|^2 / 2); a pixel takes as much ink as the pen covers of its width.
    """
    centres = (np.arange(size) + 0.5) * 2 / size - 1
    y_HW, x_HW = np.meshgrid(centres, centres, indexing="ij")
    pixel_QX = np.stack([x_HW.ravel(), y_HW.ravel()], axis=-1)
    pixel_Q3 = np.concatenate([pixel_QX, np.ones((size * size, 1))], axis=1).astype(np.float32)
    squared_Q = (pixel_QX**2).sum(axis=-1).astype(np.float32)
    point_I3J = np.concatenate([points_IJX, -(points_IJX**2).sum(axis=-1, keepdims=True) / 2], axis=-1)
    point_I3J = np.moveaxis(point_I3J, 1, 2).astype(np.float32)
    images_IQ = np.empty((len(points_IJX), size * size), np.uint8)
    for i in range(0, len(points_IJX), CHUNK):
        nearest_IQ = (pixel_Q3 @ point_I3J[i : i + CHUNK]).max(axis=-1)
        distance_IQ = np.sqrt(np.maximum(squared_Q - 2 * nearest_IQ, 0))
        covered_IQ = np.clip((pen_I[i : i + CHUNK, None] - distance_IQ) * size / 2 + 0.5, 0, 1)
        images_IQ[i : i + CHUNK] = np.rint(255 * (1 - covered_IQ))
    return images_IQ.reshape(-1, size, size)


def _uniform(entropy: tuple[int, ...], count: int) -> np.ndarray:
    return np.random.default_rng(entropy).random(count)
