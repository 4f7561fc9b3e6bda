"""Evaluation against error and cross-entropy computed in plain numpy on the same batches."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.engine.evaluate import PRETRAINING, SUMMARY
from icl_sim.engine.simulate import simulate
from icl_sim.keys import stream
from tests.engine.toys import Corners, group, measures, member, run

TRAINED, ELSEWHERE = Corners(shift=-0.5), Corners(shift=0.25)


@pytest.fixture(scope="module")
def trained():
    members = group(
        *(
            member(task=TRAINED, eval_task=ELSEWHERE, seed=seed, learning_rate=r)
            for seed, r in ((0, 0.1), (0, 0.2), (7, 0.1))
        )
    )
    chunks = run(members)
    return measures(chunks), chunks[-1][1].parts["all"]


def by_hand(task, number, params, seed):
    """Means over the 2 batches of 10 of the evaluation set of this number."""
    errors, entropies, firsts, said = [], [], [], []
    for batch_number in range(2):
        batch = task.sample(jax.random.fold_in(stream(seed, "eval", number), batch_number), 10)
        x_BX, label_B = np.asarray(batch.inputs[:, -1]), np.asarray(batch.targets[:, -1])
        logits_BC = params["scale"] * (x_BX @ params["kernel"]) + params["bias"]
        errors += list(np.argmax(logits_BC, axis=1) != label_B)
        entropies += list(np.log(np.exp(logits_BC).sum(axis=1)) - logits_BC[np.arange(10), label_B])
        said += list(np.argmax(logits_BC, axis=1) == 0)
        firsts += [x for x in x_BX[:, 0] if x > 0]
    lists = {"error": errors, "cross_entropy": entropies, "right_of_axis": firsts, "says_first": said}
    return {name: np.mean(values) for name, values in lists.items()}


@pytest.mark.parametrize("number, name", [(0, "as_trained"), (1, "far"), (2, PRETRAINING)])
@pytest.mark.parametrize("member_number, seed", [(0, 0), (2, 7)])
def test_means_are_those_computed_by_hand(trained, number, name, member_number, seed):
    task = {**ELSEWHERE.evaluation_sets(), PRETRAINING: TRAINED}[name]
    params = jax.tree.map(lambda leaf: leaf[member_number], trained[1])
    for metric, value in by_hand(task, number, params, seed).items():
        assert trained[0][60][name, metric][member_number] == pytest.approx(value, rel=1e-5, abs=1e-7), metric


def test_summaries_are_picked_from_the_evaluation_sets(trained):
    for step in trained[0]:
        np.testing.assert_array_equal(trained[0][step][SUMMARY, "headline"], trained[0][step]["far", "error"])


def test_the_sequences_are_the_same_at_every_step_and_for_members_of_a_seed(trained):
    """The mean input of a set does not depend on the predictor: it changes with the sequences alone."""
    means = {
        name: [m[name, "right_of_axis"] for m in trained[0].values()] for name in ("as_trained", "far", PRETRAINING)
    }
    for columns in means.values():
        assert all((column == columns[0]).all() for column in columns)
        assert columns[0][0] == columns[0][1] != columns[0][2]
    assert means["as_trained"][0][0] != means[PRETRAINING][0][0]


def test_regression_is_measured_by_its_squared_error():
    members = group(member(task=Corners(classes=0), steps=0))
    (chunk,) = simulate(members)
    told = {"squared_error", "normalized_error", "right_of_axis", "says_first"}
    assert {metric for _, metric in chunk.measures} == told
    params = jax.tree.map(lambda leaf: leaf[0], chunk.state.parts["all"])
    squares = []
    for number in range(2):
        batch = Corners(classes=0, shift=1.0).sample(jax.random.fold_in(stream(0, "eval", 1), number), 10)
        x_BX = np.asarray(batch.inputs[:, -1])
        squares += list(((x_BX @ params["kernel"])[:, 0] - x_BX.sum(axis=1)) ** 2)
    assert chunk.measures["far", "squared_error"][0] == pytest.approx(np.mean(squares), rel=1e-5)
