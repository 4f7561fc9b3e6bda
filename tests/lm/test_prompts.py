from __future__ import annotations

import dataclasses

import pytest

from icl_sim.lm.prompts import Prompts, prompts
from icl_sim.lm.rows import Row
from icl_sim.lm.templates import END_OF_TEXT, Template
from icl_sim.lm.tiny import Bytes

TEMPLATE = Template("{text}:", ("no", "yes"), "\n")
DEMONSTRATIONS = [Row({"text": text}, label) for text, label in (("a", 0), ("bb", 1), ("ccc", 1))]
QUERIES = [Row({"text": "dd"}, 1), Row({"text": "e"}, 0)]


def written(made: Prompts) -> bytes:
    return bytes(made.context[1:])


def test_a_context_is_the_beginning_and_demonstrations_with_separators():
    made = prompts(Bytes(), TEMPLATE, DEMONSTRATIONS, QUERIES, 1000)
    assert made.context[0] == Bytes.bos
    assert written(made) == b"a: no\nbb: yes\nccc: yes\n"
    assert made.queries == (tuple(b"dd:"), tuple(b"e:")) and made.labels == (1, 0)
    assert made.candidates == (tuple(b" no"), tuple(b" yes"))
    assert bytes(made.context[place] for place in made.shown) == b"a: nobb: yesccc: yes"


def test_the_end_of_a_text_can_separate():
    made = prompts(Bytes(), dataclasses.replace(TEMPLATE, separator=END_OF_TEXT), DEMONSTRATIONS[:1], QUERIES, 1000)
    assert made.context == (256, *b"a: no", 257)
    bare = type("Bare", (Bytes,), {"beginning": (), "eos": None})()
    assert prompts(bare, TEMPLATE, DEMONSTRATIONS[:1], QUERIES, 1000).context == tuple(b"a: no\n")
    with pytest.raises(ValueError, match="no token for the end of a text"):
        prompts(bare, dataclasses.replace(TEMPLATE, separator=END_OF_TEXT), DEMONSTRATIONS, QUERIES, 1000)


def test_what_does_not_fit_is_left_out_before_it_is_permuted():
    # Start 1, query 3 and candidate 4: what is left of 23 holds less than 15 tokens, and the first two have 6 and 8.
    made = prompts(Bytes(), TEMPLATE, DEMONSTRATIONS, QUERIES, 23)
    assert written(made) == b"a: no\nbb: yes\n"[: len(written(made))] and len(made.demonstrations) == 2
    assert len(prompts(Bytes(), TEMPLATE, DEMONSTRATIONS, QUERIES, 22).demonstrations) == 1
    turned = {prompts(Bytes(), TEMPLATE, DEMONSTRATIONS, QUERIES, 23, index).demonstrations for index in range(6)}
    assert turned == {made.demonstrations, made.demonstrations[::-1]}


def test_queries_that_are_too_long_and_candidates_that_are_alike_are_sentences():
    with pytest.raises(ValueError, match="longest query has 7 tokens, and the model looks at 7"):
        prompts(Bytes(), TEMPLATE, DEMONSTRATIONS, QUERIES, 7)
    with pytest.raises(ValueError, match="does not tell the candidates same, same apart"):
        prompts(Bytes(), dataclasses.replace(TEMPLATE, words=("same", "same")), [], QUERIES, 100)
