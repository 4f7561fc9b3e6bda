"""What the studies of Chan et al. 2025 share: their predictors, their training-set sizes, and three scales to run at.

The part after the colon of `--config=FILE:WORDS` is a list of words, joined by commas:

    (none)      the paper's grid, seeds and steps
    reference   the paper's grid at 3 seeds and 10,000 steps, for a table within minutes to an hour
    quick       a thinned grid at 3 seeds and 2,000 steps, minutes on 2 cores
    gated       the in-weight and in-context predictors and their gated mixture, instead of the transformers
    all         both families side by side
    alone       the transformer without its baselines
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import icl_sim as icl
from icl_sim.predictors import Encoder, Gated, InWeightMLP, KernelCopy, Transformer
from icl_sim.tasks import ClassMixture
from icl_sim.types import Predictor

S0 = "S0 of Chan et al. 2025: one context pair, 5 + 5 classes, p_high .9, p_relevant .9, input noise .2."
TASK, TRAINING = ClassMixture(), icl.Training()
N = "task.num_sequences"
SIZES = tuple(2**k for k in range(6, 21, 2))

# "Transformer" is trained at the study's own p_relevant; the paper's baselines are the same network trained without
# irrelevant, or without relevant, contexts.
TRANSFORMERS = {"transformer": Transformer(), "ic_baseline": Transformer(), "iw_baseline": Transformer()}
BASELINES = {"ic_baseline": {"p_relevant": 1.0}, "iw_baseline": {"p_relevant": 0.0}}
GATED = {
    "gated": Gated(),
    "gated_two_phase": Gated(protocol="two_phase"),
    "in_context": KernelCopy(),
    "in_weight": InWeightMLP(),
}
FAMILIES = {
    "transformer": TRANSFORMERS,
    "alone": {"transformer": Transformer()},
    "gated": GATED,
    "all": {**TRANSFORMERS, **GATED},
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of a grid to run, and how long; None keeps what the paper does."""

    seeds: int | None = None
    steps: int | None = None
    thinned: bool = False
    evaluation: icl.Evaluation = icl.Evaluation(sequences=1000, points=25)


SCALES = {
    "paper": Scale(),
    "reference": Scale(seeds=3, steps=10_000, evaluation=icl.Evaluation(sequences=1000, points=12)),
    "quick": Scale(seeds=3, steps=2_000, thinned=True, evaluation=icl.Evaluation(sequences=400, points=8)),
}


def words(arg: str | None) -> tuple[str, str]:
    """The scale and the family that `WORDS` asks for.

    Raises:
      ValueError: for a word that is neither, naming the nearest.
    """
    scale, family = "paper", "transformer"
    for word in filter(None, (arg or "").split(",")):
        if word in SCALES:
            scale = word
        elif word in FAMILIES:
            family = word
        else:
            known = [*SCALES, *FAMILIES]
            near = difflib.get_close_matches(word, known, n=1, cutoff=0)[0]
            raise ValueError(f"{word!r} is no variant; allowed: {', '.join(known)}. Did you mean {near!r}?")
    return scale, family


def config(
    arg: str | None,
    *,
    name: str,
    description: str,
    axes: Mapping[str, Sequence[Any]],
    task: ClassMixture = TASK,
    steps: int = 50_000,
    gated_steps: int | None = None,
    seeds: int = 5,
    sizes: Sequence[float] = SIZES,
    quick: Mapping[str, Sequence[Any]] | None = None,
    baselines: bool = True,
    claims: Sequence[Any] = (),
    training: icl.Training = TRAINING,
    encoder: Encoder | None = None,
):
    """The config of one sweep of the paper.

    Args:
      arg: the words after the colon.
      axes: swept name -> the paper's values; N and the seeds are added.
      steps, gated_steps, seeds, sizes: of the paper; `gated_steps` for the gated family, if they differ.
      quick: axes that the quick scale replaces.
      encoder: for images: turns each into a vector, trained with the rest.
      baselines: whether the transformer family holds the two baselines (not where p_relevant is swept).
    """
    scale_name, family = words(arg)
    scale = SCALES[scale_name]
    predictors = {k: p for k, p in FAMILIES[family].items() if baselines or k not in BASELINES}
    if encoder is not None:
        predictors = {k: _with_encoder(p, encoder) for k, p in predictors.items()}
    if scale.thinned:
        axes, sizes = {**axes, **(quick or {})}, tuple(sizes)[::2]
    if family == "gated" and gated_steps is not None:
        steps = gated_steps
    steps, seeds = scale.steps or steps, scale.seeds or seeds
    study = icl.Study(
        name=f"{name} ({scale_name}, {family})",
        description=description,
        task=task,
        predictors=predictors,
        trained_on={k: change for k, change in BASELINES.items() if k in predictors},
        training=dataclasses.replace(training, steps=steps),
        evaluation=scale.evaluation,
        sweep=icl.product({**axes, N: tuple(map(float, sizes)), "seed": tuple(range(seeds))}),
        headline=("icl_error_low", "iwl_error_low"),
        claims=claims,
    )
    return icl.config_of(study)


def _with_encoder(predictor: Predictor, encoder: Encoder) -> Predictor:
    if isinstance(predictor, Gated):
        parts = {name: _with_encoder(getattr(predictor, name), encoder) for name in ("in_weight", "in_context")}
        return dataclasses.replace(predictor, encoder=encoder, **parts)
    return dataclasses.replace(predictor, encoder=encoder)
