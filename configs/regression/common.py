"""What the regression studies share: networks and optimisers of the papers, and scales to run at.

The part after the colon of `--config=FILE:WORDS` names a scale, and where a study has several parts one of them:

    paper       the paper's dimensions, network and steps: days on a CPU; what runs without any word
    reference   scaled down until it takes an hour or two on 2 cores; what docs/reference shows
    quick       minutes on 2 cores: shapes, no claims
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import icl_sim as icl
from icl_sim.predictors import Transformer
from icl_sim.studies.claims import Value

# From flax's default start it learns in 2,000 steps what it takes many more for from GPT-2's (docs/regression.md).
REFERENCE = Transformer(depth=3, width=64, heads=2, tokens="separate", position="learned")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of a study to run: its task, its network and its training."""

    dim: int
    pairs: int
    network: Transformer
    training: icl.Training
    seeds: int = 1
    evaluation: icl.Evaluation = icl.Evaluation(sequences=1280, batch_size=128, points=8, bootstrap=1000)
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def fast(steps: int, batch_size: int = 64, learning_rate: float = 1e-3) -> icl.Training:
    """Adam with a warm-up of a twentieth and a cosine: what reaches the papers' shapes in few steps."""
    return icl.Training(
        steps=steps,
        batch_size=batch_size,
        microbatches=4,
        learning_rate=learning_rate,
        schedule="cosine",
        warmup_steps=max(1, steps // 20),
    )


def value(
    metric: str, predictor: str = "transformer", eval_set: str = "default", where: Mapping[str, Any] | None = None
) -> Value:
    return Value(predictor=predictor, metric=metric, eval_set=eval_set, where=where or {})
