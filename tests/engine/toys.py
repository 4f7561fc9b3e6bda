"""A task and predictors that compile in a moment, and members made of them."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.engine.group import Group
from icl_sim.engine.program import Program
from icl_sim.engine.settings import Evaluation, Member, Training
from icl_sim.engine.simulate import Chunk, simulate
from icl_sim.engine.structure import stack
from icl_sim.types import CONTEXT, QUERY, Batch, Leaf, Outputs, Phase, Predictor, Task, setting, static


@setting
class Corners(Task):
    """Points of the plane, two of context and a query, labelled by their greater coordinate; or their sum."""

    shift: Leaf = 0.0
    classes: int = static(2)

    def sample(self, key, batch_size):
        x_BSX = jax.random.normal(key, (batch_size, 3, 2)) + jnp.asarray(self.shift)[None, None, None]
        target_BS = jnp.argmax(x_BSX, axis=-1) if self.classes else jnp.sum(x_BSX, axis=-1)
        kinds_BS = jnp.tile(jnp.asarray([[CONTEXT, CONTEXT, QUERY]], jnp.int8), (batch_size, 1))
        return Batch(inputs=x_BSX, targets=target_BS, kinds=kinds_BS, num_classes=self.classes)

    def evaluation_sets(self):
        return {"as_trained": self, "far": self.replace(shift=self.shift + 1.0)}

    def summaries(self):
        return {"headline": ("far", "error")} if self.classes else {}

    def count(self, batch):
        if not self.classes:
            return {}
        return {"shown": jnp.sum(jax.nn.one_hot(batch.targets[:, -1], self.classes, dtype=jnp.int32), axis=0)}


@setting
class Line(Predictor):
    """Logits (or a value) linear in the query. The bias and the scale start as constants, the kernel at random."""

    spread: Leaf = 0.1

    def init(self, key, batch):
        outputs = max(batch.num_classes, 1)
        kernel = self.spread * jax.random.normal(key, (2, outputs))
        return {"kernel": kernel, "bias": jnp.zeros(outputs), "scale": jnp.ones(())}

    def apply(self, params, batch, *, record=False):
        values_BC = params["scale"] * (batch.inputs[:, -1] @ params["kernel"]) + params["bias"][None]
        return Outputs(values=values_BC)

    def report(self, outputs, batch):
        """First coordinates of queries right of the axis, whose mean tells the sequences; whether class 0 is said."""
        x_B = batch.inputs[:, -1, 0]
        first_B = jnp.argmax(outputs.values, axis=-1) == 0 if batch.num_classes else outputs.values[:, 0] > 0
        return {"right_of_axis": jnp.where(x_B > 0, x_B, jnp.nan), "says_first": first_B.astype(jnp.float32)}


@setting
class Parts(Predictor):
    """The sum of two lines, trained one after the other."""

    share: float = static(0.5)

    @property
    def phases(self):
        first = Phase(share=self.share, trains=("first",), scores=("first",))
        return (first, Phase(share=1 - self.share, trains=("second",)))

    def init(self, key, batch):
        first, second = jax.random.split(key)
        return {"first": Line().init(first, batch), "second": Line().init(second, batch)}

    def apply(self, params, batch, *, record=False):
        values = {name: Line().apply(params[name], batch).values for name in ("first", "second")}
        return Outputs(values=values["first"] + values["second"], record=values if record else {})


@setting
class Tower(Predictor):
    """The sum of three lines, two of them blocks: a network that compiles in a moment."""

    def init(self, key, batch):
        one, two, three = (Line().init(k, batch) for k in jax.random.split(key, 3))
        return {"blocks": {"0": one, "1": two}, "head": three}

    def apply(self, params, batch, *, record=False):
        lines = (params["blocks"]["0"], params["blocks"]["1"], params["head"])
        return Outputs(values=sum(Line().apply(line, batch).values for line in lines))


@setting
class Guess(Predictor):
    """The first class, always: an explicit learner."""

    def apply(self, params, batch, *, record=False):
        logits_C = jnp.where(jnp.arange(batch.num_classes) == 0, 1.0, 0.0)
        return Outputs(values=jnp.tile(logits_C[None], (len(batch.targets), 1)))


def member(predictor=None, task=None, *, seed=0, sequences=20, points=4, eval_task=None, **training) -> Member:
    task = task or Corners()
    return Member(
        predictor=predictor or Line(),
        task=task,
        eval_task=eval_task or task,
        training=Training(**{"steps": 60, "batch_size": 4, "learning_rate": 0.01} | training),
        evaluation=Evaluation(sequences=sequences, batch_size=10, points=points),
        seed=seed,
    )


def group(*members: Member) -> Group:
    return Group(tuple(range(len(members))), stack(members))


def run(group: Group, **kwargs) -> list[tuple[Chunk, object]]:
    """All chunks with their states, each copied when it was new."""
    return [(chunk, jax.tree.map(np.copy, chunk.state)) for chunk in simulate(group, **kwargs)]


def assert_same(a, b) -> None:
    """Equal bit for bit, NaN being itself."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), a, b)


def measures(chunks) -> dict[int, dict]:
    return {chunk.step: dict(chunk.measures) for chunk, _ in chunks if chunk.measures is not None}


def of_one(group: Group, number: int) -> Group:
    """The group of one of the members alone."""
    return dataclasses.replace(
        group, ids=(group.ids[number],), members=jax.tree.map(lambda leaf: leaf[number : number + 1], group.members)
    )


def train_for(program: Program, steps: int):
    """The state of a program's members, trained from the start in one phase."""
    return program.train(program.start(), 0, steps, Phase())
