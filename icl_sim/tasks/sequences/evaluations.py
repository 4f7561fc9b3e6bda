"""What tells in-context from in-weight learning of bursty sequences: variations of the task, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from icl_sim.tasks.sequences import labels
from icl_sim.tasks.sequences.composition import COMMON, EVEN, HOLDOUT, OTHER, RARE, TRAIN

if TYPE_CHECKING:
    from icl_sim.tasks.sequences.bursty import BurstySequences


def sets(task: BurstySequences) -> Mapping[str, BurstySequences]:
    """See `BurstySequences.evaluation_sets`."""
    W, L = len(task.bursts), task.context_length
    named = task.replace(labels=labels.FIXED) if task.labels == labels.ONE_SHOWN else task
    base = named.replace(pool=EVEN, p_novel=0.0)
    even = base.replace(p_bursty=1.0, bursts=tuple(L // W for _ in task.bursts))
    few_shot = even.replace(relabel=labels.PER_SEQUENCE, held_out_labels=bool(task.held_out_pairs))
    unsupported = task.unsupported if L < task.num_classes else OTHER
    alone = base.replace(p_bursty=0.0, otherwise=unsupported, labels=labels.FIXED)
    fixed = named.labels == labels.FIXED
    found = {"default": task}
    if task.num_holdout >= W:
        found["icl"] = few_shot.replace(pool=HOLDOUT)
    elif task.inputs.has_new and (fixed or not task.mixes):
        found["icl"] = named.replace(p_bursty=1.0, p_novel=1.0)
    else:
        found["icl"] = few_shot.replace(pool=RARE) if task.mixes else few_shot
    if fixed:
        found |= {"iwl": alone, "iid": named.replace(p_bursty=0.0, p_novel=0.0)}
    if task.num_common and (fixed or task.mixes):
        found["iwl_common"] = _of(alone, COMMON)
    if fixed:
        if task.num_common:
            found["iwl_rare"] = _of(alone, RARE)
        found["ciwl"] = alone.replace(relabel=labels.SHOWN)
        if not task.num_single:
            found["swap"] = base.replace(p_bursty=1.0, relabel=labels.SWAPPED)
        if W == 2:
            found["flip"] = even.replace(relabel=labels.FLIPPED)
    if task.all_sets:
        whole = {"p_common": 0.0, "p_rare": 0.0, "otherwise_of": "train"} if task.mixes_parts else {}
        found["icl_zipf"] = few_shot.replace(pool=TRAIN, **whole)
        if fixed:
            found["iwl_zipf"] = alone.replace(pool=TRAIN, otherwise=OTHER, **whole)
        for name, part in (("common", COMMON), ("rare", RARE)):
            if task.num_common and _size(task, part) >= W:
                found[f"icl_{name}"] = few_shot.replace(pool=part)
    return found


def _size(task: BurstySequences, part: int) -> int:
    first, end = task.pools()[part]
    return end - first


def _of(task: BurstySequences, part: int) -> BurstySequences:
    """The task on a part of training's classes, which may be too few for a sequence without repetition."""
    if _size(task, part) <= task.context_length:
        task = task.replace(otherwise=OTHER)
    return task.replace(pool=part)
