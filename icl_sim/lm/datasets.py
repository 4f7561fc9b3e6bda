"""The six data sets of Dai et al. 2023: from the hub, from a folder of JSONL, or a handful of invented rows."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from icl_sim.lm.rows import Row, read_jsonl, row_of
from icl_sim.names import require

FIXTURE = "fixture"


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set and where it comes from.

    Attributes:
      name: of its folder, too.
      hub: its id at the Hugging Face hub, the configuration after a colon if it has one.
      train, evaluated: the splits that demonstrations and queries come from; Dai et al. 2023 evaluate on test where
        the code loads no validation split.
      labels: what the classes are, in the order of their indices.
      fields: the texts of a row.
      hub_fields: what the hub calls these.
    """

    name: str
    hub: str
    train: str
    evaluated: str
    labels: tuple[str, ...]
    fields: tuple[str, ...] = ("text",)
    hub_fields: tuple[str, ...] = ("text",)

    @property
    def num_labels(self) -> int:
        return len(self.labels)


_SENTIMENT = ("negative", "positive")
DATA_SETS = {
    one.name: one
    for one in (
        DataSet("sst2", "glue:sst2", "train", "validation", _SENTIMENT, hub_fields=("sentence",)),
        DataSet("sst5", "SetFit/sst5", "train", "validation", ("terrible", "bad", "neutral", "good", "great")),
        DataSet("mr", "rotten_tomatoes", "train", "validation", _SENTIMENT),
        DataSet("subj", "SetFit/subj", "train", "test", ("objective", "subjective")),
        DataSet("agnews", "ag_news", "train", "test", ("world", "sports", "business", "technology")),
        DataSet(
            "cb",
            "super_glue:cb",
            "train",
            "validation",
            ("entailment", "contradiction", "neutral"),
            ("premise", "hypothesis"),
            ("premise", "hypothesis"),
        ),
        DataSet(FIXTURE, "", "train", "validation", _SENTIMENT),  # invented reviews that come with icl_sim
    )
}


def data_set(name: str) -> DataSet:
    """The data set of a name. Raises ValueError, with the nearest name, if there is none."""
    require("data", name, DATA_SETS)
    return DATA_SETS[name]


def load(name: str, split: str, folder: str | os.PathLike = "") -> tuple[Row, ...]:
    """The rows of a split.

    Args:
      folder: holds NAME/SPLIT.jsonl; empty for the hub, which needs the extra `hub` and the network. The invented rows
        come with the package and need neither.

    Raises:
      ValueError: in a sentence, for a file that is missing or holds anything but rows, or without the extra.
    """
    found = data_set(name)
    if name == FIXTURE:
        with resources.as_file(resources.files("icl_sim.lm") / "fixture") as invented:
            return read_jsonl(invented / f"{split}.jsonl", found.fields, found.num_labels)
    if not os.fspath(folder):
        return _from_hub(found, split)
    path = Path(os.path.expanduser(folder), name, f"{split}.jsonl")  # as it is where there is no such user
    if not path.is_file():
        raise ValueError(
            f"There is no {path}; the folder of texts must hold {name}/{found.train}.jsonl and "
            f"{name}/{found.evaluated}.jsonl, or be empty for the hub."
        )
    return read_jsonl(path, found.fields, found.num_labels)


def _from_hub(found: DataSet, split: str) -> tuple[Row, ...]:
    try:
        datasets = importlib.import_module("datasets")  # not imported by name: type checkers do not have it
    except ModuleNotFoundError:
        raise ValueError(
            f"To get {found.name} from the hub, pip install 'icl_sim[hub]'; or name a folder that holds "
            f"{found.name}/{split}.jsonl."
        ) from None
    path, _, configuration = found.hub.partition(":")
    try:
        table = datasets.load_dataset(path, *filter(None, [configuration]), split=split)
    except Exception as error:  # of the many kinds that a network and a cache have
        raise ValueError(f"The hub does not give {found.hub}, split {split}: {error}") from error
    names = dict(zip(found.hub_fields, found.fields, strict=True))
    return rows_of_hub(list(table), found, names)


def rows_of_hub(records: Sequence, found: DataSet, names: dict[str, str]) -> tuple[Row, ...]:
    """Records of the hub as rows; `names`: what a row calls a field of the hub."""
    return tuple(
        row_of(
            {names.get(key, key): value for key, value in record.items()},
            found.fields,
            found.num_labels,
            f"Row {number} of {found.hub}",
        )
        for number, record in enumerate(records)
    )
