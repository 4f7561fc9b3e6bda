"""What the owner of a run should know, in sentences: answers that are not finite, figures with nothing to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from icl_sim.studies import resolution
from icl_sim.studies.figures import Spec

if TYPE_CHECKING:
    import pandas as pd

ERRORS = ("error", "squared_error")  # which every answer has, on every evaluation set
_NOT_SETS = ("summary", "training")  # of what else these names stand for


def lost(measures: Mapping[tuple[str, str], np.ndarray]) -> int:
    """How many members have an evaluation set on which their answers, or these errors, are not finite."""
    errors = [column for (eval_set, metric), column in measures.items() if _is_error(eval_set, metric)]
    return int(np.sum(~np.isfinite(errors).all(axis=0))) if errors else 0


def on_answers(table: pd.DataFrame) -> list[str]:
    """A sentence for each predictor with answers, or errors, that are not finite."""
    rows = table[table["metric"].isin(ERRORS) & ~table["eval_set"].isin(_NOT_SETS)]
    lost = rows[~np.isfinite(rows["value"])]
    told = []
    for predictor, mine in lost.groupby("predictor", sort=False):
        where = f"on {', '.join(mine['eval_set'].unique())}, first at step {mine['step'].min():,}"
        count, of = (some["member"].nunique() for some in (mine, rows[rows["predictor"] == predictor]))
        who = f"{count} of {of} member{'s' * (of > 1)}"
        why = "they or their errors are NaN or infinite"
        told.append(f"The predictor {predictor!r} has no finite answers {where} ({who}): {why}.")
    return told


def on_figures(specs: Iterable[Spec], table: pd.DataFrame, members: int) -> list[str]:
    """Why figures, or quantities of them, are not drawn, in sentences; none while some members have no rows yet."""
    if table["member"].nunique() < members:
        return []
    return [sentence for spec in specs for sentence in resolution.undrawn(spec, table)]


def _is_error(eval_set: str, metric: str) -> bool:
    return metric in ERRORS and eval_set not in _NOT_SETS
