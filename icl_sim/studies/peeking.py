"""Whether a predictor reads the answers that it is asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim.engine.settings import Member
from icl_sim.engine.step import initial_state, join
from icl_sim.keys import stream
from icl_sim.types import Array, Params, Predictor

TOLERANCE = 1e-3  # by which answers may change with targets that they do not depend on, by rounding


def refuse_peeking(member: Member, shared: Any) -> None:
    """Raises ValueError if an answer changes with targets that are not to be seen: its own and those after it.

    It is looked for where a predictor or reference is code of a study's own.
    """
    if all(type(one).__module__.partition(".")[0] == "icl_sim" for one in _predictors(member).values()):
        return
    for name, change in jax.jit(_changes)(member, shared).items():
        if change > TOLERANCE:
            whose = f"the reference {name!r}" if name else "it"
            raise ValueError(
                f"What {whose} answers at a slot s changes with targets[:, s:], the answer itself among them, which it "
                "must not read."
            )


def _changes(member: Member, shared: Any) -> dict[str, Array]:
    """By how much answers change, by their size, when targets are changed from the last slot asked on."""
    state = initial_state(member, shared)
    evaluated = next(iter(member.eval_task.evaluation_sets().values())).prepare(shared)
    batch = evaluated.sample(stream(0, "eval", 0), 2)
    slots = batch.targets.shape[1]
    last = slots - 1 if batch.weights is None else slots // 2
    other = (batch.targets + 1) % batch.num_classes if batch.num_classes else batch.targets + 1
    altered = dataclasses.replace(batch, targets=jnp.where(jnp.arange(slots)[None] < last, batch.targets, other))

    def change(predictor: Predictor, params: Params) -> Array:
        before, after = (predictor.apply(params, one).values for one in (batch, altered))
        if batch.weights is not None:
            before, after = before[:, : last + 1], after[:, : last + 1]
        finite, stays = jnp.isfinite(before), jnp.isfinite(before) == jnp.isfinite(after)
        changed = jnp.max(jnp.abs(before - after), initial=0.0, where=finite & stays)
        return jnp.where(stays.all(), changed / (1 + jnp.max(jnp.abs(before), initial=0.0, where=finite)), jnp.inf)

    params = {"": join(state.parts), **state.references}
    return {name: change(predictor, params[name]) for name, predictor in _predictors(member).items()}


def _predictors(member: Member) -> dict[str, Predictor]:
    """The predictor of a member, under no name, and its references by theirs."""
    return {"": member.predictor, **member.references}
