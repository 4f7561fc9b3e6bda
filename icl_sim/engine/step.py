"""Training one member: its state, one update, and a stretch of updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from icl_sim import metrics, names
from icl_sim.engine.devices import DATA
from icl_sim.engine.settings import Member, Training
from icl_sim.keys import stream
from icl_sim.types import Array, Batch, Leaf, Params, Phase, Predictor, Task, setting

_WHOLE = "all"  # the part that is all parameters
_REST = ""  # the part that is all that no phase freezes; a path to the root


@setting
class State:
    """What training changes.

    Attributes:
      parts: the parameters, divided into the parts that phases train separately.
      moments: Adam's state of every part that gradients move.
      references: parameters of what the member is compared with; they never change.
      counts: the task's counters, summed over all batches so far.
      loss_sum: sum of the training loss over the steps of the current stretch.
      diverged_at: the first step whose loss was not finite, or -1.
    """

    parts: Mapping[str, Params]
    moments: Mapping[str, Any]
    references: Mapping[str, Params]
    counts: Mapping[str, Array]
    loss_sum: Array
    diverged_at: Array


def initial_state(member: Member, shared: Any) -> State:
    """The state before the first update. Trace it (jit): eager initialisation is not bit-equal to compiled."""
    task = member.task.prepare(shared)
    batch = task.sample(stream(member.seed, "train", 0), member.training.batch_size)
    parts = split(member.predictor, member.predictor.init(stream(member.seed, "init"), batch))
    return State(
        parts=parts,
        moments={name: _adam(member.training).init(parts[name]) for name in _descending(member.predictor, parts)},
        references=_references(member, shared),
        counts=jax.tree.map(jnp.zeros_like, dict(task.count(batch))),
        loss_sum=jnp.zeros(()),
        diverged_at=jnp.full((), -1, jnp.int32),
    )


def train(
    member: Member, state: State, shared: Any, start: Leaf, stop: Leaf, phase: Phase, *, across: int = 1
) -> State:
    """Updates `start` to `stop` (exclusive), both traced: one program serves every stretch of a phase.

    Args:
      across: devices along the axis "data" that share each batch, which must divide it: every one draws all of it, so
        that the sequences do not depend on their number, and takes the gradient of its part.

    A batch is drawn behind a condition that always holds. Without it, XLA's CPU compiler fuses the noise of a batch
    into the network's first concatenation, which computes it number by number (measured: a twelfth of the update).
    """
    task = (_evaluated(member) if phase.on_evaluated else member.task).prepare(shared)
    trained = [name for name in state.parts if name in state.moments and _moves(phase, name)]
    adam = _adam(member.training)

    def loss(parts: Mapping[str, Params], frozen: Mapping[str, Params], batch) -> Array:
        params = join({**frozen, **parts})
        outputs = member.predictor.apply(params, batch, record=bool(phase.scores))
        if not phase.scores:
            return jnp.mean(metrics.loss(outputs, batch))
        scored = (outputs.record[name] for name in phase.scores)
        losses = (metrics.log_loss(score, batch) if batch.num_classes else score for score in scored)
        return sum((jnp.mean(loss_B) for loss_B in losses), jnp.zeros(()))

    @jax.jit  # traced once
    def sample(step: Array) -> Batch:
        return task.at(step).sample(stream(member.seed, "train", step), member.training.batch_size)

    def draw(step: Array) -> Batch:
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(sample, step))
        return jax.lax.cond(step < stop, sample, lambda _: nothing, step)

    def gradient(moving: dict[str, Params], frozen: Mapping[str, Params], batch: Batch) -> tuple[Array, Any]:
        """The loss and its gradient, of the batch at once or as the mean over its parts, here and on other devices."""
        if across == 1:
            return gradient_here(moving, frozen, batch, member.training.microbatches)
        mine = _divided(batch, across)(jax.lax.axis_index(DATA))
        number = math.gcd(-(-member.training.microbatches // across), member.training.batch_size // across)
        return jax.lax.pmean(gradient_here(moving, frozen, mine, number), DATA)

    def gradient_here(
        moving: dict[str, Params], frozen: Mapping[str, Params], batch: Batch, number: int
    ) -> tuple[Array, Any]:
        """The same of what this device has, in so many parts."""
        of_part = jax.value_and_grad(loss)
        if number == 1:
            return of_part(moving, frozen, batch)
        parts = _divided(batch, number)
        totals = jax.tree.map(jnp.zeros_like, jax.eval_shape(of_part, moving, frozen, parts(0)))
        totals = jax.lax.fori_loop(
            0, number, lambda i, sums: jax.tree.map(jnp.add, sums, of_part(moving, frozen, parts(i))), totals
        )
        return jax.tree.map(lambda total: total / number, totals)

    def descend(step: Array, state: State, batch: Batch) -> tuple[Array, dict[str, Any], dict[str, Any]]:
        """The loss, and the parts and moments after an update."""
        moving = {name: state.parts[name] for name in trained}
        value, gradients = gradient(moving, state.parts, batch)
        rate = learning_rate(member.training, step)
        parts, moments = dict(state.parts), dict(state.moments)
        for name in trained:
            slope = gradients[name]
            if (l2 := member.training.l2) is not None:
                slope = jax.tree.map(lambda g, p: g + l2 * p, slope, state.parts[name])
            direction, moments[name] = adam.update(slope, state.moments[name])
            direction = _decaying(direction, state.parts, name, member.training.weight_decay)
            parts[name] = jax.tree.map(lambda p, d: p - rate * d, state.parts[name], direction)
        return value, parts, moments

    def observe(step: Array, state: State, batch: Batch) -> tuple[Array, dict[str, Any], dict[str, Any]]:
        """The same for a predictor that learns in its own way."""
        del step
        params, losses_B = member.predictor.observe(join(state.parts), batch)
        return jnp.mean(losses_B), split(member.predictor, params), {}

    learn = observe if member.predictor.online else descend

    def update(step: Array, state: State) -> State:
        batch = draw(step)
        value, parts, moments = learn(step, state, batch)
        first_bad = ~jnp.isfinite(value) & (state.diverged_at < 0)
        return State(
            parts=parts,
            moments=moments,
            references=state.references,
            counts=jax.tree.map(jnp.add, state.counts, dict(task.count(batch))),
            loss_sum=state.loss_sum + value,
            diverged_at=jnp.where(first_bad, step, state.diverged_at).astype(jnp.int32),
        )

    return jax.lax.fori_loop(start, stop, update, state)


def _divided(batch: Batch, number: int) -> Callable[[Leaf], Batch]:
    """Part i of a batch, of this many equal ones: what has an axis of sequences is cut, what has none stays."""
    size = len(batch.targets)

    def part(i: Leaf) -> Batch:
        def cut(leaf: Array) -> Array:
            of_sequences = jnp.ndim(leaf) > 0 and len(leaf) == size
            return jax.lax.dynamic_slice_in_dim(leaf, i * (size // number), size // number) if of_sequences else leaf

        return jax.tree.map(cut, batch)

    return part


def _evaluated(member: Member) -> Task:
    """The first of the evaluation sets: what is evaluated when nothing is shifted."""
    return next(iter(member.eval_task.evaluation_sets().values()))


def _references(member: Member, shared: Any) -> dict[str, Params]:
    """Parameters of the references, fitted by their `init` to sequences of the task that is evaluated."""
    task = _evaluated(member).prepare(shared)
    fitted = {}
    for number, name in enumerate(sorted(member.references)):
        batch = task.sample(stream(member.seed, "references", number, 0), member.evaluation.sequences)
        fitted[name] = member.references[name].init(stream(member.seed, "references", number, 1), batch)
    return fitted


def _descending(predictor: Predictor, parts: Mapping[str, Params]) -> list[str]:
    """The parts that gradients move."""
    if predictor.online or not predictor.phases:
        return []
    held = {name for name in parts if all(_is_within(name, phase.frozen) for phase in predictor.phases)}
    return [name for name, part in parts.items() if jax.tree.leaves(part) and name not in held]


def _adam(training: Training) -> optax.GradientTransformation:
    adam = optax.scale_by_adam(training.adam_b1, training.adam_b2, cast(float, training.adam_epsilon))
    if training.clip_norm is not None:
        adam = optax.chain(optax.clip_by_global_norm(cast(float, training.clip_norm)), adam)
    # On one vector: a loop on a CPU pays for every leaf it carries (measured: 3 to 4 % of the whole update).
    return optax.flatten(adam)


def _decaying(direction: Params, parts: Mapping[str, Params], name: str, decay: Leaf | None) -> Params:
    """The direction of the update of a part with the decay of kernels added."""
    if decay is None:
        return direction
    params, above = parts[name], name.split("/")
    in_blocks = any("blocks" in path for path in _paths(join(parts) if _REST in parts else {name: params}))

    def decayed(path: tuple[Any, ...], d: Array, p: Array) -> Array:
        named = [*above, *(getattr(entry, "key", None) for entry in path)]
        return d + decay * p if named[-1:] == ["kernel"] and ("blocks" in named or not in_blocks) else d

    return jax.tree_util.tree_map_with_path(decayed, direction, params)


def _paths(params: Params) -> list[list[str]]:
    """The names on the way to every leaf."""
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(params))
    return [[name for entry in path for name in str(getattr(entry, "key", "")).split("/")] for path in paths]


def is_lost(state: State) -> Array:
    """Whether any parameter is not finite."""
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state.parts)]
    return ~jnp.all(jnp.stack(finite)) if finite else jnp.asarray(False)


def learning_rate(training: Training, step: Leaf) -> Array:
    """The rate of update number `step` (0-based)."""
    done = jnp.asarray(step, jnp.float32) + 1
    warmup = jnp.asarray(training.warmup_steps, jnp.float32)
    rate = training.learning_rate * jnp.minimum(1.0, done / jnp.maximum(warmup, 1.0))
    if training.schedule == "rsqrt":
        return rate * jnp.minimum(1.0, jnp.sqrt(warmup / done))
    # The share of the way from the end of the warm-up to the last update.
    share = jnp.clip((done - warmup) / jnp.maximum(training.steps - warmup, 1.0), 0.0, 1.0)
    if training.schedule == "cosine":
        return rate * 0.5 * (1 + jnp.cos(jnp.pi * share))
    if training.schedule == "triangle":
        return rate * (1 - share)
    return rate


def split(predictor: Predictor, params: Params) -> dict[str, Params]:
    """Divides parameters into the parts that phases train separately, named by their paths.

    All are one part if phases name none. What phases freeze are parts of their own beside one of all the rest; and
    where a phase says what it trains, so is every top-level key, cut further where a name leads further.

    Raises:
      ValueError: if a phase names parameters that there are not.
    """
    named = {name for phase in predictor.phases for name in (*phase.trains, *phase.frozen)}
    if not named:
        return {_WHOLE: params}
    for name in sorted(named):
        _require(name, params)
    pieces = _pieces(params, named)
    if any(phase.trains for phase in predictor.phases):
        return pieces
    frozen = {path for path in pieces if any(_is_within(path, phase.frozen) for phase in predictor.phases)}
    rest = {path: piece for path, piece in pieces.items() if path not in frozen}
    return {_REST: join(rest), **{path: pieces[path] for path in frozen}}


def join(parts: Mapping[str, Params]) -> Params:
    """The inverse of `split`."""
    if set(parts) == {_WHOLE}:
        return parts[_WHOLE]
    joined = jax.tree.map(lambda leaf: leaf, parts.get(_REST, {}))  # dicts of its own, to put the others into
    for path, part in parts.items():
        if path != _REST:
            *above, last = path.split("/")
            node = joined
            for key in above:
                node = node.setdefault(key, {})
            node[last] = part
    return joined


def _pieces(params: Params, named: Collection[str], above: str = "") -> dict[str, Params]:
    """Parameters by path, no deeper than names lead."""
    pieces: dict[str, Params] = {}
    for key, piece in params.items():
        path = f"{above}{key}"
        is_cut = any(name.startswith(f"{path}/") for name in named)
        pieces |= _pieces(piece, named, f"{path}/") if is_cut else {path: piece}
    return pieces


def _require(name: str, params: Params) -> None:
    """Raises ValueError unless there are parameters of this name."""
    above = ""
    for key in name.split("/"):
        known = list(params) if isinstance(params, Mapping) else []
        names.require("A phase of training names parameters; one", f"{above}{key}", [f"{above}{k}" for k in known])
        params, above = params[key], f"{above}{key}/"


def _moves(phase: Phase, part: str) -> bool:
    return (not phase.trains or _is_within(part, phase.trains)) and not _is_within(part, phase.frozen)


def _is_within(path: str, names: Collection[str]) -> bool:
    """Whether a path is one of those named, or leads further than one."""
    return any(path == name or path.startswith(f"{name}/") for name in names)
