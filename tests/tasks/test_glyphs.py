"""Glyphs: deterministic, alike within a class and different between classes."""

from __future__ import annotations

import time

import jax
import numpy as np
import pytest

from icl_sim.tasks.glyphs import MAX_STROKES, Glyphs, characters, curves, hands, ink


def nearest(images_CQ: np.ndarray, others_CQ: np.ndarray) -> np.ndarray:
    """For each image, the class of the nearest of the others."""
    squared = (images_CQ**2).sum(1)[:, None] - 2 * images_CQ @ others_CQ.T + (others_CQ**2).sum(1)
    return squared.argmin(axis=1)


def test_classes_differ_and_drawings_of_a_class_are_alike():
    drawings = tuple(range(0, 20, 3))
    images_CNQ = Glyphs(drawings=drawings[:-1], held_out_drawings=drawings[-1:]).load(200)
    images_CNQ = images_CNQ.reshape(200, len(drawings), -1).astype(np.float32)
    for held_out in range(len(drawings) - 1):
        found = nearest(images_CNQ[:, held_out], images_CNQ[:, -1])
        assert (found == np.arange(200)).mean() > 0.9
    flat = images_CNQ.reshape(200 * len(drawings), -1)
    assert len(np.unique(flat, axis=0)) == len(flat)  # no two images are equal


def test_an_image_is_a_function_of_seed_class_and_drawing_alone():
    few = Glyphs(drawings=(4,), held_out_drawings=(9,)).load(3)
    many = Glyphs(drawings=(0, 9, 1), held_out_drawings=(4, 5)).load(70)
    np.testing.assert_array_equal(few[:, 0], many[:3, 3])
    np.testing.assert_array_equal(few[:, 1], many[:3, 1])
    other = Glyphs(drawings=(4,), held_out_drawings=(9,), glyph_seed=1).load(3)
    assert not np.array_equal(few, other)


@pytest.mark.parametrize("size", [8, 28, 105])
def test_paper_is_white_and_ink_is_black_and_inside(size):
    images = Glyphs(size=size).load(50)
    assert images.dtype == np.uint8 and images.shape == (50, 2, size, size)
    assert (images.max(axis=(2, 3)) == 255).all()
    darkest = images.min(axis=(2, 3))
    assert (darkest == 0).all() if size >= 28 else (darkest < 128).all()
    share_of_ink = 1 - images.mean(axis=(2, 3)) / 255
    assert 0.03 < share_of_ink.min() and share_of_ink.max() < 0.45
    border = np.concatenate([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], axis=-1)
    assert (border > 127).all() if size >= 28 else (border > 127).mean() > 0.95


def test_as_many_classes_as_omniglot_are_drawn_fast():
    start = time.process_time()
    assert Glyphs(glyph_seed=5).load(1623).shape == (1623, 2, 28, 28)
    assert time.process_time() - start < 8  # about 1 on a quiet machine


def test_characters_have_two_to_four_strokes_and_fill_the_square():
    controls_CKPX, count_C = characters(300, seed=0)
    counts = np.bincount(count_C, minlength=MAX_STROKES + 1)
    assert counts[:2].sum() == 0 and (counts[2:] > 60).all()
    for controls_KPX, count in zip(controls_CKPX, count_C, strict=True):
        points_JX = curves(controls_KPX[:count]).reshape(-1, 2)
        extent_X = np.abs(points_JX).max(axis=0)
        np.testing.assert_allclose(extent_X.max(), 1, atol=1e-9)
        np.testing.assert_allclose(points_JX.max(axis=0), -points_JX.min(axis=0), atol=1e-9)


def test_every_drawing_of_every_character_has_its_own_jitter():
    alike_CKPX = np.zeros((3, MAX_STROKES, 4, 2))
    drawn_CNKPX, pen_N = hands(alike_CKPX, (0, 1), seed=0)
    assert len(np.unique(drawn_CNKPX.reshape(6, -1), axis=0)) == 6
    assert pen_N[0] != pen_N[1]


def test_curves_are_bezier():
    controls = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    points = curves(controls)
    np.testing.assert_allclose(points[[0, -1]], controls[[0, -1]], atol=1e-12)
    line = np.linspace([0, 0], [3, 6], 4)
    np.testing.assert_allclose(curves(line)[:, 1], 2 * curves(line)[:, 0], atol=1e-12)


def test_a_dot_of_ink_has_the_area_of_a_disc_and_its_place():
    size, radius = 64, 0.3
    (image,) = ink(np.array([[[0.5, -0.25]]]), np.array([radius]), size)
    covered = 1 - image / 255
    np.testing.assert_allclose(covered.sum() * (2 / size) ** 2, np.pi * radius**2, rtol=0.02)
    centres = (np.arange(size) + 0.5) * 2 / size - 1
    np.testing.assert_allclose(covered.sum(0) @ centres / covered.sum(), 0.5, atol=1e-3)  # x is the column
    np.testing.assert_allclose(covered.sum(1) @ centres / covered.sum(), -0.25, atol=1e-3)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="task.inputs.size is 3; glyphs need at least 8 pixels"):
        Glyphs(size=3).check(10)
    with pytest.raises(ValueError, match="task.inputs.glyph_seed is -1"):
        Glyphs(glyph_seed=-1).check(10)


def test_glyphs_render(key):
    inputs = Glyphs(noise=0.0).prepare(key, 10)
    x_BSHW1 = inputs.render(jax.random.split(key, 2), np.array([[0, 1], [9, 0]]))
    np.testing.assert_allclose(x_BSHW1[..., 0] * 255, inputs.table[[[0, 1], [9, 0]], 0], atol=1e-4)
