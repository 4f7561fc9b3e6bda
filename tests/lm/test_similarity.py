from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from icl_sim.lm import similarity
from icl_sim.lm.similarity import Recall, kendall, rec2ftp, sim_am, sim_aou


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_recall_counts_what_finetuning_corrects():
    zsl = np.array([0, 0, 0, 1, 1, 0])
    ft = np.array([1, 1, 1, 1, 0, 0])
    icl = np.array([1, 0, 1, 1, 1, 1])
    assert rec2ftp(zsl, ft, icl) == Recall(200 / 3, 2, 3)
    assert similarity.corrected(zsl, ft, icl).tolist() == [True, False, True, False, False, False]
    nothing = rec2ftp(zsl, zsl, icl)
    assert math.isnan(nothing.percent) and (nothing.both, nothing.finetuned) == (0, 0)


@pytest.mark.parametrize("c", [1.1, 2.0, 5.0])
def test_normalised_updates_correlate_by_construction(rng, c):
    # z plus independent noise of equal norm, so that |z + r| = c |z|.
    z, r, s = rng.standard_normal((3, 400, 1, 4096))
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    r, s = (_orthogonal_noise(noise, z, math.sqrt(c**2 - 1)) for noise in (r, s))
    np.testing.assert_allclose(sim_aou(z + r, z + s, z, normalised=True), (c - 1) / (2 * c), atol=0.003)
    assert abs(sim_aou(z + r, z + s, z)[0]) < 0.003
    baseline = similarity.random_aou("same_norm", rng, z + r, z + s, z, normalised=True)
    np.testing.assert_allclose(baseline, (c - 1) / (2 * c), atol=0.003)


def _orthogonal_noise(noise, z, norm):
    noise = noise - np.sum(noise * z, -1, keepdims=True) * z
    return norm * noise / np.linalg.norm(noise, axis=-1, keepdims=True)


def test_random_updates(rng):
    z, icl, ft = rng.standard_normal((3, 300, 2, 512))
    for kind in ("uniform", "gaussian", "same_norm"):
        for normalised in (False, True) if kind != "same_norm" else (False,):
            assert np.all(np.abs(similarity.random_aou(kind, rng, icl, ft, z, normalised=normalised)) < 0.01)
    # Uniform noise is all positive, so that it is like any update with a positive mean.
    assert np.all(similarity.random_aou("uniform", rng, z + 1, ft, z) > 0.8)
    assert np.all(np.abs(similarity.random_aou("gaussian", rng, z + 1, ft, z)) < 0.01)
    with pytest.raises(ValueError, match="must be uniform, gaussian or same_norm"):
        similarity.random_aou("normal", rng, icl, ft, z)


def test_output_updates_of_known_angle():
    z = np.array([[[3.0, 4.0]]])
    up, right = np.array([[[0.0, 1.0]]]), np.array([[[1.0, 0.0]]])
    assert sim_aou(z + up, z + up + right, z) == pytest.approx([math.sqrt(0.5)])
    assert sim_aou(z + 2 * up, z - 0.1 * up, z) == pytest.approx([-1])
    assert sim_aou(z + up, z, z).tolist() == [0]  # no update is like none
    # Normalised, a step along z itself is none.
    assert sim_aou(2 * z, z + up, z, normalised=True) == pytest.approx([0], abs=1e-12)


def test_where_there_is_no_query_there_is_no_number(rng):
    z, icl, ft = rng.standard_normal((3, 4, 2, 8))
    assert np.isnan(sim_aou(icl, ft, z, where=np.zeros(4, bool))).all()
    only = np.array([False, True, False, False])
    np.testing.assert_allclose(sim_aou(icl, ft, z, where=only), sim_aou(icl[1:2], ft[1:2], z[1:2]))


def test_changes_of_maps_do_not_depend_on_how_large_an_update_is(rng):
    zsl, change, step = rng.standard_normal((3, 5, 2, 3, 7))
    icl = zsl + change / 2
    small, large = (sim_am(icl, zsl + size * step, zsl) for size in (0.01, 100.0))
    np.testing.assert_allclose(small, large, rtol=1e-9)
    assert np.all(sim_am(icl, zsl + 0.01 * step) > sim_am(icl, zsl + 100 * step) + 0.5)
    np.testing.assert_allclose(similarity.alpha(icl, zsl + step, zsl), large, rtol=1e-9)


def test_padding_does_not_count_and_centring_takes_a_constant_away(rng):
    a, b = rng.standard_normal((2, 2, 1, 3, 4))
    mask = np.array([[True, True, True, True], [False, True, True, True]])
    dirty = np.where(mask[:, None, None], a, 1e6)
    alone = (sim_am(a[:1], b[:1]) + sim_am(a[1:, ..., 1:], b[1:, ..., 1:])) / 2
    np.testing.assert_allclose(sim_am(dirty, b, mask_NT=mask), alone)
    centred = sim_am(dirty + 5, b - 3, mask_NT=mask, centre=True)
    np.testing.assert_allclose(centred, sim_am(a, b, mask_NT=mask, centre=True))
    assert not np.allclose(centred, alone)


def test_heads_are_averaged_before_queries():
    a = np.array([[[[1.0, 0.0], [0.0, 1.0]]]])  # one query, one layer, two heads
    b = np.array([[[[1.0, 0.0], [1.0, 0.0]]]])
    assert sim_am(a, b).tolist() == [0.5]


@pytest.mark.parametrize("ties", [False, True])
def test_kendall_is_that_of_scipy(rng, ties):
    a, b = rng.integers(0, 6, (2, 3, 4, 30)) if ties else rng.standard_normal((2, 3, 4, 30))
    expected = [
        [scipy.stats.kendalltau(x, y).statistic for x, y in zip(*pair, strict=True)] for pair in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(kendall(a, b, "b"), expected, atol=1e-12)
    if not ties:
        np.testing.assert_allclose(kendall(a, b), expected, atol=1e-12)
    else:  # pairs that are tied on either side count as neither
        pairs = [np.sign(x[:, None] - x) * np.sign(y[:, None] - y) for x, y in zip(a[0], b[0], strict=True)]
        np.testing.assert_allclose(kendall(a[0], b[0]), [np.triu(p, 1).sum() / (30 * 29 / 2) for p in pairs])


def test_kendall_of_what_has_no_order():
    assert math.isnan(kendall(np.ones(5), np.arange(5), "b"))
    assert kendall(np.ones(5), np.arange(5)) == 0
    assert math.isnan(kendall(np.ones(1), np.ones(1)))
    assert math.isnan(kendall(np.array([1, math.nan, 2]), np.arange(3)))
    assert kendall(np.arange(5), -np.arange(5)) == -1
    with pytest.raises(ValueError, match="must be a or b"):
        kendall(np.ones(3), np.ones(3), "c")


def test_what_finetuning_attends_to_is_summed_over_heads(rng):
    train, query = rng.standard_normal((2, 5, 3, 4)), rng.standard_normal((6, 2, 3, 4))  # 2 layers, 3 heads of 4
    by_head = np.einsum("akhd,nahd->nakh", train, query).sum(-1)
    got = similarity.training_attention(train.reshape(2, 5, 12), query.reshape(6, 2, 12))
    np.testing.assert_allclose(got, by_head)
