"""Fixed items of clusters: one and the same wherever they are shown, stored or drawn anew."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.tasks.sequences import clusters
from icl_sim.tasks.sequences.clusters import Clusters

CLASSES, EXEMPLARS, DIM, NOISE = 6, 4, 200, 0.5


@pytest.fixture(params=["stored", "drawn"])
def shown(request, monkeypatch, key):
    if request.param == "drawn":
        monkeypatch.setattr(clusters, "MOST_STORED", 0)
    inputs = Clusters(dim=DIM, noise=NOISE, exemplars=EXEMPLARS).prepare(key, CLASSES)
    assert inputs.table.ndim == (3 if request.param == "stored" else 2)

    def items(classes_BS, exemplars_BS, seed=0):
        keys_B = jax.random.split(jax.random.key(seed), len(classes_BS))
        return np.asarray(inputs.render_exemplars(keys_B, np.asarray(classes_BS), np.asarray(exemplars_BS)))

    return items


def test_an_item_is_the_same_in_every_slot_row_and_batch(shown):
    x_BSX = shown([[2, 5, 2], [5, 2, 0]], [[1, 3, 1], [3, 1, 0]])
    np.testing.assert_array_equal(x_BSX[0, 0], x_BSX[0, 2])
    np.testing.assert_array_equal(x_BSX[0, :2], x_BSX[1, 1::-1])
    np.testing.assert_array_equal(shown([[5, 2]], [[3, 1]], seed=9)[0], x_BSX[1, :2])


def test_items_of_a_class_scatter_around_its_mean_and_classes_lie_apart(shown):
    classes = np.repeat(np.arange(CLASSES), EXEMPLARS)[None]
    x_KX = shown(classes, np.tile(np.arange(EXEMPLARS), CLASSES)[None])[0]
    product_KK = x_KX @ x_KX.T  # of one class 1 / (1 + noise^2) = .8
    length_K = np.sqrt(np.diag(product_KK))
    cosine_KK = product_KK / np.outer(length_K, length_K)
    same_KK, self_KK = classes[0][:, None] == classes[0][None], np.eye(len(x_KX), dtype=bool)
    assert np.mean(np.square(length_K)) == pytest.approx(1, abs=0.05)
    assert np.mean(cosine_KK[same_KK & ~self_KK]) == pytest.approx(1 / (1 + NOISE**2), abs=0.05)
    assert np.max(cosine_KK[~self_KK]) < 0.97
    assert np.mean(cosine_KK[~same_KK]) == pytest.approx(0, abs=0.03)
