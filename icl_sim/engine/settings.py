"""What to simulate: how a predictor is trained and evaluated, and the member that ties it to a task and a seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from icl_sim import names
from icl_sim.engine.structure import structure
from icl_sim.keys import require_seed
from icl_sim.types import Comparison, Leaf, Phase, Predictor, Task, setting, static

SCHEDULES = ("constant", "rsqrt", "cosine", "triangle")
MAX_COUNT = 2**31 - 1  # steps travel as int32
MAX_EVALUATED = 10_000_000


@setting
class Training:
    """Adam on the loss of the query, or of every slot where each is one.

    Attributes:
      steps: number of updates.
      batch_size: B, sequences per update.
      microbatches: how many equal parts of a batch the gradient is the mean of, computed one after the other: the same
        numbers to rounding, with less memory and, where a part fits into the cache of a CPU, in less time.
      learning_rate: of Adam; the peak value where the schedule moves it.
      adam_epsilon: of Adam, added to the root of the second moment. Where the loss has fallen to the resolution of
        float32, it decides how far Adam still moves (docs/choices.md).
      adam_b1, adam_b2: of Adam, the decay of its moments.
      clip_norm: gradients longer than that (all of a part's as one vector) are shortened to it; None for never.
      weight_decay: pulls parameters named "kernel" to 0, by `rate * weight_decay` of them per update and apart from
        Adam (Loshchilov and Hutter 2019); in a network of blocks, those of its blocks alone. None for none.
      l2: adds `l2` times all parameters that train to their gradient, before it is clipped and before Adam: that of the
        penalty l2/2 |w|^2. None for none.
      schedule: `"constant"`; `"rsqrt"`: proportional to step^-1/2 after the warm-up; `"cosine"`: half a cosine to 0 at
        the last step; or `"triangle"`: straight to 0 there.
      warmup_steps: linear warm-up from 0, in every schedule; 0 for none.
    """

    steps: int = static(10_000)
    batch_size: int = static(32)
    microbatches: int = static(1)
    learning_rate: Leaf = 3e-4
    adam_epsilon: Leaf = 1e-8
    adam_b1: float = static(0.9)  # structure, since 1 - b2 of a traced float32 would be off by 6e-6
    adam_b2: float = static(0.999)
    clip_norm: Leaf | None = None
    weight_decay: Leaf | None = None
    l2: Leaf | None = None
    schedule: str = static("constant")
    warmup_steps: Leaf = 0

    def check(self) -> None:
        for name, least in (("steps", 0), ("batch_size", 1)):
            if not least <= (value := getattr(self, name)) <= MAX_COUNT:
                raise ValueError(f"training.{name} is {value}; it must be from {least} to {MAX_COUNT:,}.")
        if self.microbatches < 1 or self.batch_size % self.microbatches:
            raise ValueError(
                f"training.microbatches is {self.microbatches}; it must be at least 1 and divide training.batch_size, "
                f"{self.batch_size}."
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"training.learning_rate is {self.learning_rate}; it must be above 0 and finite.")
        if not 0 <= self.adam_epsilon < math.inf:
            raise ValueError(f"training.adam_epsilon is {self.adam_epsilon}; it must be at least 0 and finite.")
        for name in ("adam_b1", "adam_b2"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"training.{name} is {value}; it must be at least 0 and below 1.")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"training.clip_norm is {self.clip_norm}; it must be positive, or None.")
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"training.weight_decay is {self.weight_decay}; it must be at least 0, finite, or None.")
        if self.l2 is not None and not 0 <= self.l2 < math.inf:
            raise ValueError(f"training.l2 is {self.l2}; it must be at least 0, finite, or None.")
        names.require("training.schedule", self.schedule, SCHEDULES)
        least = 1 if self.schedule == "rsqrt" else 0
        if not self.warmup_steps >= least:
            raise ValueError(
                f"training.warmup_steps is {self.warmup_steps}; with schedule {self.schedule!r} it must be at least "
                f"{least}."
            )

    def doubts(self) -> tuple[str, ...]:
        """What is possible and yet hardly meant, in sentences."""
        if not 0 < self.steps < self.warmup_steps:
            return ()
        return (
            f"training.warmup_steps is {self.warmup_steps:,} and training.steps {self.steps:,}: the learning rate "
            "never reaches training.learning_rate.",
        )


@setting
class Evaluation:
    """When and on how much to evaluate. The evaluation sets themselves belong to the task.

    Attributes:
      sequences: sequences per evaluation set; the same ones at every step, for every member of the same seed.
      batch_size: sequences per forward pass.
      points: how many evaluation steps, spaced evenly in log(step), beside step 0 and always including the last.
      bootstrap: resamples of the sequences for 90 % bands of every slot's error; 0 for none.
    """

    sequences: int = static(500)
    batch_size: int = static(100)
    points: int = static(12)
    bootstrap: int = static(0)

    def check(self) -> None:
        if not 0 <= self.bootstrap <= MAX_EVALUATED:
            raise ValueError(f"evaluation.bootstrap is {self.bootstrap}; it must be from 0 to {MAX_EVALUATED:,}.")
        for name in ("sequences", "batch_size", "points"):
            if not 1 <= (value := getattr(self, name)) <= MAX_EVALUATED:
                raise ValueError(f"evaluation.{name} is {value}; it must be from 1 to {MAX_EVALUATED:,}.")
        if self.sequences % min(self.batch_size, self.sequences):
            raise ValueError(
                f"evaluation.sequences is {self.sequences}; it must be a multiple of evaluation.batch_size, "
                f"{self.batch_size}."
            )

    def steps(self, last: int) -> tuple[int, ...]:
        """The evaluation steps of a run of `last` updates: 0 and up to `points` log-spaced ones, ending at `last`."""
        if last == 0:
            return (0,)
        spaced = np.unique(np.rint(np.geomspace(1, last, self.points)).astype(int)) if self.points > 1 else [last]
        return (0, *map(int, spaced))


@setting
class Member:
    """One thing to simulate: a predictor, what it is trained and evaluated on, and how.

    Attributes:
      task: what it is trained on.
      eval_task: what it is evaluated on; its evaluation sets, and `pretraining`: the training task itself.
      references: what it is compared with on every evaluation set, by name.
      comparisons: how.
      seed: of the initial parameters, of the order of the data, and of the evaluation sets.
    """

    predictor: Predictor
    task: Task
    eval_task: Task
    training: Training
    evaluation: Evaluation
    references: Mapping[str, Predictor] = dataclasses.field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)
    seed: Leaf = 0

    def phase_ends(self) -> list[tuple[Phase, int]]:
        """The phases of training, each with the number of updates after which it ends."""
        share, ends = 0.0, []
        for phase in self.predictor.phases:
            share += phase.share
            ends.append((phase, round(share * self.training.steps)))
        return [*ends[:-1], *((phase, self.training.steps) for phase, _ in ends[-1:])]

    def check(self) -> None:
        """Raises ValueError if any part is impossible."""
        for part in (self.task, self.eval_task, self.predictor, self.training, self.evaluation):
            part.check()
        for what, parts in (("reference", self.references), ("comparison", self.comparisons)):
            for name, part in parts.items():
                try:
                    part.check()
                except ValueError as error:
                    raise ValueError(f"{error} (The {what} {name!r}.)") from error
        for comparison in self.comparisons.values():
            for name in comparison.references:
                names.require("A reference of a comparison", name, self.references)
        needed = "calculate" if self.task.calculated else "apply"
        for predictor in (self.predictor, *self.references.values()):
            if getattr(type(predictor), needed) is getattr(Predictor, needed):
                what = "makes no sequences" if self.task.calculated else "makes sequences"
                raise ValueError(
                    f"{type(self.task).__name__} {what}, and {type(predictor).__name__} defines no {needed}; bounds "
                    "go with Conditions, and what answers sequences with every other task."
                )
        if structure(self.task) != structure(self.eval_task) and _shapes(self.task) != _shapes(self.eval_task):
            raise ValueError(
                "A predictor is trained and evaluated on sequences of different shapes (lengths, sizes, kinds of "
                "inputs); only their laws may differ."
            )
        if self.training.steps and 0 in np.diff([0, *(end for _, end in self.phase_ends())]):
            raise ValueError(
                f"training.steps is {self.training.steps}, too few for the {len(self.predictor.phases)} phases of the "
                "predictor: each needs at least one step, or the next would build on untrained parts."
            )
        require_seed("seed", self.seed)

    def doubts(self) -> tuple[str, ...]:
        """What is possible and yet hardly meant, in sentences."""
        return (*self.training.doubts(), *self.task.doubts(self.training.steps))


def _shapes(task: Task) -> Any:
    """Shapes and dtypes of what a predictor sees of a task's sequences, and what it has to answer."""
    batch = jax.eval_shape(lambda: task.sample(jax.random.key(0), 2))
    seen = jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), (batch.inputs, batch.targets, batch.weights))
    return seen, batch.num_classes
