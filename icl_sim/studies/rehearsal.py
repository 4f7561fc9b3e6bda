"""A study in shapes only, before anything runs: what is found wrong where predictors first meet sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from icl_sim import metrics
from icl_sim.engine.settings import Member
from icl_sim.engine.step import initial_state, join
from icl_sim.keys import stream
from icl_sim.studies.plan import Entry, Plan
from icl_sim.types import Answerer


def rehearse(planned: Plan) -> None:
    """Traces for one member of every group its start, its answers and its comparisons; nothing is computed.

    Raises:
      ValueError: a sentence that ends with the predictor, for a predictor, reference or comparison that cannot do with
        the sequences of the study.
    """
    entries = {entry.id: entry for entry in planned.entries}
    loaded: dict[str, Any] = {}
    for group in planned.groups:
        entry = entries[group.ids[0]]
        if entry.member.task.calculated:
            continue
        key = repr(entry.member.task)
        if key not in loaded:
            loaded[key] = entry.member.task.load()
        _rehearse(entry, loaded[key])


def _rehearse(entry: Entry, shared: Any) -> None:
    try:
        jax.eval_shape(lambda: _played(entry.member, shared))
    except Exception as error:  # whatever a network or a learner raises on shapes that it was not made for
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if not isinstance(error, ValueError):
            told = f"It cannot answer these sequences: {type(error).__name__}: {told}"
        raise ValueError(f"{told} (The predictor {entry.predictor!r}.)") from error


def _played(member: Member, shared: Any) -> Mapping[str, Any]:
    """The start of a member, its answers to an evaluation set and how they compare."""
    state = initial_state(member, shared)
    task = next(iter(member.eval_task.evaluation_sets().values())).prepare(shared)
    size = min(member.evaluation.batch_size, member.evaluation.sequences)
    batch = task.sample(stream(0, "eval", 0), size)
    me = Answerer(member.predictor, join(state.parts))
    outputs = member.predictor.apply(me.params, batch, record=True)
    played: dict[str, Any] = {"weights": metrics.slot_weights(outputs, batch), "loss": metrics.loss(outputs, batch)}
    for name, params in state.references.items():
        other = Answerer(member.references[name], params)
        played[name] = other(batch)
        for what, comparison in member.comparisons.items():
            if name in (comparison.references or member.references):
                played[f"{what} {name}"] = comparison.compare(me, other, batch)
    return played
