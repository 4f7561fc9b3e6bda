"""What the studies of class sequences share: scales, training and evaluation.

The part after the colon of `--config=FILE:WORDS` names a scale:

    reference   three seeds, minutes to an hour on 2 cores; what docs/reference shows, and what runs without any word
    quick       one seed, a minute or two: shapes, no claims
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import icl_sim as icl
from icl_sim.predictors import InductionNetwork
from icl_sim.studies.claims import Value
from icl_sim.studies.figures import QUANTITY, STEP, Lines, Quantity
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.presets import singh_icl

NETWORK = "network"
# What a figure says of the evaluation sets (docs/sequences.md).
ICL = Quantity("error", "icl", "New classes (in-context)")
ICL_RESTRICTED = Quantity("restricted_error", "icl", "New classes, of the context's labels")
SWAP = Quantity("error", "swap", "Labels one further (in-context)")
IWL = Quantity("error", "iwl", "Not in the context (in-weight)")
CIWL = Quantity("error", "ciwl", "Label shown elsewhere (in-weight)")
CIWL_RESTRICTED = Quantity("restricted_error", "ciwl", "Label shown elsewhere, of the context's labels")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of a study to run."""

    steps: int
    seeds: int
    points: int


def few_labels(preset, labels: int = 32):
    """A preset of Singh et al. 2025 on 1,024 classes that share labels: a head forms in minutes then, in some seeds,
    where with labels of their own none does."""
    own = {"relabels": labels} if preset is singh_icl else {"ways": "distinct_labels"}
    return preset(1024, Clusters(dim=64, noise=0.1, exemplars=20)).replace(num_labels=labels, **own)


def of(metric: str, eval_set: str = "icl", predictor: str = NETWORK, **where) -> Value:
    return Value(predictor=predictor, metric=metric, eval_set=eval_set, where=where)


def training(scale: Scale, learning_rate: float) -> icl.Training:
    """Adam at a constant rate on batches of 128."""
    return icl.Training(steps=scale.steps, batch_size=128, learning_rate=learning_rate)


def evaluation(scale: Scale) -> icl.Evaluation:
    return icl.Evaluation(sequences=512, batch_size=128, points=scale.points)


def swept(
    name: str,
    description: str,
    task: icl.types.Task,
    scale: Scale,
    axis: str,
    values: Sequence[float],
    claims: Sequence,
    *,
    title: str,
    over: tuple[Quantity, ...],
    while_training: tuple[Quantity, ...],
    figures: tuple[Lines, ...] = (),
):
    """The config of a study of Reddy's network over one name: errors over its values, and over steps, and more."""
    study = icl.Study(
        name=name,
        description=description,
        task=task,
        predictors={NETWORK: InductionNetwork()},
        training=training(scale, learning_rate=1e-3),
        evaluation=evaluation(scale),
        sweep=icl.product({axis: values, "seed": range(scale.seeds)}),
        claims=claims,
        figures=(
            Lines(name="errors", title=title, quantities=over, x=axis, lines=QUANTITY, columns=None),
            Lines(
                name="steps",
                title="Errors while training",
                quantities=while_training,
                x=STEP,
                lines=axis,
                columns=None,
            ),
            *figures,
        ),
        headline=("icl_error", "iwl_error"),
    )
    return icl.config_of(study)
