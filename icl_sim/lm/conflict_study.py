"""Memory against context as a study: a task of names and cities, and a model that is finetuned on them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from icl_sim.lm import conflict, study
from icl_sim.lm.datasets import FIXTURE
from icl_sim.types import Batch, Key, Predictor, Task, setting, static

# Evaluation sets: over steps of finetuning, over repetitions of a pair, and whole tables, flattened, of both models.
STEPS, EXPOSURES, ANSWERS = "steps", "exposures", "answers"
MODELS = ("base", "finetuned")
GROUPS = {"invented": slice(0, len(conflict.INVENTED)), "word_like": slice(len(conflict.INVENTED), None)}


@setting
class NamesAndCities(Task):
    """The pairs of `icl_sim.lm.conflict`, and the model that is asked. Nothing is drawn: its predictor `calculates`.

    Attributes:
      model: as in `icl_sim.lm.study.LabelledText`.
      seed: of the order of training; None means that of the study.
    """

    model: str = static("smollm2")
    seed: int | None = static(None)

    @property
    def calculated(self) -> bool:
        return True

    def sample(self, key: Key, batch_size: int) -> Batch:
        raise ValueError("Names and cities are no sequences to train networks on; their predictor is Memorising.")

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        return {name: ("summary", name) for name in ("memorised", "from_weights", "from_context")}

    def check(self) -> None:
        study.LabelledText(model=self.model, seed=self.seed).check()

    def load(self) -> None:
        study.LabelledText(model=self.model, data=FIXTURE, shots=0).load()


@setting
class Memorising(Predictor):
    """A model that is finetuned on the pairs: where its answers come from when the context contradicts them.

    Measures: "memorised", the share of names that are answered as trained without a context; "from_weights" and
    "from_context", the shares of contradicting contexts that are answered as trained, and as the context says; each of
    all names and of the invented and the word-like ones. Over steps they are `NAME/STEP`, and after
    the last one, over repetitions, `NAME/N`. The tables of `icl_sim.lm.conflict` are kept too, as `MODEL_memory/I` and
    `MODEL_context/I`.

    Attributes:
      steps, every, learning_rate, repetitions: as in `icl_sim.lm.conflict.trained`.
    """

    steps: int = static(200)
    every: int = static(50)
    learning_rate: float = static(0.01)
    repetitions: tuple[int, ...] = static((1, 1, 1, 1, 1, 1, 1, 1))

    def check(self) -> None:
        if self.steps < 1 or self.every < 1:
            raise ValueError(f"steps is {self.steps} and every is {self.every}; both must be at least 1.")
        if not 0 <= self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be at least 0 and finite.")
        if len(self.repetitions) != len(conflict.PAIRS) or min(self.repetitions) < 0 or not sum(self.repetitions):
            raise ValueError(
                f"repetitions are {self.repetitions}; they must be a number of at least 0 for each of the "
                f"{len(conflict.PAIRS)} pairs, not all 0."
            )

    def calculate(self, task: Any) -> Mapping[Any, float]:
        model = study.loaded(task.model)
        points = conflict.trained(
            model.architecture,
            model.params,
            model.tokenizer,
            repetitions=self.repetitions,
            steps=self.steps,
            every=self.every,
            learning_rate=self.learning_rate,
            seed=task.seed or 0,
            base=_base(task.model),
        )
        found: dict[Any, float] = dict(_shares(points[-1].table))
        found |= {f"base_{name}": value for name, value in _shares(points[0].table).items()}
        for point in points:
            found |= {(STEPS, f"{name}/{point.step}"): value for name, value in _shares(point.table).items()}
        for name, point in zip(MODELS, (points[0], points[-1]), strict=True):
            for what, values in (("memory", point.table.memory_PC), ("context", point.table.context_PQC)):
                found |= {(ANSWERS, f"{name}_{what}/{i}"): float(value) for i, value in enumerate(values.ravel())}
        last = points[-1]
        for name in ("memorised", "from_weights", "from_context"):
            value_P = np.asarray(getattr(last.table, name), float)
            for count in np.unique(last.seen_P):
                found[EXPOSURES, f"{name}/{count}"] = float(value_P[last.seen_P == count].mean())
        return found


@functools.lru_cache(1)
def _base(name: str) -> conflict.Table:
    """What the model says before finetuning, which is the same for all seeds."""
    model = study.loaded(name)
    return conflict.ask_all(model.architecture, model.params, model.tokenizer)


def _shares(table: conflict.Table) -> dict[str, float]:
    told = {}
    for name in ("memorised", "from_weights", "from_context"):
        each_P = np.asarray(getattr(table, name), float)
        told |= {name: float(each_P.mean())}
        told |= {f"{name}_{group}": float(each_P[part].mean()) for group, part in GROUPS.items()}
    return told
