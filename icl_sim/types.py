"""The records and protocols that everything in icl_sim is made of.

Axis legend. In model and sampling code the name of an array ends in its axes, `x_BTD`:

    B  sequences in a batch          T  tokens of the network (2L+1)
    L  context pairs                 S  slots of a sequence, L+1, the last is the query
    C  classes (labels)              X  coordinates of one input (may be several axes)
    D  width of the network          H  heads
    F  width of an MLP               M  members of an ensemble
    N  rows of a training set        P  slots that a predictor answers, the last P of S

A *setting* (task, predictor, training options) is a frozen dataclass that is also a pytree. Its leaves are what
a sweep can vary inside one compiled program; its static fields are structure, and each distinct structure is a
program of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self, TypeVar, dataclass_transform

import jax

Array = jax.Array
Key = jax.Array
Params = Any
Leaf = float | int | bool | Array

_T = TypeVar("_T")

# Kinds of slots.
CONTEXT, SUPPORT, QUERY = 0, 1, 2


def static(default: Any = dataclasses.MISSING, *, unbounded: bool = False, **kwargs: Any) -> Any:
    """A dataclass field that is structure: it must be hashable, and each value compiles a program of its own."""
    return dataclasses.field(default=default, metadata={"static": True, "unbounded": unbounded}, **kwargs)


def unbounded(default: Any) -> Any:
    """A leaf that may be inf although it is not by default; a study refuses inf in all others."""
    return dataclasses.field(default=default, metadata={"unbounded": True})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def setting(cls: type[_T]) -> type[_T]:
    """Makes a class a setting: a frozen, keyword-only dataclass registered as a pytree.

    Do not validate in `__post_init__`: jax rebuilds settings around tracers. Validate in `check`.
    """
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    fields = dataclasses.fields(made)
    leaves = [field.name for field in fields if not field.metadata.get("static")]
    structure = [field.name for field in fields if field.metadata.get("static")]

    def parts(whole: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(whole, name) for name in leaves], tuple(getattr(whole, name) for name in structure)

    def named_parts(whole: Any) -> tuple[list[Any], tuple[Any, ...]]:
        values, rest = parts(whole)
        return [(jax.tree_util.GetAttrKey(n), value) for n, value in zip(leaves, values, strict=True)], rest

    def whole(rest: tuple[Any, ...], values: Any) -> Any:
        return made(**dict(zip(leaves, values, strict=True)), **dict(zip(structure, rest, strict=True)))

    # Not `register_dataclass`: up to jax 0.10.2 at least it takes two classes of the same fields for one structure, and
    # once in a hundred times, where their hashes meet in a cache, one of them runs what was compiled for the other.
    jax.tree_util.register_pytree_with_keys(made, named_parts, whole, parts)
    return made


@setting
class Batch:
    """B sequences of L context pairs and a query.

    Attributes:
      inputs: `[B, L+1, ...]`, the last is the query.
      targets: `[B, L+1]`, class ids (int32) or, when `num_classes` is 0, real values. The target of the last slot is
        what a predictor is scored on and must not look at.
      kinds: `[B, L+1]` int8: `CONTEXT`, `SUPPORT` (a context slot that holds the answer) or `QUERY`.
      latents: what the sampler knows and no predictor may use, such as the true classes or the label's law; a row per
        sequence, `[B, ...]`, or numbers. An oracle may use them: that is what makes it one.
      weights: `[B, L+1]`, how much each slot counts in the loss and in means of errors, where every slot is a query
        that the slots before it answer; None where only the last one is.
      first_position: `[B]` int32, where in 0..max_offset the first token of each sequence stands; None for 0.
      num_classes: C, or 0 for regression.
      max_offset: how far from 0 a first token may stand.
      scale: the squared error that normalised errors are divided by, usually that of answering 0.
      pool_law: the law of the rows of the task's pool (`icl_sim.pools`), which an oracle may know; None without one.
    """

    inputs: Array
    targets: Array
    kinds: Array
    latents: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    weights: Array | None = None
    first_position: Array | None = None
    num_classes: int = static(0)
    max_offset: int = static(0)
    scale: float = static(1.0)
    pool_law: str | None = static(None)


@setting
class Outputs:
    """What a predictor says about the query, or about every slot given those before it.

    Attributes:
      values: `[B, C]` logits or log-probabilities over the classes of the query, `[B, P, C]` where the batch has
        `weights`; what reads them normalises them by `log_softmax`. For regression `[B, P]` real predictions of the
        last P slots: P = 1 answers the query alone, P = L+1 every slot, each from the pairs before it.
      record: named intermediates (attention maps, gate values), empty unless asked for.
    """

    values: Array
    record: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training that trains some of the parameters on some of the outputs.

    Attributes:
      share: the share of all training steps, in (0, 1].
      trains: the parameters that move, by their top-level key or a path from there, as "blocks/1"; empty means all.
      frozen: of those, the ones that do not move after all, named alike.
      scores: names of records of `apply(..., record=True)` whose losses are summed: `[B, C]` log-probabilities, taken
        as they are, or for regression losses themselves, `[B]`; empty means the loss of the prediction itself.
      on_evaluated: whether it sees the first evaluation set, where training is on a task of its own.
    """

    share: float = 1.0
    trains: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    on_evaluated: bool = False


class Task:
    """Makes sequences. A task of your own needs `sample`; the rest has defaults.

    Subclasses are decorated with `setting`. Where a field `seed: Leaf | None = None` is left at None, a study fills in
    its own.
    """

    @property
    def calculated(self) -> bool:
        """Whether it makes no sequences, and predictors `calculate` their measures on it."""
        return False

    def sample(self, key: Key, batch_size: int) -> Batch:
        """Draws a batch. Pure: the same key gives the same batch, inside or outside of jit."""
        raise NotImplementedError(f"{type(self).__name__} must define sample(key, batch_size) -> Batch.")

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed. Called on concrete values."""

    def doubts(self, steps: int) -> tuple[str, ...]:
        """What is possible and yet hardly meant where training takes so many steps, in sentences."""
        del steps
        return ()

    def load(self) -> Any:
        """Host arrays that all members share (images), as a pytree of numpy arrays; not swept, not stacked."""
        return None

    def prepare(self, shared: Any = None) -> Task:
        """Does, once per dispatch, what does not change from step to step; `shared` is what `load` returned."""
        del shared
        return self

    def at(self, step: Array) -> Task:
        """The task as training sees it in update number `step` (0-based, traced): a curriculum changes its leaves."""
        del step
        return self

    def evaluation_sets(self) -> Mapping[str, Task]:
        """Named variations to evaluate on; those of one structure (static fields) share a compiled loop."""
        return {"default": self}

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of metrics (`icl_sim.metrics.OF_LABELS`) to take besides those of every task of classes."""
        return ()

    def conflicts(self) -> tuple[str, ...]:
        """The evaluation sets on which context and memory give different answers; the classes must be latents."""
        return ()

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        """Headline numbers: name -> (evaluation set, metric)."""
        return {}

    def count(self, batch: Batch) -> Mapping[str, Array]:
        """Counters of what training has shown, summed over all training batches; int32 arrays of fixed shape."""
        del batch
        return {}

    def positions(self) -> Mapping[int, Leaf]:
        """Where every slot is a query, the slots that rows `NAME/k` are of: k -> slot; all, each as k, if empty."""
        return {}

    def groups(self) -> Mapping[str, tuple[int, int]]:
        """Groups of inputs or classes that are alike: name -> (first, one past the last)."""
        return {}

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


class Predictor:
    """Answers the query. A predictor of your own needs `apply`, and `init` if it has something to train.

    It is trained by gradients, unless it says that it is `online`: then it learns from every batch in its own way.
    """

    @property
    def online(self) -> bool:
        """Whether it learns by `observe` instead of by gradients. Members that do run together on every device."""
        return False

    @property
    def phases(self) -> tuple[Phase, ...]:
        """How training is divided; by default one phase trains everything. Without any, `init` is all its training."""
        return (Phase(),)

    def init(self, key: Key, batch: Batch) -> Params:
        """Parameters for batches of these shapes: a nested dict of float32 arrays, empty if nothing is trained."""
        del key, batch
        return {}

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        """Predicts the query of each sequence; with `record`, returns intermediates too. Never reads its target."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(params, batch) -> Outputs.")

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed. Called on concrete values."""

    def calculate(self, task: Any) -> Mapping[Any, Any]:
        """Measures on a task that is `calculated`, on the host; fields may be columns of many members, `[M]`.

        By the name of each, which stands among the summaries, or by (evaluation set, name)."""
        raise ValueError(f"{type(self).__name__} learns from sequences, and {type(task).__name__} makes none.")

    def observe(self, params: Params, batch: Batch) -> tuple[Params, Array]:
        """What an online predictor makes of a batch: its parameters afterwards, and the losses on the way, `[B]`."""
        raise NotImplementedError(f"{type(self).__name__} is online and must define observe(params, batch).")

    def account(self, params: Params) -> Mapping[str, Array]:
        """What its parameters tell without a batch: a number each, or one per input `[X]`."""
        del params
        return {}

    def report(self, outputs: Outputs, batch: Batch) -> Mapping[str, Array]:
        """Measures of its own, each `[B]` (NaN where it does not apply), from outputs with their record."""
        del outputs, batch
        return {}


@dataclasses.dataclass(frozen=True)
class Answerer:
    """A predictor with its parameters: calling it on a batch gives its `Outputs.values`."""

    predictor: Predictor
    params: Params

    def __call__(self, batch: Batch) -> Array:
        return self.predictor.apply(self.params, batch).values


class Comparison:
    """How far apart two predictors are on the same sequences. One of your own needs `compare`.

    Subclasses are decorated with `setting`; a study names them in `comparisons`, and what to compare with in
    `references`. One that is dear may be for some of these only, by a static field of this name.
    """

    @property
    def references(self) -> tuple[str, ...]:
        """Names of the references that it is for; empty for all."""
        return ()

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        """Named measures, each `[B]` or per slot `[B, P]`; NaN where they do not apply."""
        raise NotImplementedError(f"{type(self).__name__} must define compare(a, b, batch).")

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""
