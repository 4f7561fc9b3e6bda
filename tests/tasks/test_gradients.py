"""Features of an image's gradients: what edges give, and what turning and scaling do to them."""

from __future__ import annotations

import numpy as np
import pytest

from icl_sim.tasks import gradients
from icl_sim.tasks.drawings import ORIENTATIONS, all_turned, turned

SIZE = 16


@pytest.fixture(scope="module")
def images_CNHW() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 2, SIZE, SIZE)).astype(np.uint8)


def by_cell(features_CNF: np.ndarray) -> np.ndarray:
    return features_CNF.reshape(*features_CNF.shape[:2], gradients.CELLS, gradients.CELLS, gradients.BINS)


def test_an_edge_counts_in_its_direction_and_in_the_cells_where_it_is():
    image_HW = np.zeros((SIZE, SIZE))
    image_HW[:, SIZE // 2 :] = 1  # changes along a row, in the middle: direction 0, the two middle columns of cells
    standing_IJB, lying_IJB = by_cell(gradients._histograms(np.stack([image_HW, image_HW.T])[None]))[0]
    np.testing.assert_allclose(standing_IJB[:, :, 1:], 0, atol=1e-6)
    np.testing.assert_allclose(standing_IJB[:, [0, 3], 0], 0, atol=1e-6)
    np.testing.assert_allclose(standing_IJB[1, 1:3, 0], standing_IJB[2, 2:0:-1, 0], rtol=1e-6)
    np.testing.assert_allclose(lying_IJB[:, :, 2], standing_IJB[:, :, 0].T, atol=1e-6)  # a quarter turn is two bins
    np.testing.assert_allclose(lying_IJB[:, :, [0, 1, 3]], 0, atol=1e-6)


def test_between_two_directions_an_edge_counts_half_in_each():
    ramp_HW = np.add.outer(np.tan(np.pi / 8) * np.arange(SIZE), np.arange(SIZE))  # direction pi/8, half a bin
    squared_IJB = by_cell(gradients._histograms(ramp_HW[None, None]))[0, 0] ** 2
    np.testing.assert_allclose(squared_IJB[..., 0], squared_IJB[..., 1], rtol=1e-4)
    np.testing.assert_allclose(squared_IJB[..., 2:], 0, atol=1e-5)


def test_features_have_length_1_mean_0_before_scaling_and_know_no_contrast(images_CNHW):
    features_CNF = gradients.features(images_CNHW)
    assert features_CNF.shape == (3, 2, gradients.DIM) and features_CNF.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features_CNF, axis=-1), 1, rtol=1e-5)
    for other in (images_CNHW / 255, 255.0 - images_CNHW):
        np.testing.assert_allclose(gradients.features(other), features_CNF, atol=2e-4)
    raw_CNF = gradients._histograms(images_CNHW)
    centred_CNF = raw_CNF - raw_CNF.mean((0, 1))
    direction_CN = np.sum(centred_CNF * features_CNF, -1) / np.linalg.norm(centred_CNF, axis=-1)
    np.testing.assert_allclose(direction_CN, 1, rtol=1e-5)


def test_many_characters_are_done_in_parts(images_CNHW, monkeypatch):
    whole = gradients.features(images_CNHW)
    monkeypatch.setattr(gradients, "_CHARACTERS", 2)
    np.testing.assert_allclose(gradients.features(images_CNHW), whole, atol=1e-6)


def test_a_turned_image_has_turned_features(images_CNHW):
    raw_CNIJB = by_cell(gradients._histograms(images_CNHW))
    turned_CNIJB = by_cell(gradients._histograms(np.rot90(images_CNHW, axes=(2, 3))))
    expected = np.roll(np.rot90(raw_CNIJB, axes=(2, 3)), 2, axis=-1)
    np.testing.assert_allclose(turned_CNIJB, expected, atol=2e-5)


def test_images_are_turned_on_the_host_as_on_the_device(images_CNHW):
    all_CNHW = all_turned(images_CNHW)
    assert all_CNHW.shape == (24, 2, SIZE, SIZE)
    for character, orientation in ((0, 1), (2, 4), (1, 7), (2, 3)):
        expected = turned(images_CNHW[character, 1], orientation)
        np.testing.assert_array_equal(all_CNHW[len(ORIENTATIONS) * character + orientation, 1], expected)
