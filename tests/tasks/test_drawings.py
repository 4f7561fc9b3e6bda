"""Rendering: which drawing is shown, what noise does, and that a row is its key's alone."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.tasks import Glyphs, gradients
from icl_sim.tasks.drawings import Drawings, all_turned
from icl_sim.types import setting

NUM_CLASSES, SIZE = 5, 6


@setting
class Codes(Drawings):
    """Images of one grey, which tells class and drawing: 10 class + place of the drawing in the table."""

    dtype: ClassVar = np.uint8

    def images(self, num_classes: int) -> np.ndarray:
        count = len(self.drawings + self.held_out_drawings)
        code_CN = 10 * np.arange(num_classes)[:, None] + np.arange(count)
        return np.broadcast_to(code_CN[..., None, None], (num_classes, count, SIZE, SIZE)).astype(self.dtype)


def inputs(**changes: object) -> Codes:
    settings = {"size": SIZE, "noise": 0.0, "drawings": (0, 1, 2), "held_out_drawings": (17, 19)} | changes
    return Codes(**settings).prepare(None, NUM_CLASSES)


@jax.jit
def _render(inputs: Codes, keys_B: jax.Array, classes_BS: jax.Array) -> jax.Array:
    return inputs.render(keys_B, classes_BS)


def render(inputs: Codes, keys_B: jax.Array, classes_BS: jax.Array) -> jax.Array:
    return _render(inputs, jax.random.clone(keys_B), classes_BS)  # these tests use keys again on purpose


def codes(x_BSHW1: jax.Array) -> np.ndarray:
    return np.rint(np.asarray(x_BSHW1) * 255).astype(int)[:, :, 0, 0, 0]


def classes_and_keys(key: jax.Array, rows: int = 500, slots: int = 3) -> tuple[jax.Array, jax.Array]:
    classes_key, keys_key = jax.random.split(key)
    return jax.random.randint(classes_key, (rows, slots), 0, NUM_CLASSES), jax.random.split(keys_key, rows)


def test_an_item_shows_its_class_in_a_uniformly_drawn_drawing(key):
    classes_BS, keys_B = classes_and_keys(key)
    for held_out, places in ((False, (0, 1, 2)), (True, (3, 4))):
        code_BS = codes(render(inputs(held_out=held_out), keys_B, classes_BS))
        np.testing.assert_array_equal(code_BS // 10, classes_BS)
        counts = np.bincount((code_BS % 10).ravel(), minlength=5)
        assert set(np.flatnonzero(counts)) == set(places)
        expected = code_BS.size / len(places)
        assert (
            (counts[list(places)] - expected) ** 2 / expected
        ).sum() < 16  # 99.9 % of chi-square, 2 degrees, is 13.8
        slots_agree = (code_BS[:, 0] % 10 == code_BS[:, 1] % 10).mean()
        assert abs(slots_agree - 1 / len(places)) < 0.08


def test_images_are_rendered_to_float_with_shape_and_scale(key):
    classes_BS, keys_B = classes_and_keys(key)
    x = render(inputs(), keys_B, classes_BS)
    assert x.shape == (500, 3, SIZE, SIZE, 1)
    assert x.dtype == jnp.float32
    table = np.ones((NUM_CLASSES, 5, SIZE, SIZE), bool)
    white = render(inputs().prepare(None, NUM_CLASSES, table), keys_B, classes_BS)
    np.testing.assert_array_equal(white, 1.0)  # bool paper is 1, not 1/255
    table = np.full((NUM_CLASSES, 5, SIZE, SIZE), 255, np.uint8)
    white = render(inputs().prepare(None, NUM_CLASSES, table), keys_B, classes_BS)
    np.testing.assert_array_equal(white, 1.0)


def test_noise_is_independent_normal_for_every_pixel_and_not_clipped(key):
    classes_BS, keys_B = classes_and_keys(key)
    noisy = render(inputs(noise=0.3), keys_B, classes_BS) - render(inputs(), keys_B, classes_BS)
    noise_BSQ = np.asarray(noisy).reshape(500, 3, -1)
    assert abs(noise_BSQ.mean()) < 4 * 0.3 / noise_BSQ.size**0.5
    assert abs(noise_BSQ.std() - 0.3) < 4 * 0.3 / (2 * noise_BSQ.size) ** 0.5
    across_rows = (noise_BSQ[1:] * noise_BSQ[:-1]).mean() / 0.09
    across_slots = (noise_BSQ[:, 1:] * noise_BSQ[:, :-1]).mean() / 0.09
    assert abs(across_rows) < 0.02 and abs(across_slots) < 0.02
    zeros = np.zeros((NUM_CLASSES, 5, SIZE, SIZE), np.uint8)
    assert render(inputs(noise=0.3).prepare(None, NUM_CLASSES, zeros), keys_B, classes_BS).min() < -0.5


def test_a_row_depends_on_its_own_key_alone(key):
    classes_BS, keys_B = classes_and_keys(key)
    whole = render(inputs(noise=0.1), keys_B, classes_BS)
    alone = render(inputs(noise=0.1), keys_B[3:4], classes_BS[3:4])
    np.testing.assert_array_equal(whole[3:4], alone)
    assert not np.array_equal(whole[3:4], render(inputs(noise=0.1), keys_B[4:5], classes_BS[3:4]))


def test_held_out_and_noise_can_be_swept_inside_one_program(key):
    classes_BS, keys_B = classes_and_keys(key)

    def member(held_out, noise):
        return render(inputs(held_out=held_out, noise=noise), keys_B, classes_BS)

    x_MBSHW1 = jax.vmap(member)(jnp.array([False, True]), jnp.array([0.0, 0.0]))
    np.testing.assert_array_equal(codes(x_MBSHW1[0]), codes(render(inputs(), keys_B, classes_BS)))
    np.testing.assert_array_equal(
        codes(x_MBSHW1[1]), codes(render(inputs(held_out=True), keys_B, classes_BS))
    )


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"noise": -0.1}, "task.inputs.noise is -0.1"),
        ({"noise": float("nan")}, "task.inputs.noise is nan"),
        ({"held_out": 2}, "task.inputs.held_out is 2"),
        ({"drawings": ()}, r"task.inputs.drawings is \(\)"),
        ({"drawings": (0, 20)}, "from 0 to 19"),
        ({"drawings": 0}, "must be a tuple"),
        ({"held_out_drawings": (19, 19)}, "twice"),
        ({"drawings": (0, 19), "held_out_drawings": (18, 19)}, r"share \[19\]"),
    ],
)
def test_bad_settings_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        Codes(**changes).check(NUM_CLASSES)
    Codes().check(NUM_CLASSES)


def test_rendering_before_prepare_is_a_sentence(key):
    with pytest.raises(ValueError, match="Codes has no images yet"):
        Codes().render(jax.random.split(key, 1), jnp.zeros((1, 1), int))


def test_with_gradients_an_item_is_its_drawing_s_features_and_noise(key):
    glyphs = Glyphs(size=12, noise=0.0, drawings=(0, 3), held_out_drawings=(5,), orientations=8, view="gradients")
    images_CNHW = glyphs.images(16)
    assert len(images_CNHW) == 2
    features_CNF = gradients.features(all_turned(images_CNHW))
    classes_BS, exemplars_BS = np.array([[3, 15]]), np.array([[1, 0]])
    keys_B = jax.random.split(key, 1)
    made = glyphs.prepare(None, 16)
    shown_BSF = made.render_exemplars(keys_B, classes_BS, exemplars_BS)
    np.testing.assert_allclose(shown_BSF[0], features_CNF[[3, 15], [1, 0]], atol=1e-6)
    noisy = dataclasses.replace(made, noise=0.5)
    noisy_BSF = noisy.render_exemplars(jax.random.clone(keys_B), classes_BS, exemplars_BS)
    assert 0.3 < np.std(noisy_BSF - shown_BSF) < 0.7
