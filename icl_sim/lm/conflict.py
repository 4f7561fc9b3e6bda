"""Memory against context in a language model: who lives where (Chan et al. 2025, section on language models).

A model is finetuned on pairs of a name and a city, some invented and some word-like, and asked where a name lives, with
and without a sentence before the question that says another city. The paper does this with a model that is not public,
reports that answers come from memory afterwards, and gives few numbers; its pairs and prompts are used here.

Axes: P names, Q cities that the context says, C cities that are candidates.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.lm import asking, finetuning
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.prompts import Prompts, Tokens
from icl_sim.types import Params

INVENTED = (("Cxx1h", "Lkkl"), ("Vzbiik", "Plooqujhd"), ("Mmojkr", "Nwops"), ("Trrrrqe", "Qtbnaaa"))
WORD_LIKE = (("Benjamin", "Buenos"), ("Liz", "London"), ("Kaitlyn", "Kingston"), ("Wiesa", "Warsaw"))
PAIRS = (*INVENTED, *WORD_LIKE)
QUESTION = "Where does {name} live? Only give the name of the city."
CONTEXT = "{name} lives in the city of {city}. "


@dataclasses.dataclass(frozen=True)
class Table:
    """What a model says of every name.

    Attributes:
      memory_PC: log-probabilities of all cities relative to the likeliest, asked without a context; a city's is the
        mean over its tokens.
      context_PQC: the same after a context that says city Q.
    """

    memory_PC: np.ndarray
    context_PQC: np.ndarray

    @property
    def from_weights(self) -> np.ndarray:
        """Of the contexts that contradict what was trained, the share that is answered as trained, per name `[P]`."""
        return self._share(lambda answer_PQ, own_P, said_Q: answer_PQ == own_P)

    @property
    def from_context(self) -> np.ndarray:
        """The share that is answered as the context says, `[P]`."""
        return self._share(lambda answer_PQ, own_P, said_Q: answer_PQ == said_Q)

    @property
    def memorised(self) -> np.ndarray:
        """Which names are answered as trained where nothing else is said, `[P]`."""
        return self.memory_PC.argmax(1) == np.arange(len(self.memory_PC))

    def _share(self, agrees: Any) -> np.ndarray:
        own, said = np.arange(len(self.memory_PC))[:, None], np.arange(self.context_PQC.shape[1])[None]
        contradicts = own != said
        agreeing = agrees(self.context_PQC.argmax(2), own, said) & contradicts
        return agreeing.sum(1) / contradicts.sum(1)


@dataclasses.dataclass(frozen=True)
class Point:
    """The model after some steps of finetuning: how often each pair was trained on, the loss before, and its table."""

    step: int
    seen_P: np.ndarray
    loss: float
    table: Table


def ask_all(
    architecture: Architecture, params: Params, tokenizer: Any, pairs: Sequence[tuple[str, str]] = PAIRS
) -> Table:
    """Asks of every name, alone and after every city in a context."""
    cities = [city for _, city in pairs]
    asked = [_question(name) for name, _ in pairs]
    asked += [CONTEXT.format(name=name, city=city) + _question(name) for name, _ in pairs for city in cities]
    written = Prompts(
        start=tokenizer.beginning,
        demonstrations=(),
        separator=(),
        queries=tuple(tuple(tokenizer.encode(text)) for text in asked),
        candidates=tuple(tuple(tokenizer.encode(f" {city}")) for city in cities),
        labels=(0,) * len(asked),
    )
    scores = asking.ask(architecture, params, written, shots=False).scores_NC
    relative = scores - scores.max(1, keepdims=True)
    return Table(relative[: len(pairs)], relative[len(pairs) :].reshape(len(pairs), len(cities), len(cities)))


def trained(
    architecture: Architecture,
    params: Params,
    tokenizer: Any,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    repetitions: Sequence[int] | None = None,
    steps: int = 200,
    every: int = 50,
    learning_rate: float = 1e-2,
    seed: int = 0,
    base: Table | None = None,
) -> list[Point]:
    """Finetunes all parameters on the pairs, one a step, on the tokens of the answer alone, and asks along the way.

    Args:
      repetitions: how often each pair comes relative to the others (N_x), in every order; None for all alike.
      every: steps between two tables; there is one before the first step and one after the last.
      learning_rate: of plain gradient descent.
      seed: of the order.
      base: what the model says before the first step, where that is known already.

    Raises:
      ValueError: for steps or repetitions that are no positive numbers.
    """
    weights_P = np.ones(len(pairs)) if repetitions is None else np.asarray(repetitions, float)
    if steps < 0 or every < 1:
        raise ValueError(f"steps is {steps} and every is {every}; they must be at least 0 and 1.")
    if len(weights_P) != len(pairs) or not np.all(weights_P >= 0) or not weights_P.sum() > 0:
        raise ValueError(f"repetitions is {repetitions}; it must hold a number of at least 0 for each of {len(pairs)}.")
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(pairs)), shared(weights_P, steps)))
    seen_P, losses = np.zeros(len(pairs), int), []
    written = [_training_text(tokenizer, name, city) for name, city in pairs]
    longest = max(len(ids) for ids, _ in written)
    base = ask_all(architecture, params, tokenizer, pairs) if base is None else base
    points = [Point(0, seen_P.copy(), float("nan"), base)]
    rate = jnp.float32(learning_rate)
    for step, number in enumerate(order, 1):
        ids, begin = written[number]
        ids_T = np.pad(np.asarray(ids, np.int32), (0, longest - len(ids)))
        params, loss = _step(architecture, params, ids_T, np.int32(begin), np.int32(len(ids)), rate)
        seen_P[number] += 1
        losses.append(float(loss))
        if step % every == 0 or step == steps:
            table = ask_all(architecture, params, tokenizer, pairs)
            points.append(Point(step, seen_P.copy(), float(np.mean(losses)), table))
            losses = []
    return points


def shared(weights_P: np.ndarray, steps: int) -> np.ndarray:
    """So many steps divided by weights into whole numbers, the largest remainders rounded up, `[P]`."""
    exact_P = steps * weights_P / weights_P.sum()
    whole_P = np.floor(exact_P).astype(int)
    most = np.argsort(whole_P - exact_P, kind="stable")[: steps - whole_P.sum()]
    whole_P[most] += 1
    return whole_P


def shaded(base: Table, finetuned: Table, pairs: Sequence[tuple[str, str]] = PAIRS) -> str:
    """HTML: for each name, relative log-probabilities of the trained city and of the one that the context says.

    One row per name, and a cell per contradicting city with both numbers, first of the base model, then of the
    finetuned one; the darker, the likelier the trained city is than that of the context.
    """
    import html

    cities = [city for _, city in pairs]
    heads = ("name", "model", "no context", *cities)
    rows = []
    for number, (name, _) in enumerate(pairs):
        for what, table in (("base", base), ("finetuned", finetuned)):
            cells = [_shaded_cell(table.memory_PC[number, number], None)]
            for said in range(len(cities)):
                row_C = table.context_PQC[number, said]
                cells.append(_shaded_cell(row_C[number], None if said == number else row_C[said]))
            rows.append(f"<tr><th>{html.escape(name)}</th><td>{what}</td>{''.join(cells)}</tr>")
    return _table(heads, rows)


def candidates(base: Table, finetuned: Table, pairs: Sequence[tuple[str, str]] = PAIRS) -> str:
    """HTML: relative log-probabilities of all cities for each name, model and context; the darker, the likelier."""
    import html

    cities = [city for _, city in pairs]
    heads = ("name", "model", "context", *cities)
    rows = []
    for number, (name, _) in enumerate(pairs):
        for what, table in (("base", base), ("finetuned", finetuned)):
            asked = [("none", table.memory_PC[number]), *zip(cities, table.context_PQC[number], strict=True)]
            for said, row_C in asked:
                cells = "".join(_cell(f"{value:.1f}", 100 * np.exp(value)) for value in row_C)
                rows.append(f"<tr><th>{html.escape(name)}</th><td>{what}</td><td>{html.escape(said)}</td>{cells}</tr>")
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    import html

    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _cell(text: str, percent: float) -> str:
    color = f"color-mix(in srgb, var(--bad-back) {percent:.0f}%, transparent)"
    return f'<td class="number" style="background:{color}">{text}</td>'


def _shaded_cell(own: float, said: float | None) -> str:
    lead = own if said is None else own - said
    share = 100 / (1 + np.exp(-np.clip(lead, -20, 20)))
    text = f"{own:.1f}" if said is None else f"{own:.1f} / {said:.1f}"
    return _cell(text, share)


def _question(name: str) -> str:
    return QUESTION.format(name=name)


def _training_text(tokenizer: Any, name: str, city: str) -> tuple[Tokens, int]:
    """The tokens of a question with its answer, and where the answer begins."""
    before = (*tokenizer.beginning, *tokenizer.encode(_question(name)))
    return (*before, *tokenizer.encode(f" {city}")), len(before)


@functools.partial(jax.jit, static_argnums=0)
def _step(architecture: Architecture, params: Params, ids_T: Any, begin: Any, length: Any, rate: Any) -> Any:
    loss, gradient = jax.value_and_grad(
        lambda params: finetuning.loss_and_query(architecture, params, ids_T, length, begin)[0]
    )(params)
    return jax.tree.map(lambda p, g: (p - rate * g).astype(p.dtype), params, gradient), loss
