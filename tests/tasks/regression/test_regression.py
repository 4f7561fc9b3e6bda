"""The regression task: what its batches hold, and numbers of the papers that the batches must lead to."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks import REGRESSION_PARTS, TASKS
from icl_sim.tasks.regression import Curriculum, DecisionTree, Linear, LinearClassification, Regression, Skewed, Uniform
from icl_sim.types import CONTEXT, QUERY

ALPHA = 1e-5
SMALL = Regression(dim=3, context_length=4)


def _near(samples, mean):
    samples = np.asarray(samples, np.float64)
    return abs(samples.mean() - mean) < 5 * samples.std() / math.sqrt(len(samples))


def _distinct_prompts(batch):
    rows = np.concatenate([np.asarray(batch.inputs).reshape(len(batch.targets), -1), batch.targets], axis=1)
    return np.unique(rows, axis=0, return_counts=True)


def test_shapes_kinds_and_latents(key, sample):
    batch = sample(SMALL.replace(noise=0.25, seed=7, function=Linear(scale=2.0, pool=8.0, mean=0.5)), key, 6)
    assert batch.inputs.shape == (6, 5, 3)
    assert batch.targets.shape == batch.kinds.shape == batch.latents["clean"].shape == (6, 5)
    np.testing.assert_array_equal(batch.kinds, [[CONTEXT] * 4 + [QUERY]] * 6)
    assert batch.kinds.dtype == jnp.int8
    assert batch.num_classes == 0 and batch.scale == 3
    numbers = {name: batch.latents[name] for name in ("noise", "pool", "pool_seed", "w_scale", "w_mean")}
    assert numbers == {"noise": 0.25, "pool": 8, "pool_seed": 7, "w_scale": 2, "w_mean": 0.5}


def test_a_function_without_weights_has_none_among_its_latents(key, sample):
    latents = sample(SMALL.replace(function=DecisionTree()), key, 2).latents
    assert set(latents) == {"clean", "noise", "pool", "pool_seed"} and latents["pool"] == math.inf


@pytest.mark.parametrize("scored, expected", [("all", [1, 1, 1, 1, 1]), ("window", [0, 0, 0, 1, 1]), ("last", None)])
def test_weights_say_which_slots_are_asked(key, scored, expected, sample):
    batch = sample(SMALL.replace(scored=scored, first_scored=3 if scored == "window" else 0), key, 4)
    if expected is None:
        assert batch.weights is None
    else:
        np.testing.assert_array_equal(batch.weights, [expected] * 4)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_noise_is_normal_and_independent_and_the_clean_targets_have_none(key, noise, sample):
    batch = sample(SMALL.replace(noise=noise), key, 4096)
    x_BSX, w_BX = (np.asarray(array, np.float64) for array in (batch.inputs, batch.latents["w"]))
    clean_BS = np.asarray(batch.latents["clean"], np.float64)
    np.testing.assert_allclose(clean_BS, np.einsum("BSX,BX->BS", x_BSX, w_BX), rtol=1e-5, atol=1e-5)
    noise_BS = np.asarray(batch.targets, np.float64) - clean_BS
    if noise == 0:
        assert not noise_BS.any()
    else:
        assert stats.kstest(noise_BS.reshape(-1) / noise, "norm").pvalue > ALPHA
        others = np.concatenate([noise_BS, clean_BS, w_BX, x_BSX[:, 0]], axis=1)
        assert np.abs(np.corrcoef(others.T)[:5] - np.eye(5, others.shape[1])).max() < 5 / math.sqrt(4096)


def test_inputs_and_weights_are_independent(key, sample):
    batch = sample(SMALL, key, 4096)
    both = np.concatenate([batch.inputs.reshape(4096, -1), batch.latents["w"]], axis=1)
    assert np.abs(np.corrcoef(both.T) - np.eye(18)).max() < 5 / math.sqrt(4096)


@pytest.mark.parametrize("prompts", [1, 8])
def test_a_finite_number_of_prompts_repeats_them_exactly(key, prompts, sample):
    task = SMALL.replace(prompts=float(prompts), noise=0.5, seed=3)
    first, counts = _distinct_prompts(sample(task, key, 512))
    assert len(first) == prompts
    assert prompts == 1 or stats.chisquare(counts).pvalue > ALPHA
    np.testing.assert_array_equal(first, _distinct_prompts(sample(task, jax.random.fold_in(key, 1), 512))[0])
    other = _distinct_prompts(sample(task.replace(seed=4), key, 512))[0]
    evaluated = sample(task.evaluation_sets()["default"], key, 512)
    assert len(_distinct_prompts(evaluated)[0]) == 512
    for rows in (other, evaluated.inputs.reshape(512, -1)):
        assert not np.any(np.isin(rows[:, 0], first[:, 0]))


def test_prompts_of_a_pool_have_its_functions(key, sample):
    batch = sample(SMALL.replace(prompts=64.0, function=Linear(pool=4.0)), key, 1024)
    assert len(np.unique(np.asarray(batch.latents["w"]), axis=0)) == 4
    assert len(_distinct_prompts(batch)[0]) == 64


def test_numbers_are_leaves_that_change_no_program(key):
    draw = jax.jit(lambda task, key: task.sample(key, 4).latents["noise"])
    for pool, prompts, noise, seed in ((1.0, 1.0, 0.0, 0), (2.0**20, 2.0**20, 0.5, 1), (math.inf, math.inf, 0.1, 2)):
        task = SMALL.replace(function=Linear(pool=pool), prompts=prompts, noise=noise, seed=seed)
        draw(task, jax.random.clone(key))
    assert draw._cache_size() == 1


def test_a_member_of_many_has_the_sequences_that_it_has_alone(key, sample):
    sizes = ((2.0, 4.0), (math.inf, 9.0))
    tasks = [SMALL.replace(function=Linear(pool=m), prompts=n, seed=seed) for seed, (m, n) in enumerate(sizes)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *tasks)
    together = jax.jit(jax.vmap(lambda task: task.sample(key, 512)))(stacked)
    for number, task in enumerate(tasks):
        alone = sample(task, key, 512)
        np.testing.assert_allclose(together.inputs[number], alone.inputs, rtol=1e-5)
        np.testing.assert_allclose(together.targets[number], alone.targets, rtol=1e-5, atol=1e-6)


def test_the_largest_seed(key, sample):
    task = SMALL.replace(seed=2**32 - 1)
    task.check()
    jax.eval_shape(lambda: task.sample(jax.random.clone(key), 2))  # as a Python number, which fits no int32
    traced = task.replace(seed=np.uint32(2**32 - 1))
    assert int(sample(traced, key, 6).latents["pool_seed"]) == 2**32 - 1


def test_one_coordinate_and_one_pair(key, sample):
    batch = sample(Regression(dim=1, context_length=1, scored="last"), key, 16)
    assert batch.inputs.shape == (16, 2, 1)
    np.testing.assert_allclose(batch.targets, batch.inputs[..., 0] * batch.latents["w"], rtol=1e-6)


def test_one_step_of_gradient_descent_has_the_loss_of_von_oswald(key, sample):
    """Half the squared error is 0.20623 after one step of rate 6.0606, and 0.41667 without (closed forms)."""
    task = Regression(inputs=Uniform(half_width=0.5), dim=10, context_length=10, scored="last")
    batch = sample(task, key, 20_000)
    x_BSX, y_BS = np.asarray(batch.inputs, np.float64), np.asarray(batch.targets, np.float64)
    moment_BX = np.einsum("BLX,BL->BX", x_BSX[:, :-1], y_BS[:, :-1])
    answer_B = 6.0606 / 10 * np.einsum("BX,BX->B", x_BSX[:, -1], moment_BX)
    assert _near(0.5 * (answer_B - y_BS[:, -1]) ** 2, 0.20623)
    assert _near(0.5 * y_BS[:, -1] ** 2, 0.41667)


def test_ridge_and_a_pool_have_the_errors_of_raventos(key, sample):
    """Of d 8 and noise 0.5: the clean error of ridge after 8 pairs is .179 d, on new functions."""
    task = Regression(dim=8, context_length=15, noise=0.5)
    batch = sample(task, key, 8000)
    x_BSX, y_BS = np.asarray(batch.inputs, np.float64)[:, :9], np.asarray(batch.targets, np.float64)[:, :8]
    gram_BXX = np.einsum("BLX,BLZ->BXZ", x_BSX[:, :8], x_BSX[:, :8]) + 0.25 * np.eye(8)
    w_BX = np.linalg.solve(gram_BXX, np.einsum("BLX,BL->BX", x_BSX[:, :8], y_BS)[..., None])[..., 0]
    errors_B = (np.einsum("BX,BX->B", w_BX, x_BSX[:, 8]) - np.asarray(batch.latents["clean"])[:, 8]) ** 2 / 8
    assert abs(errors_B.mean() - 0.179) < 5 * errors_B.std() / math.sqrt(8000) + 0.001  # the number has three digits


def test_the_default_set_keeps_the_pool_and_true_leaves_it(key, sample):
    task = SMALL.replace(function=Linear(pool=4.0), shifts=("true",), prompts=4.0)
    sets = {name: sample(t, key, 256) for name, t in task.evaluation_sets().items()}
    trained = np.unique(np.asarray(sample(task, key, 256).latents["w"])[:, 0])
    seen = {name: np.unique(np.asarray(batch.latents["w"])[:, 0]) for name, batch in sets.items()}
    assert set(seen) == {"default", "true"}
    assert set(trained) <= set(seen["default"]) and len(seen["default"]) == 4
    assert len(seen["true"]) == 256 and not np.any(np.isin(seen["true"], seen["default"]))
    assert sets["true"].latents["pool"] == 4


def test_sets_of_changed_numbers_share_the_program_of_the_default():
    names = ("true", "w_scale:3", "w_shift", "label_noise", "x_scale:2", "x_scale:1/3")
    sets = SMALL.replace(shifts=names, curriculum=Curriculum()).evaluation_sets()
    structures = {name: jax.tree.structure(task) for name, task in sets.items()}
    assert all(structures[name] == structures["default"] for name in names[:4])
    assert structures["x_scale:2"] == structures["x_scale:1/3"] != structures["default"]


def test_summaries_are_the_errors_of_all_sets():
    task = SMALL.replace(shifts=("true", "label_noise"))
    assert task.summaries() == {
        "error": ("default", "normalized_error"),
        "error_true": ("true", "normalized_error"),
        "error_label_noise": ("label_noise", "clean_error"),
    }
    classes = SMALL.replace(function=LinearClassification(), shifts=("skewed",))
    assert classes.summaries() == {"error": ("default", "error"), "error_skewed": ("skewed", "error")}


def test_is_registered_with_its_parts():
    assert TASKS["regression"] is Regression
    assert REGRESSION_PARTS["linear"] is Linear and REGRESSION_PARTS["curriculum"] is Curriculum
    assert REGRESSION_PARTS["skewed"] is Skewed and REGRESSION_PARTS["uniform"] is Uniform


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(seed=-1), "seed is -1; it must be a whole number from 0"),
        (dict(dim=0), "dim is 0; it must be at least 1"),
        (dict(context_length=0), "context_length is 0; it must be at least 1"),
        (dict(scored="first"), "scored is 'first'; allowed: all, last, window"),
        (dict(scored="window", first_scored=5), "first_scored is 5; it must be a whole number from 0 to .*, 4"),
        (dict(first_scored=2), "first_scored is 2; without task.scored 'window' it must be 0"),
        (dict(noise=-0.5), "noise is -0.5; it must be at least 0 and finite"),
        (dict(noise=math.nan), "noise is nan; it must be at least 0"),
        (dict(prompts=0.0), "prompts is 0.0; it must be a whole number from 1"),
        (dict(active_dims=2), "active_dims is 2; a study must leave it at inf"),
        (dict(active_pairs=2), "active_pairs is 2; a study must leave it at inf"),
    ],
)
def test_refuses_with_a_sentence(changes, words):
    with pytest.raises(ValueError, match=rf"task\.{words}"):
        SMALL.replace(**changes).check()


def test_the_largest_of_everything_is_allowed():
    SMALL.replace(prompts=2.0**24, function=Linear(pool=2.0**24)).check()
    SMALL.replace(prompts=math.inf, scored="window", first_scored=4).check()
