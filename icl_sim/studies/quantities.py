"""What figures show: a metric on an evaluation set, found among those that a table has, and the range that it is in."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from icl_sim.names import suggestion
from icl_sim.studies import curves

if TYPE_CHECKING:
    import pandas as pd

Pair = tuple[str, str]  # a metric and an evaluation set
SUMMARY, TRAINING = "summary", "training"
_RANGES = (  # of what names of metrics match, without "/k"; the first that matches counts
    ((0, math.inf), r"(normalized|squared|clean)_error|(unclamped_)?cross_entropy|(m?spd|ilwd|delta)_\w+"),
    ((0, math.inf), r"probe_\w+_error|(interpolation|rollout)_loss_\w+|(sensitivity|prediction)_difference_\w+"),
    ((0, math.inf), r"sensitivity_(own|next|other)_\w+"),
    ((-1, 1), r"preference(_\w+)?|induction_strength|(sensitivity|gradient|projected_gradient)_cosine_\w+"),
    ((0, 1), r"error_(without|only)|error|\w+_error|(icl|iwl)_error_(high|low)|(ibd_relevant|control)_(high|low)"),
    ((0, 1), r"gate_(mean|share|share_matched)|context|memory|context_probability|support"),
    ((0, 1), r"((calibrated|zsl|icl)_)?accuracy|auc|largest_share"),
    ((0, 1), r"(base_)?(memorised|from_weights|from_context)(_\w+)?"),
    ((-1, 1), r"sim_a[mo]u?(_\w+)?|kendall(_random)?|alpha|relaxation_cosine"),
    ((0, 1), r"previous_(token|slot)|label_tokens|right_labels|prefix_matching(_mean)?"),
)
_OF_REGRESSION = "normalized_error"  # where it is measured, the summaries `error` and `error_SHIFT` are such errors


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What one panel shows, or one line where `lines` is "quantity".

    `*` stands for anything, for what a study names itself: Quantity("spd_*", "default", "*") is every reference that it
    compares with, Quantity("normalized_error", "*", "*") every evaluation set. In the label it is what it stands for.
    A metric `NAME/7` is the one at the position 7, `NAME/1-7` its mean over the positions 1 to 7.
    """

    metric: str
    eval_set: str = SUMMARY
    label: str = ""

    @property
    def text(self) -> str:
        return self.label or self.metric.replace("_", " ") + ("" if self.eval_set == SUMMARY else f", {self.eval_set}")


def known_range(quantity: Quantity, metrics: Collection[str]) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have, as far as its name says so.

    Args:
      metrics: all that are measured, which tell errors of regressions from those of classes.
    """
    name = quantity.metric.partition("/")[0]
    if quantity.eval_set == SUMMARY and _OF_REGRESSION in metrics and re.fullmatch(r"error(_\w+)?", name):
        return (0, math.inf)
    return next((limits for limits, names in _RANGES if re.fullmatch(names, name)), (-math.inf, math.inf))


def learners(quantities: Sequence[Quantity]) -> list[str]:
    """The learner that each names, as `spd_ridge` does ridge; empty if not all name another one."""
    names = [q.metric.partition("/")[0].partition("_")[2] or q.metric for q in quantities]
    return names if len(set(names)) == len(names) else []


# ---------------------------------------------------------------------------------------------- what there is


def pairs(table: pd.DataFrame) -> list[Pair]:
    """What the table has of (metric, evaluation set)."""
    return [(str(m), str(e)) for m, e in table[["metric", "eval_set"]].drop_duplicates().to_numpy()]


def at_positions(found: Iterable[Pair]) -> list[Pair]:
    """The metrics that have rows at positions, NAME for `NAME/k`."""
    found = list(found)
    at = curves.names_at({metric for metric, _ in found})
    names = {name for name, _ in at.values()}
    limits = {f"{name}_{end}" for name in names for end in curves.LIMITS}
    named = [(at[metric][0], eval_set) for metric, eval_set in found if metric in at]
    return [pair for pair in dict.fromkeys(named) if pair[0] not in limits]


def present(quantities: Sequence[Quantity], known: Sequence[Pair], together: bool = False) -> tuple[Quantity, ...]:
    """The quantities among what is known, those with a `*` written out.

    Args:
      together: whether they are lines of one panel, where a single evaluation set is nothing to compare.
    """
    is_known = set(known)
    found: dict[Pair, Quantity] = {}
    for quantity in quantities:
        metric, eval_set = quantity.metric, quantity.eval_set
        if "*" not in metric + eval_set:
            if all((part, eval_set) in is_known for part in curves.parts(metric)):
                found.setdefault((metric, eval_set), quantity)
            continue
        some = {pair: words for pair in known if (words := _stars(metric, eval_set, *pair)) is not None}
        if "*" in eval_set and len(some) == 1 and together:
            continue
        for pair, words in some.items():
            found.setdefault(pair, Quantity(*pair, label=quantity.label.replace("*", words)))
    return tuple(found.values())


def absent(figure: str, quantities: Sequence[Quantity], known: Sequence[Pair], over_positions: bool) -> list[str]:
    """A sentence for each of a figure's quantities that a study does not measure, with where it is measured, if it is.

    Args:
      known: all that is measured; those at positions if the figure is about these.
    """
    told = []
    for quantity in quantities:
        if present([quantity], known):
            continue
        metric, eval_set = quantity.metric, quantity.eval_set
        where = list(dict.fromkeys(q.eval_set for q in present([Quantity(metric, "*")], known)))
        where += [name for name in (SUMMARY, TRAINING, "pretraining") if present([Quantity(metric, name)], known)]
        at = " at positions" if over_positions else ""
        if where:
            rest = f" there{at}; it is on: {', '.join(where)}."
        else:
            rest = f"{at}; {suggestion(metric, dict.fromkeys(name for name, _ in known if '/' not in name))}"
        told.append(f"The figure {figure!r} shows {metric} on {eval_set}, which this study does not measure{rest}")
    return told


def headlines(known: Sequence[Pair], most: int = 4) -> tuple[Quantity, ...]:
    """What to show when nobody said: the task's summaries, else errors, else whatever is there, positions last."""
    known = [(metric, eval_set) for metric, eval_set in known if eval_set != TRAINING]
    kinds = (
        [pair for pair in known if pair[1] == SUMMARY],
        *([pair for pair in known if pair[0] == metric] for metric in ("error", "normalized_error")),
        [pair for pair in known if "/" not in pair[0]],
        known,
    )
    return tuple(Quantity(*pair) for pair in next(filter(None, kinds), [])[:most])


def _stars(metric: str, eval_set: str, its_metric: str, its_set: str) -> str | None:
    """What the stars in a metric and an evaluation set stand for, None if they are not these. No number at a position,
    and no evaluation set that is not one of its own."""
    found = []
    for wanted, name, anything in ((metric, its_metric, "([^/]+)"), (eval_set, its_set, "(.+)")):
        match = re.fullmatch(anything.join(map(re.escape, wanted.split("*"))), name)
        if match is None or its_set in (TRAINING, "pretraining", SUMMARY) and "*" in eval_set:
            return None
        found += match.groups()
    return ", ".join(found).replace("_", " ")
