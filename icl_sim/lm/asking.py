"""Asking a language model many queries after one shared context, and recording what its layers do.

Axes beside those of `icl_sim.lm.similarity`: B queries at once, C candidates, J tokens of a candidate, S slots.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.lm import decoder, scores
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.decoder import Cache
from icl_sim.lm.inference import Inference
from icl_sim.lm.prompts import Prompts, Tokens
from icl_sim.names import require
from icl_sim.types import Array, Params

PLACES = ("prompt_end", "first_candidate")
_RECORDS = ("attention", "logits", "query")
_STEP, _CONTEXT_STEP = 8, 64  # lengths are rounded up to multiples, so that few programs are compiled


@dataclasses.dataclass(frozen=True)
class Record:
    """What the layers do at one token of every query, as `icl_sim.lm.similarity` wants it.

    Attributes:
      attention_NAD: the output of attention, after its projection and before it is added.
      logits_NAHT: products of q and k over the query's own tokens, before mask and softmax; zeros past its end.
      mask_NT: which tokens each query has.
      context_NAK: the same over the tokens of the demonstrations, summed over heads; K = 0 without any.
      query_NAD: q, scaled and before rotation, of all heads in a row.
    """

    attention_NAD: np.ndarray
    logits_NAHT: np.ndarray
    mask_NT: np.ndarray
    context_NAK: np.ndarray
    query_NAD: np.ndarray


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says of each query.

    Attributes:
      scores_NC: of the candidates (`icl_sim.lm.scores`).
      record: None unless asked for.
    """

    scores_NC: np.ndarray
    labels_N: np.ndarray
    record: Record | None = None

    @property
    def right_N(self) -> np.ndarray:
        return scores.right(self.scores_NC, self.labels_N)

    def measures(self) -> dict[str, float]:
        """Accuracy, raw and batch-calibrated, AUC, and the share of the most frequent answer."""
        chosen = np.bincount(self.scores_NC.argmax(1), minlength=self.scores_NC.shape[1])
        return {
            "accuracy": scores.accuracy(self.scores_NC, self.labels_N),
            "calibrated_accuracy": scores.accuracy(scores.calibrated(self.scores_NC), self.labels_N),
            "auc": scores.auc(self.scores_NC, self.labels_N),
            "largest_share": float(chosen.max() / chosen.sum()),
        }


def require_known(architecture: Architecture, texts: Iterable[Tokens]) -> None:
    """Raises ValueError unless the model has all tokens: looked up, one beyond its table is another, silently."""
    most = max((max(text, default=0) for text in texts), default=0)
    if most >= architecture.vocab_size:
        raise ValueError(
            f"The tokenizer gives the id {most}, but the model has {architecture.vocab_size:,} tokens; they are not of "
            "one kind."
        )


def ask(
    architecture: Architecture,
    params: Params,
    prompts: Prompts,
    *,
    shots: bool,
    normalisation: str = "mean",
    place: str = "prompt_end",
    record: bool = False,
    batch_size: int = 16,
) -> Answers:
    """Scores the candidates of every query.

    Demonstrations are encoded once and every query once, and all candidates look at the same keys and values. Where
    some candidates have several tokens, these go through the model in one more pass for each batch.

    Args:
      shots: whether the demonstrations stand before each query (ICL), or nothing does (ZSL, FT).
      place: the token to record. "prompt_end" is the last of the prompt; "first_candidate", as in the code of Dai et
        al. 2023, the last of the first candidate, appended to each prompt in all settings.
      record: whether to record.

    Raises:
      ValueError: where a candidate has no tokens, where the tokenizer's ids are beyond the model's vocabulary, or where
        candidates are told apart by their first tokens, and some begin alike.
    """
    require("place", place, PLACES)
    if not all(prompts.candidates):
        raise ValueError(f"Candidate {list(map(len, prompts.candidates)).index(0)} has no tokens; each must have one.")
    if normalisation == "none" and len({one[0] for one in prompts.candidates}) < len(prompts.candidates):
        raise ValueError(
            "The normalisation 'none' scores candidates by their first tokens alone, and some begin alike; allowed "
            "here: mean, sum."
        )
    require_known(architecture, (prompts.context, prompts.start, *prompts.queries, *prompts.candidates))
    before = prompts.context if shots else prompts.start
    model = Inference(architecture, params)
    caches = encoded(model, before)
    shown_K = prompts.shown if shots else np.zeros(0, np.int64)
    extra = prompts.candidates[0] if record and place == "first_candidate" else ()
    lengths_C = np.asarray([len(one) for one in prompts.candidates])
    size, longer = lengths_C.max(), np.flatnonzero(lengths_C > 1)
    candidate_CJ = np.asarray([(*one, *[0] * (size - len(one))) for one in prompts.candidates], np.int32)
    first_C, goes_on = candidate_CJ[:, 0], len(longer) > 0 and normalisation != "none"
    count = len(prompts.queries)
    logits_NC = np.zeros((count, len(lengths_C)))
    log_probs_NCJ = np.zeros((count, len(lengths_C), size))
    kept: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    for rows, ids_BT, lengths_B in _batches([one + extra for one in prompts.queries], batch_size):
        ends_B = _padded(np.asarray([len(prompts.queries[row]) for row in rows]) - 1, len(ids_BT))
        told, own = _pass(model, caches, ids_BT, lengths_B, ends_B, first_C, record, goes_on)
        # In single precision: numpy has no products of halves.
        logits_BC, log_probs_BC, seen = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), told)
        logits_NC[rows], log_probs_NCJ[rows, :, 0] = logits_BC[: len(rows)], log_probs_BC[: len(rows)]
        if record:
            kept.append((rows, _cut(seen, len(rows), len(before), caches, shown_K)))
        if own is not None:
            log_probs_CBJ = np.asarray(_after(architecture, params, (*caches, own), candidate_CJ[longer]))
            log_probs_NCJ[rows[:, None], longer, 1:] = np.swapaxes(log_probs_CBJ[:, : len(rows)], 0, 1)
    found = scores.candidate_scores(log_probs_NCJ, lengths_C, logits_NC, normalisation)
    lengths_N = [len(one) + len(extra) for one in prompts.queries]
    return Answers(found, np.asarray(prompts.labels), _joined(kept, lengths_N) if record else None)


def encoded(model: Inference, tokens: Tokens) -> tuple[Cache, ...]:
    """Keys and values of what stands before all queries, of one sequence; none if nothing does."""
    if not tokens:
        return ()
    ids_BT = np.zeros((1, _rounded(len(tokens), _CONTEXT_STEP)), np.int32)
    ids_BT[0, : len(tokens)] = tokens
    one_BP = np.zeros((1, 1), np.int32)  # what it says is not read, and of the others it need not be made
    return (model.forward(ids_BT, lengths_B=np.asarray([len(tokens)], np.int32), asked_BP=one_BP).cache(),)


def _pass(
    model: Inference,
    caches: tuple[Cache, ...],
    ids_BT: np.ndarray,
    lengths_B: np.ndarray,
    ends_B: np.ndarray,
    first_C: np.ndarray,
    record: bool,
    goes_on: bool,
) -> tuple[tuple[Array, Array, Any], Cache | None]:
    """Logits and log-probabilities of tokens after the token at `ends_B`, `[B, C]`; records at the last token; and,
    if it goes on, a cache of the tokens up to the one at `ends_B`."""
    out = model.forward(
        ids_BT,
        caches=caches,
        lengths_B=lengths_B,
        record=_RECORDS if record else (),
        recorded_BP=(lengths_B - 1)[:, None],
        asked_BP=ends_B[:, None],
    )
    logits_BC, log_probs_BC = _first(model.architecture, model.ends, out.hidden_BPD[:, 0], first_C)
    told = logits_BC, log_probs_BC, out.record
    if not goes_on:
        return told, None
    cache, until_BT = out.cache(), np.arange(ids_BT.shape[1])[None] <= ends_B[:, None]
    return told, dataclasses.replace(cache, position_BS=jnp.where(until_BT, cache.position_BS, -1))


@functools.partial(jax.jit, static_argnums=0)
def _first(architecture: Architecture, ends: Params, hidden_BD: Array, first_C: Array) -> tuple[Array, Array]:
    """Logits and log-probabilities of tokens, `[B, C]`."""
    logits_BV = decoder.unembed(architecture, ends, hidden_BD)
    logits_BC = logits_BV[:, first_C]
    return logits_BC, logits_BC - jax.nn.logsumexp(logits_BV, axis=-1, keepdims=True)


@functools.partial(jax.jit, static_argnums=0)
def _after(architecture: Architecture, params: Params, caches: tuple[Cache, ...], candidate_CJ: Array) -> Array:
    """log p of every token of candidates but their first, after what the caches hold, `[C, B, J-1]`."""
    sequences = len(caches[-1].position_BS)

    def hidden(candidate_J: Array) -> Array:
        ids_BJ = jnp.broadcast_to(candidate_J[None, :-1], (sequences, len(candidate_J) - 1))
        return decoder.forward(architecture, params, ids_BJ, caches=caches).hidden_BTD

    def log_probs(one: tuple[Array, Array]) -> Array:
        hidden_BJD, candidate_J = one
        logits_BJV = decoder.unembed(architecture, params, hidden_BJD)
        told_BJ = jnp.take_along_axis(logits_BJV, candidate_J[None, 1:, None], axis=2)[..., 0]
        return told_BJ - jax.nn.logsumexp(logits_BJV, axis=-1)

    # One after the other: logits of all at once would be the largest array by far.
    return jax.lax.map(log_probs, (jax.vmap(hidden)(candidate_CJ), candidate_CJ))


def _batches(sequences: Sequence[Tokens], batch_size: int):
    """Sequences of like length together: the numbers of each batch, its padded ids, and its lengths."""
    order = np.argsort([len(one) for one in sequences], kind="stable")
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        size = min(1 << (len(rows) - 1).bit_length(), batch_size)
        ids_BT = np.zeros((size, _rounded(len(sequences[rows[-1]]), _STEP)), np.int32)
        for place, row in enumerate(rows):
            ids_BT[place, : len(sequences[row])] = sequences[row]
        lengths_B = np.asarray([len(sequences[row]) for row in rows], np.int32)
        yield rows, ids_BT, _padded(lengths_B, size, 1)


def _padded(values: np.ndarray, size: int, filling: int = 0) -> np.ndarray:
    return np.pad(values, (0, size - len(values)), constant_values=filling).astype(np.int32)


def _rounded(length: int, step: int) -> int:
    return -(-length // step) * step


def _cut(
    seen: dict[str, np.ndarray], count: int, before: int, caches: tuple[Cache, ...], shown_K: np.ndarray
) -> dict[str, np.ndarray]:
    """The record of the real rows of a batch, queries first; logits split into the query's own and the context's."""
    slots = sum(cache.position_BS.shape[1] for cache in caches)
    logits_ABHS = seen["logits"][:, :count, :, 0]
    return {
        "attention": np.swapaxes(seen["attention"][:, :count, 0], 0, 1),
        "query": np.swapaxes(seen["query"][:, :count, 0], 0, 1),
        "logits": np.swapaxes(logits_ABHS[..., slots:], 0, 1),
        "context": np.swapaxes(logits_ABHS[..., :before][..., shown_K].sum(2), 0, 1),
    }


def _joined(kept: list[tuple[np.ndarray, dict[str, np.ndarray]]], lengths_N: Sequence[int]) -> Record:
    """The batches in the order of the queries."""
    order = np.argsort(np.concatenate([rows for rows, _ in kept]))
    longest = max(lengths_N)
    mask_NT = np.arange(longest) < np.asarray(lengths_N)[:, None]

    def whole(name: str) -> np.ndarray:
        return np.concatenate(
            [_widened(parts[name], longest) if name == "logits" else parts[name] for _, parts in kept]
        )[order]

    logits_NAHT = np.where(mask_NT[:, None, None], whole("logits"), 0.0)
    return Record(whole("attention"), logits_NAHT, mask_NT, whole("context"), whole("query"))


def _widened(logits: np.ndarray, size: int) -> np.ndarray:
    """Cut or padded with zeros to so many tokens."""
    missing = max(size - logits.shape[-1], 0)
    return np.pad(logits[..., :size], [(0, 0)] * (logits.ndim - 1) + [(0, missing)])
