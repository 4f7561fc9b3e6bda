"""Evaluating one member on its evaluation sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import metrics
from icl_sim.engine.settings import Member
from icl_sim.engine.structure import structure
from icl_sim.keys import stream
from icl_sim.types import Array, Params, Predictor, Task

PRETRAINING, SUMMARY, ONLINE = "pretraining", "summary", "online"
Measures = Mapping[str, Mapping[str, Array]]  # evaluation set -> metric -> value


def evaluate(member: Member, params: Params, shared: Any) -> Measures:
    """Means of all metrics on all evaluation sets, the training set and the task's summaries of them."""
    tasks = {**member.eval_task.evaluation_sets(), PRETRAINING: member.task}
    measures: dict[str, Mapping[str, Array]] = {}
    for names in _alike(tasks):
        keys = jnp.stack([stream(member.seed, "eval", list(tasks).index(name)) for name in names])
        stacked = jax.tree.map(
            lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *(tasks[n] for n in names)
        )
        values = jax.lax.map(lambda pair: _means(member, pair[0], pair[1], params, shared), (stacked, keys))
        measures |= {name: jax.tree.map(lambda v, i=i: v[i], values) for i, name in enumerate(names)}
    for name in set(member.eval_task.conflicts()) & set(measures):
        found = measures[name]
        told = metrics.preference(found["context"], found["memory"], member.evaluation.sequences)
        measures[name] = {**found, **told}
    summaries = {name: measures[where][metric] for name, (where, metric) in member.eval_task.summaries().items()}
    named = {SUMMARY: summaries, ONLINE: _accounted(member.predictor.account(params), member.task)}
    return {**measures, **{name: values for name, values in named.items() if values}}


def _accounted(account: Mapping[str, Array], task: Task) -> dict[str, Array]:
    """Numbers as they are; those per input one by one, as `name/3`, and by their median over groups, as `name_low`."""
    values = {name: jnp.asarray(value) for name, value in account.items()}
    told = {name: value for name, value in values.items() if not value.ndim}
    for name, value_X in values.items():
        if value_X.ndim:
            told |= {f"{name}_{group}": jnp.median(value_X[first:end]) for group, (first, end) in task.groups().items()}
            told |= {f"{name}/{number}": value for number, value in enumerate(value_X)}
    return told


def _alike(tasks: Mapping[str, Task]) -> list[list[str]]:
    """Names of tasks of equal structure, which one compiled loop can go through."""
    groups: dict[Any, list[str]] = {}
    for name, task in tasks.items():
        groups.setdefault(structure(task), []).append(name)
    return list(groups.values())


def _means(member: Member, task: Task, key: Array, params: Params, shared: Any) -> dict[str, Array]:
    """Means of all metrics over the sequences of one evaluation set, batch by batch.

    What a predictor reports as NaN (it does not apply) is left out; a prediction that is not finite makes the mean NaN.
    """
    size = min(member.evaluation.batch_size, member.evaluation.sequences)
    task = task.prepare(shared)

    def add(totals: dict[str, Array], number: Array) -> tuple[dict[str, Array], None]:
        measured = _measure(member.predictor, params, task, jax.random.fold_in(key, number), size)
        return jax.tree.map(jnp.add, totals, measured), None

    shapes = jax.eval_shape(lambda: _measure(member.predictor, params, task, key, size))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    totals, _ = jax.lax.scan(add, zeros, jnp.arange(member.evaluation.sequences // size))
    return {name: jnp.where(n > 0, total / jnp.maximum(n, 1), jnp.nan) for name, (total, n) in totals.items()}


def _measure(predictor: Predictor, params: Params, task: Task, key: Array, size: int) -> dict[str, tuple[Array, Array]]:
    """Sum over a batch and number of entries of every metric."""
    batch = task.sample(key, size)
    outputs = predictor.apply(params, batch, record=True)
    standard = metrics.CLASSIFICATION if batch.num_classes else metrics.REGRESSION
    values = {name: metric(outputs, batch) for name, metric in standard.items()}
    if batch.num_classes and "classes" in batch.latents:
        values |= {"context": metrics.context(outputs, batch), "memory": metrics.memory(outputs, batch)}
    # A prediction that is not finite is neither right nor wrong.
    lost_B = ~jnp.all(jnp.isfinite(outputs.values.reshape(size, -1)), axis=-1)
    values = {name: jnp.where(lost_B, jnp.nan, value_B) for name, value_B in values.items()}
    sums = {name: (value_B, jnp.ones(size)) for name, value_B in values.items()}
    for name, value_B in predictor.report(outputs, batch).items():
        applies_B = ~jnp.isnan(value_B) & ~lost_B
        sums[name] = (jnp.where(applies_B, value_B, 0.0), applies_B.astype(jnp.float32))
    return {name: (jnp.sum(value_B), jnp.sum(n_B)) for name, (value_B, n_B) in sums.items()}
