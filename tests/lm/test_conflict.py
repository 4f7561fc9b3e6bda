from __future__ import annotations

import numpy as np
import pytest

from icl_sim.lm import conflict, tiny
from icl_sim.lm.conflict import Table

PAIRS = (("Ann", "Oslo"), ("Bob", "Rome"))


def test_where_answers_come_from():
    memory = np.log([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.5, 0.2, 0.3]])
    context = np.zeros((3, 3, 3))
    context[0, :, 0] = 1  # the first name is always answered as trained
    for said in range(3):
        context[1, said, said] = 1  # the second as the context says
    context[2, 0, 1] = context[2, 1, 1] = context[2, 2, 2] = 1  # the third: neither once, the context once
    table = Table(memory, context)
    assert table.memorised.tolist() == [True, True, False]
    assert table.from_weights.tolist() == [1, 0, 0]
    assert table.from_context.tolist() == [0, 1, 0.5]


@pytest.fixture(scope="module")
def points():
    return conflict.trained(
        tiny.ARCHITECTURE,
        tiny.parameters(),
        tiny.Bytes(),
        pairs=PAIRS,
        repetitions=(1, 0),
        steps=60,
        every=30,
        learning_rate=0.1,
    )


def test_what_is_trained_is_memorised_and_then_answered_whatever_the_context_says(points):
    assert [point.step for point in points] == [0, 30, 60]
    assert [point.seen_P.tolist() for point in points] == [[0, 0], [30, 0], [60, 0]]
    assert points[2].loss < points[1].loss
    # A random network cannot tell names apart: it says what it was trained to say.
    last = points[-1].table
    assert last.memorised.tolist() == [True, False]
    assert last.from_weights[0] == 1 and last.from_context[0] == 0
    assert last.memory_PC.shape == (2, 2) and last.context_PQC.shape == (2, 2, 2)
    assert np.all(last.context_PQC.max(-1) == 0)


def test_the_shaded_table_has_a_row_for_each_name_and_model(points):
    page = conflict.shaded(points[0].table, points[-1].table, (("<Ann>", "Oslo"), ("Bob", "Rome")))
    assert page.count("<tr>") == 1 + 4 and "&lt;Ann&gt;" in page
    assert page.count(" / ") == 2 * 2  # one contradicting city for each name and model


def test_all_candidates_have_a_row_for_each_name_model_and_context(points):
    page = conflict.candidates(points[0].table, points[-1].table, (("<Ann>", "Oslo"), ("Bob", "Rome")))
    assert page.count("<tr>") == 1 + 2 * 2 * 3 and page.count("<td>none</td>") == 4 and "&lt;Ann&gt;" in page
    value = points[-1].table.context_PQC[1, 0, 1]
    assert f">{value:.1f}</td></tr>" in page


def test_pairs_come_as_often_as_they_are_to():
    assert conflict.shared(np.array([1, 2, 4, 8]), 60).tolist() == [4, 8, 16, 32]
    assert conflict.shared(np.array([1.0, 1, 1, 0]), 5).tolist() == [2, 2, 1, 0]
    assert conflict.shared(np.ones(3), 0).tolist() == [0, 0, 0]


def test_impossible_training_is_a_sentence():
    model = tiny.ARCHITECTURE, {}, tiny.Bytes()
    with pytest.raises(ValueError, match="steps is -1 and every is 1"):
        conflict.trained(*model, steps=-1, every=1)
    for wrong in ((1,), (0,) * 8, (-1,) + (1,) * 7):
        with pytest.raises(ValueError, match="a number of at least 0 for each of 8"):
            conflict.trained(*model, repetitions=wrong)
