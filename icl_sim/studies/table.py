"""Rows: what groups of members measured, as lines of JSON and as one long table."""

from __future__ import annotations

import dataclasses
import json
import operator
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_CHECKSUM = ',"crc":'
_MEASURES = ',"measures":['
COLUMNS = ("member", "step", "predictor", "eval_set", "metric", "value")


@dataclasses.dataclass(frozen=True)
class Line:
    """What a group of members measured at one step.

    Attributes:
      ids: the members.
      measures: (evaluation set, metric) -> one value per member.
      finished: whether these members have nothing left to do.
      time: when it was written, in seconds since 1970; None in lines of before there were times. It says how fast a run
        goes and is no result: tables do not hold it.
    """

    ids: tuple[int, ...]
    step: int
    measures: Mapping[tuple[str, str], np.ndarray]
    finished: bool = False
    time: float | None = None

    def to_json(self) -> str:
        """One line of strict JSON that ends in the CRC-32 of what comes before; NaN is null, infinities are words."""
        measures = [[eval_set, metric, _numbers(values)] for (eval_set, metric), values in self.measures.items()]
        told: dict[str, Any] = {"ids": self.ids, "step": self.step, "measures": measures}
        told |= {"finished": True} if self.finished else {}
        told |= {} if self.time is None else {"ms": round(1e3 * self.time)}
        text = json.dumps(told, allow_nan=False, separators=(",", ":"))
        # Of one width, so that the size of rows, which their table notes, does not depend on the time.
        return f"{text[:-1]}{_CHECKSUM}{zlib.crc32(text[:-1].encode()):>10}}}"

    @classmethod
    def from_json(cls, text: str, *, outlined: bool = False) -> Line:
        """Undoes `to_json`. Raises ValueError if the text is no such line, or not what was written.

        Args:
          outlined: leave out the measures, which are most of a line and of the time that it takes to read.
        """
        content, marked, checksum = text.rpartition(_CHECKSUM)
        if marked and checksum.lstrip() != f"{zlib.crc32(content.encode())}}}":
            raise ValueError("it is not what was written: its checksum is wrong")
        if outlined:
            before, _, rest = text.partition(_MEASURES)
            text = f"{before}{_MEASURES}]{rest[rest.rfind(']') + 1 :]}" if rest else text
        try:
            told = json.loads(text)
            ids, step = tuple(map(operator.index, told["ids"])), operator.index(told["step"])
            measures = {(str(eval_set), str(metric)): _array(values) for eval_set, metric, values in told["measures"]}
            finished = "finished" in told and told["finished"] is True
            time = None if told.get("ms") is None else 1e-3 * operator.index(told["ms"])
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"it is no record of measures: {error}") from error
        if not all(0 <= number < 2**31 for number in (*ids, step)):
            raise ValueError("its members or its step are out of range")
        if any(len(values) != len(ids) for values in measures.values()):
            raise ValueError(f"it does not hold one value for each of its {len(ids)} members")
        return cls(ids, step, measures, finished, time)


def tabulated(lines: Iterable[Line], members: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The long table: one row per member, step, evaluation set and metric, one column per swept name.

    Of several lines for the same member and step the last counts.

    Args:
      members: `{"id": , "predictor": , "point": {swept name: value}}` of every member, in the order of their
        ids.
    """
    import pandas as pd

    latest = {(line.ids, line.step): line for line in lines if not line.finished}
    if strangers := {number for line in latest.values() for number in line.ids if number >= len(members)}:
        raise ValueError(f"The rows tell of member {min(strangers)}, and the study has {len(members)} members.")
    names = {
        name: code for code, name in enumerate(dict.fromkeys(n for line in latest.values() for n in line.measures))
    }
    ids, steps, codes, values = [], [], [], []
    for line in latest.values():
        count = len(line.measures)
        ids.append(np.tile(line.ids, count))
        steps.append(np.full(len(line.ids) * count, line.step))
        codes.append(np.repeat([names[name] for name in line.measures], len(line.ids)))
        values.append(np.concatenate([*line.measures.values(), []]))
    member, step, code = (np.concatenate([*parts, []]).astype(np.int64) for parts in (ids, steps, codes))
    value = np.concatenate([*values, []]).astype(np.float64)
    order = np.lexsort((np.arange(len(code)), code, step, member))
    member, step, code, value = member[order], step[order], code[order], value[order]
    # Of groups that were divided in two ways a member can be in two lines.
    last = np.ones(len(code), bool)
    last[:-1] = (np.diff(member) != 0) | (np.diff(step) != 0) | (np.diff(code) != 0)
    member, step, code, value = member[last], step[last], code[last], value[last]
    columns = {
        "member": member.astype(np.int32),
        "step": step,
        "predictor": _taken([m["predictor"] for m in members], member),
        "eval_set": _taken([eval_set for eval_set, _ in names], code),
        "metric": _taken([metric for _, metric in names], code),
        "value": value,
    }
    for name in members[0]["point"] if members else ():
        columns[name] = _taken([_cell(m["point"][name]) for m in members], member)
    return pd.DataFrame(columns)


def _taken(values: Sequence[Any], index: np.ndarray) -> pd.Series:
    import pandas as pd

    return pd.Series(values, dtype=None if values else object).take(index).reset_index(drop=True)


def _cell(value: Any) -> Any:
    """A swept value as a cell of a column: a tuple is spelt out, words for infinities are numbers."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return float(value) if value in ("inf", "-inf") else value


def _numbers(values: np.ndarray) -> list[float | str | None]:
    numbers = np.asarray(values, np.float64).tolist()
    return [n if np.isfinite(n) else None if np.isnan(n) else repr(n) for n in numbers]


def _array(values: Sequence[float | str | None]) -> np.ndarray:
    return np.asarray([np.nan if value is None else float(value) for value in values], np.float64)
