"""Evaluating one member on its evaluation sets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import metrics
from icl_sim.engine.devices import DATA
from icl_sim.engine.settings import Member
from icl_sim.engine.structure import structure
from icl_sim.keys import stream
from icl_sim.types import Answerer, Array, Batch, Leaf, Outputs, Params, Task, setting

_RESAMPLING = 2**31 - 1  # counter of the key of bootstraps, which no batch reaches
PRETRAINING, SUMMARY, ONLINE, PARAMETERS = "pretraining", "summary", "online", "parameters"
Measures = Mapping[str, Mapping[str, Array]]  # evaluation set -> metric -> value


def evaluate(
    member: Member, params: Params, references: Mapping[str, Params], shared: Any, across: int = 1
) -> Measures:
    """Means of all metrics on all evaluation sets, the training set and the task's summaries of them.

    Where every slot is a query, `name` is the mean over slots by their weights and `name/k` that of the slot which k
    context pairs precede, or which the task has at the position k.

    Args:
      across: devices along the axis "data" that share the batches of every set, where their number allows.
    """
    asked = _Asked(member=member, params=params, references=references)
    tasks = {**member.eval_task.evaluation_sets(), PRETRAINING: member.task}
    measures: dict[str, Mapping[str, Array]] = {}
    for names in _alike(tasks):
        keys = jnp.stack([stream(member.seed, "eval", list(tasks).index(name)) for name in names])
        stacked = jax.tree.map(
            lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *(tasks[n] for n in names)
        )
        values = jax.lax.map(lambda pair: _means(asked, pair[0].prepare(shared), pair[1], across), (stacked, keys))
        measures |= {name: jax.tree.map(lambda v, i=i: v[i], values) for i, name in enumerate(names)}
    for name in set(member.eval_task.conflicts()) & set(measures):
        found = measures[name]
        told = metrics.preference(found["context"], found["memory"], member.evaluation.sequences)
        measures[name] = {**found, **told}
    summaries = {name: measures[where][metric] for name, (where, metric) in member.eval_task.summaries().items()}
    account = ONLINE if member.predictor.online else PARAMETERS
    named = {SUMMARY: summaries, account: _accounted(member.predictor.account(params), member.task)}
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


@setting
class _Asked:
    """Who is measured, and with whom compared."""

    member: Member
    params: Params
    references: Mapping[str, Params]


def _means(asked: _Asked, task: Task, key: Array, across: int) -> dict[str, Array]:
    """Means of all metrics over the sequences of one evaluation set, batch by batch.

    What does not apply (NaN in a report or a comparison) is left out; a prediction that is not finite makes means NaN.
    """
    evaluation = asked.member.evaluation
    size = min(evaluation.batch_size, evaluation.sequences)

    def add(totals: dict[str, Array], number: Array) -> tuple[dict[str, Array], dict[str, Any]]:
        measured, errors = _measure(asked, task, jax.random.fold_in(key, number), size)
        return jax.tree.map(jnp.add, totals, measured), errors

    shapes, _ = jax.eval_shape(functools.partial(_measure, size=size), asked, task, key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    totals, errors = _scanned(add, zeros, evaluation.sequences // size, across)
    slots = jax.eval_shape(lambda: task.sample(key, 1)).targets.shape[1]
    means = {name: _ratio(jnp.sum(total_P), jnp.sum(n_P)) for name, (total_P, n_P) in totals.items()}
    by_slot = {name: _ratio(total_P, n_P) for name, (total_P, n_P) in totals.items()}
    for name, error_IBP2 in errors.items():
        error_NP, weight_NP = (jnp.reshape(x, (-1, x.shape[-1])) for x in error_IBP2)
        limits = metrics.bootstrap(error_NP, weight_NP, jax.random.fold_in(key, _RESAMPLING), evaluation.bootstrap)
        by_slot |= {f"{name}_{end}": limit_P for end, limit_P in zip(("from", "to"), limits, strict=True)}
    for name, mean_P in by_slot.items():
        told = positions(task, slots, len(mean_P))
        means |= {f"{name}/{k}": _at(mean_P, slot, slots) for k, slot in told.items()}
    return means


def positions(task: Task, slots: int, P: int) -> Mapping[int, Leaf]:
    """The positions k of `name/k` with the slots that they are at, given that the last P of all slots are answered."""
    return (task.positions() or {slot: slot for slot in range(slots - P, slots)}) if P > 1 else {}


def measured(
    member: Member, params: Params, references: Mapping[str, Params], task: Task, batch: Batch, outputs: Outputs
) -> dict[str, Array]:
    """Every metric of the recorded outputs on a batch of an evaluation set: `[B]`, or `[B, P]` of the last P slots."""
    asked = _Asked(member=member, params=params, references=references)
    return {**_standard(outputs, batch), **_told(asked, task, outputs, batch)}


def _scanned(add: Callable[..., tuple[Any, Any]], zeros: Any, number: int, across: int) -> tuple[Any, Any]:
    """Scans over the numbers of all batches: every device over its share, where they can be shared equally."""
    if across == 1 or number % across:
        return jax.lax.scan(add, zeros, jnp.arange(number))
    mine_I = jnp.arange(number).reshape(across, -1)[jax.lax.axis_index(DATA)]
    totals, told = jax.lax.scan(add, zeros, mine_I)
    return jax.lax.psum(totals, DATA), jax.tree.map(lambda x: jax.lax.all_gather(x, DATA, tiled=True), told)


def _at(mean_P: Array, slot: Leaf, slots: int) -> Array:
    """The mean of a slot; NaN where it is not among the last P, which are answered."""
    number = jnp.asarray(slot, int) - (slots - len(mean_P))
    return jnp.where(number >= 0, mean_P[jnp.maximum(number, 0)], jnp.nan)


@functools.partial(jax.jit, static_argnames="size", inline=True)  # to trace it once, for its shapes and for the sums
def _measure(asked: _Asked, task: Task, key: Array, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sum over a batch and number of entries of every metric, `[P]` each; and errors to resample with their weights."""
    member = asked.member
    batch = task.sample(key, size)
    outputs = member.predictor.apply(asked.params, batch, record=True)
    # A prediction that is not finite is neither right nor wrong.
    lost_B1 = ~jnp.all(jnp.isfinite(outputs.values.reshape(size, -1)), axis=-1, keepdims=True)
    errors = {
        name: (jnp.where(lost_B1, jnp.nan, error_BP), weight_BP)
        for name, (error_BP, weight_BP) in _weighted(_standard(outputs, batch), batch).items()
    }
    told = {
        name: (jnp.where(missing_BP, 0.0, value_BP), jnp.where(missing_BP, 0.0, weight_BP))
        for name, (value_BP, weight_BP) in _weighted(_told(asked, task, outputs, batch), batch).items()
        for missing_BP in (jnp.isnan(value_BP) | lost_B1,)
    }
    sums = {
        name: (jnp.sum(jnp.where(n_BP > 0, value_BP * n_BP, 0.0), axis=0), jnp.sum(n_BP, axis=0))
        for name, (value_BP, n_BP) in {**errors, **told}.items()
    }
    resampled = metrics.RESAMPLED if member.evaluation.bootstrap and batch.weights is not None else ()
    return sums, {name: errors[name] for name in resampled if name in errors}


def _standard(outputs: Outputs, batch: Batch) -> dict[str, Array]:
    """The metrics of the kind of batch, and those for which it has the latents."""
    standard = metrics.CLASSIFICATION if batch.num_classes else metrics.REGRESSION
    values = {name: metric(outputs, batch) for name, metric in standard.items()}
    if batch.num_classes and "classes" in batch.latents:
        values |= {"context": metrics.context(outputs, batch), "memory": metrics.memory(outputs, batch)}
    if not batch.num_classes and "clean" in batch.latents:
        values["clean_error"] = metrics.clean_error(outputs, batch)
    return values


def _told(asked: _Asked, task: Task, outputs: Outputs, batch: Batch) -> dict[str, Array]:
    """What the task asks for, what the predictor reports of itself, and how far it is from every reference."""
    member, me = asked.member, Answerer(asked.member.predictor, asked.params)
    told = {name: metrics.OF_LABELS[name](outputs, batch) for name in task.measured}
    told |= member.predictor.report(outputs, batch)
    for name, params in asked.references.items():
        other = Answerer(member.references[name], params)
        for comparison in member.comparisons.values():
            if name in (comparison.references or member.references):
                found = comparison.compare(me, other, batch)
                told |= {_suffixed(what, name): value for what, value in found.items()}
    return told


def _suffixed(what: str, reference: str) -> str:
    """The name of a measure with that of the reference: "spd" as "spd_ridge", "loss/5" as "loss_ridge/5"."""
    head, slash, number = what.partition("/")
    return f"{head}_{reference}{slash}{number}"


def _weighted(values: Mapping[str, Array], batch: Batch) -> dict[str, tuple[Array, Array]]:
    """Values per sequence or per slot as columns `[B, P]`, with how much each entry counts."""
    weighted = {}
    for name, value in values.items():
        value_BP = value if value.ndim == 2 else value[:, None]
        if batch.weights is None or value.ndim == 1:
            weighted[name] = (value_BP, jnp.ones(value_BP.shape))
        else:
            weighted[name] = (value_BP, batch.weights[:, -value_BP.shape[1] :])
    return weighted


def _ratio(total: Array, n: Array) -> Array:
    return jnp.where(n > 0, total / jnp.where(n > 0, n, 1), jnp.nan)
