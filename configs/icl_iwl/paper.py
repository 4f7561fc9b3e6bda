"""What the studies of Chan et al. 2025 share: their predictors, their training-set sizes, and three scales to run at.

The part after the colon of `--config=FILE:WORDS` is a list of words joined by commas, at most one of each kind.

How much of it:

    paper       the paper's grid, seeds and steps; what runs without any word
    reference   at N = 2^6, 2^8, 2^10, 2^12, 2^16 and 2^20, as far as the paper has them, 3 seeds, 10,000 steps; the
                other axes in full; minutes to an hour on 2 cores, the two sweeps with long contexts with `alone`
    quick       at N = 2^6, 2^8, 2^10, 2^14 and 2^18, as far as the paper has them, 3 seeds, 2,000 steps; a long axis
                thinned; minutes on 2 cores

Of whom:

    transformer   the transformer and its two baselines; what runs without any word
    alone         the transformer without its baselines
    baselines     the baselines without the transformer
    gated         the in-weight predictor g, the in-context predictor h and their gated mixture, on the grid that the
                  paper has for them; its steps are shared, so that two-phase training spends half of them on g and h
                  and half on the gate
    all           both side by side, on the grid of the transformers
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import icl_sim as icl
from configs.icl_iwl.published import SIZES, N
from configs.words import words
from icl_sim.predictors import Encoder, Gated, InWeightMLP, KernelCopy, Transformer
from icl_sim.tasks import ClassMixture
from icl_sim.types import Predictor

S0 = "S0 of Chan et al. 2025: one context pair, 5 + 5 classes, p_high .9, p_relevant .9, input noise .2."
TASK, TRAINING = ClassMixture(), icl.Training()

# "Transformer" is trained at the study's own p_relevant; the paper's baselines are the same network trained without
# irrelevant, or without relevant, contexts.
TRANSFORMERS = {"transformer": Transformer(), "ic_baseline": Transformer(), "iw_baseline": Transformer()}
BASELINES = {"ic_baseline": {"p_relevant": 1.0}, "iw_baseline": {"p_relevant": 0.0}}
# The paper's h has a temperature that cannot fall to 1; "in_context_sharp" is h with one that can.
H = KernelCopy(double_exponential=True)
GATED = {
    "gated": Gated(in_context=H),
    "gated_two_phase": Gated(in_context=H, protocol="two_phase"),
    "in_context": H,
    "in_context_sharp": KernelCopy(),
    "in_weight": InWeightMLP(),
}
FAMILIES = {
    "transformer": TRANSFORMERS,
    "alone": {"transformer": Transformer()},
    "baselines": {name: TRANSFORMERS[name] for name in BASELINES},
    "gated": GATED,
    "all": {**TRANSFORMERS, **GATED},
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of a grid to run, and how long; None keeps what the paper does."""

    seeds: int | None = None
    steps: int | None = None
    sizes: Collection[float] | None = None
    thinned: bool = False
    evaluation: icl.Evaluation = icl.Evaluation(sequences=1000, points=25)


def _powers(*exponents: int) -> tuple[int, ...]:
    return tuple(2**exponent for exponent in exponents)


SCALES = {
    "paper": Scale(),
    "reference": Scale(
        seeds=3, steps=10_000, sizes=_powers(6, 8, 10, 12, 16, 20), evaluation=icl.Evaluation(sequences=500, points=10)
    ),
    "quick": Scale(
        seeds=3,
        steps=2_000,
        sizes=_powers(6, 8, 10, 14, 18),
        thinned=True,
        evaluation=icl.Evaluation(sequences=400, points=8),
    ),
}
KINDS: Mapping[str, Collection[str]] = {"scale": SCALES, "family": FAMILIES}


def config(
    arg: str | None,
    *,
    name: str,
    description: str,
    axes: Mapping[str, Sequence[Any]],
    task: ClassMixture = TASK,
    steps: int = 50_000,
    seeds: int = 5,
    sizes: Sequence[float] = SIZES,
    gated: Mapping[str, Sequence[Any]] | None = None,
    quick: Mapping[str, Sequence[Any]] | None = None,
    scales: Mapping[str, Scale] = SCALES,
    baselines: bool = True,
    claims: Sequence[Any] = (),
    training: icl.Training = TRAINING,
    encoder: Encoder | None = None,
):
    """The config of one sweep of the paper.

    Args:
      arg: the words after the colon.
      axes: swept name -> the paper's values; N and the seeds are added.
      steps, seeds, sizes: of the paper.
      gated: axes, N among them, that differ for the gated family.
      quick: axes that the quick scale replaces.
      scales: what the words for scales stand for.
      baselines: whether the transformer family holds the two baselines (not where p_relevant is swept).
      training: a warm-up takes at most a tenth of the steps.
      encoder: for images: turns each into a vector, trained with the rest.
    """
    families = {name: family for name, family in FAMILIES.items() if baselines or name != "baselines"}
    chosen = words(arg, {**KINDS, "family": families})
    scale = scales[chosen["scale"]]
    predictors = {k: p for k, p in families[chosen["family"]].items() if baselines or k not in BASELINES}
    if encoder is not None:
        predictors = {k: _with_encoder(p, encoder) for k, p in predictors.items()}
    grid = {**axes, N: sizes}
    if chosen["family"] == "gated":
        grid |= gated or {}
    if scale.thinned:
        grid |= quick or {}
    if scale.sizes is not None:
        grid[N] = tuple(size for size in grid[N] if size in scale.sizes)
    steps, seeds = scale.steps or steps, scale.seeds or seeds
    warmup_steps = min(training.warmup_steps, steps // 10)
    study = icl.Study(
        name=f"{name} ({', '.join(chosen.values())})",
        description=description,
        task=task,
        predictors=predictors,
        trained_on={k: change for k, change in BASELINES.items() if k in predictors},
        training=dataclasses.replace(training, steps=steps, warmup_steps=warmup_steps),
        evaluation=scale.evaluation,
        sweep=icl.product({**grid, N: tuple(map(float, grid[N])), "seed": tuple(range(seeds))}),
        headline=("icl_error_low", "iwl_error_low"),
        claims=claims,
    )
    return icl.config_of(study)


def _with_encoder(predictor: Predictor, encoder: Encoder) -> Predictor:
    if isinstance(predictor, Gated):
        parts = {name: _with_encoder(getattr(predictor, name), encoder) for name in ("in_weight", "in_context")}
        return dataclasses.replace(predictor, encoder=encoder, **parts)
    return dataclasses.replace(predictor, encoder=encoder)
