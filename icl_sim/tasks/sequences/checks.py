"""What bursty sequences cannot be, in sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from icl_sim import names
from icl_sim.keys import require_seed
from icl_sim.tasks.sequences import composition, exemplars, labels
from icl_sim.tasks.sequences.separated import Separated

if TYPE_CHECKING:
    from icl_sim.tasks.sequences.bursty import BurstySequences

MOST = 2**23  # numbers that one draw in single precision tells apart
_MOST_PAIRS = 2**20  # of labels, which are listed where some are held out


def check(task: BurstySequences) -> None:
    """Raises ValueError, in a sentence that names the value and what is allowed."""
    require_seed("task.seed", task.seed)
    for name, allowed in (
        ("ways", composition.WAYS),
        ("query", composition.QUERIES),
        ("filler", composition.FILLERS),
        ("otherwise", composition.FILLERS),
        ("labels", labels.MODES),
        ("exemplars", exemplars.POLICIES),
        ("within_parts", composition.FREQUENCIES),
        ("otherwise_of", composition.PARTS),
        ("order", composition.ORDERS),
        ("several", labels.SEVERAL),
        ("unsupported", (composition.OTHER, composition.UNIQUE)),
    ):
        names.require(f"task.{name}", getattr(task, name), allowed)
    for name, least in (
        ("num_classes", 2),
        ("context_length", 1),
        ("multiplicity", 1),
        ("num_holdout", 0),
        ("num_common", 0),
        ("num_labels", 0),
        ("relabels", 0),
        ("held_out_pairs", 0),
        ("max_offset", 0),
    ):
        if (value := getattr(task, name)) < least:
            raise ValueError(f"task.{name} is {value}; it must be at least {least}.")
        if value > MOST:
            raise ValueError(f"task.{name} is {value}; it must be at most 2^23, {MOST:,}.")
    if (count := task.all_classes * task.multiplicity) > MOST:
        raise ValueError(
            f"task.num_classes is {task.num_classes}, task.num_holdout {task.num_holdout} and task.multiplicity "
            f"{task.multiplicity}; classes and their labels must be at most 2^23, {MOST:,}, and these are {count:,}."
        )
    for name in ("p_bursty", "p_novel"):
        if not 0 <= (value := getattr(task, name)) <= 1:
            raise ValueError(f"task.{name} is {value}; a probability must be between 0 and 1.")
    if not 0 <= task.zipf_exponent < math.inf:
        raise ValueError(f"task.zipf_exponent is {task.zipf_exponent}; it must be finite and at least 0.")
    for name in ("relabel", "pool", "held_out_labels"):
        if value := getattr(task, name):
            raise ValueError(
                f"task.{name} is {value}; a study must leave it at 0, since its evaluation sets are what varies it."
            )
    turns = getattr(task.inputs, "together", 0) or getattr(task.inputs, "orientations", 1)
    if task.num_holdout and task.num_classes % turns:
        what = "of.exemplars, in all their orientations," if isinstance(task.inputs, Separated) else "orientations"
        raise ValueError(
            f"task.num_classes is {task.num_classes}, and task.inputs.{what} is {turns}; the number must be a "
            f"multiple of {turns}, or training and held-out classes would share a character."
        )
    _check_bursts(task)
    _check_parts(task)
    _check_labels(task)
    task.inputs.check(task.all_classes)


def _check_bursts(task: BurstySequences) -> None:
    L, W, K = task.context_length, len(task.bursts), task.num_classes
    if not W or any(size != int(size) or size < 1 for size in task.bursts):
        raise ValueError(
            f"task.bursts is {task.bursts}; it must name at least one burst, each a whole number of slots of at "
            "least 1. For none, set task.p_bursty to 0."
        )
    if sum(task.bursts) > L:
        raise ValueError(
            f"task.bursts is {task.bursts}, {sum(task.bursts):g} slots in all; the context has {L} "
            "(task.context_length)."
        )
    if W > K:
        raise ValueError(f"task.bursts is {task.bursts}, of {W} classes; training has {K} (task.num_classes).")
    if task.num_common >= K:
        raise ValueError(
            f"task.num_common is {task.num_common} of {K} classes (task.num_classes); some must be left as rare."
        )
    if 0 < task.num_holdout < W:
        raise ValueError(
            f"task.num_holdout is {task.num_holdout}, and a sequence has bursts of {W} classes; hold out none or "
            f"at least {W}."
        )
    filled = L - sum(task.bursts)
    if task.filler == composition.UNIQUE and W + filled > K:
        raise ValueError(
            f"task.filler is 'unique', and a sequence has bursts of {W} classes and {filled:g} other slots; "
            f"training has {K} classes (task.num_classes)."
        )
    if task.filler == composition.OTHER and W >= K:
        raise ValueError(f"task.filler is 'other' than the bursts' {W} classes; training has no other.")
    if task.otherwise == composition.UNIQUE and L >= K:
        raise ValueError(
            f"task.otherwise is 'unique', and a sequence has {L + 1} slots; training has {K} classes "
            "(task.num_classes)."
        )
    if task.p_novel and not task.inputs.has_new:
        raise ValueError(
            f"task.p_novel is {task.p_novel}; new classes need inputs of kind clusters, which can make them. Hold "
            "some out instead (task.num_holdout)."
        )
    if task.p_novel and filled:
        raise ValueError(
            f"task.p_novel is {task.p_novel}, and bursts leave {filled:g} slots of the context; in a sequence of "
            "new classes they must fill it."
        )


def _check_parts(task: BurstySequences) -> None:
    """Of sequences of common or of rare classes alone."""
    W, filled = len(task.bursts), task.context_length - sum(task.bursts)
    sizes = {"common": task.num_common, "rare": task.num_classes - task.num_common}
    shares = {"common": task.p_common or 0.0, "rare": task.p_rare or 0.0}
    for part, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"task.p_{part} is {share}; a probability must be between 0 and 1.")
    if sum(shares.values()) > 1:
        raise ValueError(
            f"task.p_common is {task.p_common} and task.p_rare {task.p_rare}; shares of the sequences with bursts must "
            "be at most 1 together."
        )
    if task.mixes_parts and not task.num_common:
        raise ValueError(
            "task.p_common, task.p_rare and task.otherwise_of part common from rare classes, and task.num_common is 0; "
            "it must be at least 1."
        )
    for part, other in (("common", "rare"), ("rare", "common")):
        if not shares[part]:
            continue
        if task.ways == composition.LABELS and any(size % task.names_of_classes for size in sizes.values()):
            raise ValueError(
                f"task.p_{part} is {shares[part]} and task.ways 'distinct_labels'; every label must have as many "
                f"common classes, of which there are {sizes['common']}, and as many rare ones, of {sizes['rare']}."
            )
        if task.ways == composition.DISTINCT and W > sizes[part]:
            raise ValueError(
                f"task.p_{part} is {shares[part]}, of bursts of {W} {part} classes; there are {sizes[part]}."
            )
        if task.filler == composition.UNIQUE and filled > sizes[other]:
            raise ValueError(
                f"task.p_{part} is {shares[part]} and task.filler 'unique', of {filled:g} {other} classes; there are "
                f"{sizes[other]}."
            )
    most = sizes.get(task.otherwise_of, task.num_classes)
    least = {composition.ANY: 1, composition.OTHER: 2, composition.UNIQUE: task.context_length + 1}[task.otherwise]
    if most < least:
        raise ValueError(
            f"task.otherwise_of is {task.otherwise_of!r} and task.otherwise {task.otherwise!r}, which takes {least} "
            f"classes; there are {most}."
        )
    even = len(set(task.bursts)) == 1
    if task.order == composition.GROUPED and (filled or not even):
        raise ValueError(
            f"task.order is 'grouped', in blocks of one slot of every burst; bursts {task.bursts} must be of one size "
            f"and fill the {task.context_length} slots of the context."
        )


def _check_labels(task: BurstySequences) -> None:
    W, K, L = len(task.bursts), task.num_classes, task.context_length
    count = task.relabels or W
    even = task.labels != labels.BY_SEQUENCE or task.ways == composition.LABELS
    if even and task.num_labels and (K % task.num_labels or task.num_holdout % task.num_labels):
        raise ValueError(
            f"task.num_labels is {task.num_labels}; it must divide task.num_classes, {K}, and task.num_holdout, "
            f"{task.num_holdout}, so that every label has as many classes."
        )
    if task.multiplicity > 1 and task.num_labels:
        raise ValueError(
            f"task.multiplicity is {task.multiplicity} and task.num_labels {task.num_labels}; classes have several "
            "labels, or labels several classes, not both."
        )
    if task.several == labels.RARE and not (task.multiplicity > 1 and task.num_common):
        raise ValueError(
            f"task.several is 'rare', where rare classes have several labels and common ones one; task.multiplicity is "
            f"{task.multiplicity}, and must be at least 2, and task.num_common is {task.num_common}, at least 1."
        )
    new = task.inputs.new
    if new > 0 and new % task.names_of_classes:
        raise ValueError(
            f"task.inputs.new is {new}; it must be a multiple of {task.names_of_classes}, the number of labels, so "
            "that every label has as many new classes."
        )
    distinct = task.ways == composition.LABELS or task.p_novel or (task.inputs.has_new and not task.num_holdout)
    if distinct and W > task.names_of_classes:
        raise ValueError(
            f"task.bursts is {task.bursts}, {W} classes of different labels; there are {task.names_of_classes}."
        )
    if task.relabels and not W <= count <= task.outputs:
        raise ValueError(
            f"task.relabels is {task.relabels}; it must be from {W}, the number of bursts, to {task.outputs}, the "
            "number of labels."
        )
    if task.labels == labels.BY_SEQUENCE and sum(task.bursts) < L:
        raise ValueError(
            f"task.labels is 'per_sequence', and the bursts {task.bursts} leave slots of the {L} without a label; "
            "they must fill the context."
        )
    if task.held_out_pairs and (W != 2 or task.held_out_pairs >= math.comb(count, 2)):
        raise ValueError(
            f"task.held_out_pairs is {task.held_out_pairs}; it takes two bursts, of which there are {W}, and must "
            f"leave training some of the {math.comb(count, 2)} pairs of {count} labels."
        )
    if task.held_out_pairs and math.comb(count, 2) > _MOST_PAIRS:
        raise ValueError(
            f"task.held_out_pairs is {task.held_out_pairs}, of {math.comb(count, 2):,} pairs of {count} labels "
            f"(task.relabels); pairs are held out of at most {_MOST_PAIRS:,}."
        )
