"""A study: a task, the predictors that answer it, how they are trained and evaluated, and what is swept."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icl_sim.engine.settings import Evaluation, Training
from icl_sim.metrics import Distance
from icl_sim.names import suggestion
from icl_sim.studies import fields
from icl_sim.studies.claims import Claim
from icl_sim.studies.figures import Heat, Lines
from icl_sim.studies.sweep import Point, Sweep, Value
from icl_sim.types import Comparison, Predictor, Task

# What a swept name can begin with; those that hold settings by name.
ROOTS = ("task", "predictors", "references", "comparisons", "training", "evaluation", "seed")
_NAMED = {"predictors": Predictor, "references": Predictor, "comparisons": Comparison}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MAX_HEADLINE = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that determines a run, and what to say about it.

    Attributes:
      task: what every predictor is trained and evaluated on.
      predictors: by the names that results and figures use.
      training, evaluation: the same for all predictors.
      trained_on: predictor -> changes of the task for its training alone; it is evaluated on the study's own
        task. The baselines of Chan et al. 2025 are
        `{"iw_baseline": {"p_relevant": 0.0}, "ic_baseline": {"p_relevant": 1.0}}`.
      references: what every predictor is compared with, by the names that measures end in, as in "spd_ridge". They
        are not trained; one that fits itself in `init` does so on the task that is evaluated.
      comparisons: how (`icl_sim.metrics.COMPARISONS`); by default by the distance of answers.
      sweep: the points to visit. A name reaches any field: `"task.inputs.noise"`, `"training.steps"`,
        `"predictors.transformer.width"` (which leaves other predictors alone), `"seed"`.
      seed: of the data and of the predictors, where `seed` is not swept.
      name, description: for people.
      claims, figures: what to check and to draw afterwards (`icl_sim.studies.claims`,
        `icl_sim.studies.figures`).
      headline: the measures that live progress shows, at most 3 of the task's summaries; empty means the
        first ones.
    """

    task: Task
    predictors: Mapping[str, Predictor]
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    trained_on: Mapping[str, Mapping[str, Value]] = dataclasses.field(default_factory=dict)
    references: Mapping[str, Predictor] = dataclasses.field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)
    sweep: Sweep = Sweep()
    seed: int = 0
    name: str = "study"
    description: str = ""
    claims: Sequence[Any] = ()
    figures: Sequence[Any] = ()
    headline: Sequence[str] = ()

    def __post_init__(self):
        for name, kind in (
            ("task", Task),
            ("training", Training),
            ("evaluation", Evaluation),
            ("sweep", Sweep),
        ):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"The study's {name} is {getattr(self, name)!r}; it must be a {kind.__name__}.")
        if not len(self.sweep):
            raise ValueError("The study's sweep has no points; Sweep() is the one point that sets nothing.")
        if not isinstance(self.predictors, Mapping) or not self.predictors:
            raise ValueError(
                f"The study's predictors are {self.predictors!r}; give at least one, as in {{'name': Transformer()}}."
            )
        if self.references and not self.comparisons:
            object.__setattr__(self, "comparisons", {"distance": Distance()})
        if self.comparisons and not self.references:
            raise ValueError(
                f"The study's comparisons are {', '.join(self.comparisons)}, and it has no references to compare with; "
                "give at least one, as in references={'ols': LeastSquares()}, also for what does not look at it: "
                "measures end in its name."
            )
        for name, kind in _NAMED.items():
            self._check_named(name, kind)
        whole = isinstance(self.seed, int | float | np.integer) and not isinstance(self.seed, bool)
        if not whole or not 0 <= self.seed < 2**32 or self.seed != int(self.seed):
            raise ValueError(f"seed is {self.seed!r}; it must be a whole number from 0 to 2^32 - 1.")
        object.__setattr__(self, "seed", int(self.seed))
        for name in ("claims", "figures", "headline"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise ValueError(f"The study's {name} are {given!r}; they must be a list.")
        for name, kinds in (("claims", (Claim,)), ("figures", (Lines, Heat)), ("headline", (str,))):
            for one in getattr(self, name):
                if not isinstance(one, kinds):
                    allowed = " or ".join(kind.__name__ for kind in kinds)
                    raise ValueError(f"The study's {name} hold {one!r}; each must be a {allowed}.")
        for root in _NAMED:
            parts = {name: fields.normalized(part, f"{root}.{name}") for name, part in getattr(self, root).items()}
            object.__setattr__(self, root, parts)
        for name in ("task", "training", "evaluation"):
            object.__setattr__(self, name, fields.normalized(getattr(self, name), name))
        for name in ("claims", "figures", "headline"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_headline()
        self._check_trained_on()
        for name, value in dict.fromkeys((n, v) for point in self.sweep for n, v in point.items()):
            self._changed({name: value})

    def at(self, point: Point) -> Study:
        """The study at one point: names set, nothing swept."""
        return self._changed(point)

    def value(self, name: str) -> Any:
        """What the study holds at a dotted name."""
        root, _, rest = name.partition(".")
        if root in _NAMED:
            part, _, rest = rest.partition(".")
            return fields.read(getattr(self, root)[part], rest)
        return fields.read(getattr(self, root), rest) if rest else getattr(self, root)

    def training_task(self, predictor: str) -> Task:
        """What a predictor is trained on: the task with the changes that `trained_on` makes for it."""
        task = self.task
        for name, value in self.trained_on.get(predictor, {}).items():
            task = fields.replaced(task, name, value, "task")
        return task

    def _changed(self, point: Point) -> Study:
        parts: dict[str, Any] = {root: getattr(self, root) for root in ROOTS}
        parts |= {root: dict(parts[root]) for root in _NAMED}
        for name, value in point.items():
            root, _, rest = name.partition(".")
            if root == "seed" and not rest:
                parts["seed"] = value
            elif root in _NAMED and "." in rest:
                part, _, rest = rest.partition(".")
                if part not in parts[root]:
                    raise ValueError(f"{name} names no part of the study's {root}; {suggestion(part, parts[root])}")
                parts[root][part] = fields.replaced(parts[root][part], rest, value, f"{root}.{part}")
            elif root in ("task", "training", "evaluation") and rest:
                parts[root] = fields.replaced(parts[root], rest, value, root)
            else:
                named = (f"{root}.NAME.FIELD" for root in _NAMED)
                roots = ("task.FIELD", "training.FIELD", "evaluation.FIELD", *named, "seed")
                raise ValueError(f"{name!r} is no name that a study can sweep; {suggestion(name, roots)}")
        return dataclasses.replace(self, **parts, sweep=Sweep())

    def _check_named(self, root: str, kind: type) -> None:
        if not isinstance(parts := getattr(self, root), Mapping):
            raise ValueError(f"The study's {root} are {parts!r}; they must be settings by name.")
        for name, part in parts.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(
                    f"The {root[:-1]} name {name!r} must be lower-case letters, digits and underscores."
                )
            if not isinstance(part, kind) or not dataclasses.is_dataclass(part):
                raise ValueError(
                    f"The {root[:-1]} {name!r} is {part!r}; it must be a {kind.__name__} decorated with setting."
                )

    @property
    def shown(self) -> tuple[str, ...]:
        """The measures that live progress shows."""
        return tuple(self.headline) or tuple(self.task.summaries())[:_MAX_HEADLINE]

    def _check_headline(self) -> None:
        summaries = self.task.summaries()
        for name in self.headline:
            if name not in summaries:
                raise ValueError(
                    f"The headline measure {name!r} is no summary of the task; " + suggestion(name, summaries)
                )
        if len(self.headline) > _MAX_HEADLINE:
            raise ValueError(
                f"The study names {len(self.headline)} headline measures; at most {_MAX_HEADLINE} fit on a line."
            )

    def _check_trained_on(self) -> None:
        if not isinstance(self.trained_on, Mapping) or not all(
            isinstance(changes, Mapping) for changes in self.trained_on.values()
        ):
            raise ValueError(
                f"The study's trained_on is {self.trained_on!r}; it must map predictors to changes of the task, as in "
                '{"baseline": {"p_relevant": 0.0}}.'
            )
        for name in self.trained_on:
            if name not in self.predictors:
                raise ValueError(f"trained_on names the predictor {name!r}; {suggestion(name, self.predictors)}")
            self.training_task(name)
