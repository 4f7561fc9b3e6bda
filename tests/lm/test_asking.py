from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from icl_sim.lm import asking, decoder, tiny
from icl_sim.lm.prompts import Prompts

ARCHITECTURE = tiny.ARCHITECTURE
PROMPTS = Prompts(
    start=(256,),
    demonstrations=(tuple(b"good: yes"), tuple(b"bad: no")),
    separator=(257,),
    queries=(tuple(b"fine:"), tuple(b"a very long and winding question, longer than all:"), tuple(b"poor:")),
    candidates=(tuple(b" no"), tuple(b" yes")),
    labels=(1, 0, 0),
)


@pytest.fixture(scope="module")
def params():
    return tiny.parameters()


@jax.jit
def whole(params, ids_T):
    out = decoder.forward(ARCHITECTURE, params, ids_T[None], record=("attention", "logits", "query"))
    return decoder.unembed(ARCHITECTURE, params, out.hidden_BTD)[0], out.record


def alone(params, tokens):
    """Logits and log-probabilities of what comes after every token, and all records, of a sequence as a whole."""
    logits, seen = whole(params, np.pad(tokens, (0, 128 - len(tokens))))  # one shape, one program
    logits, last = np.asarray(logits)[: len(tokens)], len(tokens) - 1
    seen = {
        name: np.asarray(values)[:, :, :, last] if name == "logits" else np.asarray(values)[:, :, last]
        for name, values in seen.items()
    }
    return logits, np.asarray(jax.nn.log_softmax(logits)), seen


@pytest.mark.parametrize("shots", [False, True])
@pytest.mark.parametrize("normalisation", ["sum", "mean", "none"])
def test_scores_are_those_of_whole_sequences(params, shots, normalisation):
    prompts = dataclasses.replace(PROMPTS, candidates=(tuple(b"no"), tuple(b"!"), tuple(b"yes")))
    told = asking.ask(ARCHITECTURE, params, prompts, shots=shots, normalisation=normalisation, batch_size=2)
    before = prompts.context if shots else prompts.start
    for query, row in zip(prompts.queries, told.scores_NC, strict=True):
        for candidate, score in zip(prompts.candidates, row, strict=True):
            logits, log_probs, _ = alone(params, before + query + candidate)
            at = len(before + query) - 1
            each = [log_probs[at + i, token] for i, token in enumerate(candidate)]
            whole = {"sum": sum(each), "mean": np.mean(each), "none": logits[at, candidate[0]]}
            assert score == pytest.approx(whole[normalisation], abs=2e-4)
    assert told.labels_N.tolist() == [1, 0, 0]


def test_candidates_that_begin_alike_are_not_told_apart_by_their_first_tokens(params):
    alike = dataclasses.replace(PROMPTS, candidates=(tuple(b" no"), tuple(b" yes")))
    with pytest.raises(ValueError, match="'none' scores candidates by their first tokens alone, and some begin alike"):
        asking.ask(ARCHITECTURE, params, alike, shots=False, normalisation="none")


@pytest.mark.parametrize("place", asking.PLACES)
@pytest.mark.parametrize("shots", [False, True])
def test_records_are_those_of_whole_sequences(params, shots, place):
    told = asking.ask(ARCHITECTURE, params, PROMPTS, shots=shots, place=place, record=True, batch_size=2).record
    before = PROMPTS.context if shots else PROMPTS.start
    extra = PROMPTS.candidates[0] if place == "first_candidate" else ()
    for number, query in enumerate(PROMPTS.queries):
        own = len(query + extra)
        _, _, seen = alone(params, before + query + extra)
        close = dict(atol=2e-4, rtol=1e-4)
        np.testing.assert_allclose(told.attention_NAD[number], seen["attention"][:, 0], **close)
        np.testing.assert_allclose(told.query_NAD[number], seen["query"][:, 0], **close)
        logits_AHS = seen["logits"][:, 0, :, : len(before) + own]
        np.testing.assert_allclose(told.logits_NAHT[number, ..., :own], logits_AHS[..., len(before) :], **close)
        assert not told.logits_NAHT[number, ..., own:].any() and told.mask_NT[number].sum() == own
        shown = PROMPTS.shown if shots else []
        np.testing.assert_allclose(told.context_NAK[number], logits_AHS[..., shown].sum(1), atol=1e-3)
    assert told.context_NAK.shape == (3, 2, len(b"good: yesbad: no") if shots else 0)


def test_candidates_do_not_see_the_one_that_is_recorded(params):
    plain = asking.ask(ARCHITECTURE, params, PROMPTS, shots=True, batch_size=2)
    recorded = asking.ask(ARCHITECTURE, params, PROMPTS, shots=True, batch_size=2, record=True, place="first_candidate")
    np.testing.assert_allclose(plain.scores_NC, recorded.scores_NC, atol=2e-4)


def test_candidates_of_one_token_take_one_pass(params, monkeypatch):
    short = dataclasses.replace(PROMPTS, candidates=((110,), (121,)))
    monkeypatch.setattr(asking, "_after", None)
    told = asking.ask(ARCHITECTURE, params, short, shots=True, batch_size=2)
    _, log_probs, _ = alone(params, PROMPTS.context + PROMPTS.queries[0])
    np.testing.assert_allclose(told.scores_NC[0], log_probs[-1, [110, 121]], atol=2e-4)


def test_measures_of_answers():
    told = asking.Answers(np.array([[0.0, 1], [2, 3], [1, 0], [0, 9]]), np.array([1, 0, 0, 1]))
    assert told.right_N.tolist() == [True, False, True, True]
    measures = told.measures()
    assert (measures["accuracy"], measures["largest_share"]) == (0.75, 0.75)
    assert measures["calibrated_accuracy"] == 0.75 and measures["auc"] == 0.875


def test_an_unknown_place_names_the_nearest(params):
    with pytest.raises(ValueError, match="Did you mean 'prompt_end'"):
        asking.ask(ARCHITECTURE, params, PROMPTS, shots=False, place="prompt-end")


def test_a_candidate_without_tokens_is_refused(params):
    empty = dataclasses.replace(PROMPTS, candidates=(tuple(b"no"), ()))
    with pytest.raises(ValueError, match="Candidate 1 has no tokens"):
        asking.ask(ARCHITECTURE, params, empty, shots=False)


@pytest.mark.parametrize("where", ["queries", "candidates", "demonstrations"])
def test_ids_that_the_model_does_not_have_are_refused(params, where):
    beyond = (*getattr(PROMPTS, where)[:-1], (ARCHITECTURE.vocab_size + 3,))
    with pytest.raises(ValueError, match=rf"the id {ARCHITECTURE.vocab_size + 3}, but the model has"):
        asking.ask(ARCHITECTURE, params, dataclasses.replace(PROMPTS, **{where: beyond}), shots=True)
