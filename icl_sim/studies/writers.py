"""Writers: numbers of a run for those who watch it elsewhere, in TensorBoard, on Weights & Biases, or in anything else
that has the two methods of `Writer`.

What they get is for watching; the record of a run is its rows. A writer never breaks a run: one that fails is noted
and left out from then on.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from icl_sim import names
from icl_sim.studies.progress import headline_means

if TYPE_CHECKING:
    from icl_sim.engine.group import Group
    from icl_sim.engine.simulate import Chunk
    from icl_sim.studies.shards import Shard
    from icl_sim.studies.study import Study

_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
FEW = 8  # members of a group that are written one by one, too
_LOSS = ("training", "loss")
_DIVERGED = ("training", "diverged_at_step")


class Writer(Protocol):
    """Where numbers go."""

    def write(self, where: str, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of "group_3" (means over its members) or of "member_17" after a step."""

    def close(self) -> None:
        """Writes what is not yet written; nothing comes after it."""


class TensorBoard:
    """Event files in `tensorboard/` of the run's folder, of a shard in a folder of its own there."""

    def __init__(self, workdir: Path, study: Study, shard: Shard | None):
        del study
        folder = workdir / "tensorboard"
        self._events = _package("tensorboard").SummaryWriter(
            str(folder if shard is None else folder / shard.folder(workdir).name), flush_secs=10
        )

    def write(self, where: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(f"{where}/{name}", value, step)

    def close(self) -> None:
        self._events.close()


class WeightsAndBiases:
    """A run of the project icl_sim, or of that which WANDB_PROJECT names; the same one again when a run goes on."""

    def __init__(self, workdir: Path, study: Study, shard: Shard | None):
        from icl_sim.studies import codec

        wandb = _package("wandb")
        part = f" {shard}" if shard else ""
        place = zlib.crc32(f"{workdir.absolute()}{part}".encode())
        workdir.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "icl_sim",
            name=f"{study.name}{part}",
            group=study.name,
            id=f"{codec.fingerprint(study)[:12]}-{place:08x}",
            resume="allow",
            dir=str(workdir),
            config=codec.jsonable(codec.encode(study)),
        )
        self._known: set[str] = set()

    def write(self, where: str, step: int, values: Mapping[str, float]) -> None:
        if where not in self._known:  # groups count their own steps, and those of a run may only grow
            self._run.define_metric(f"{where}/*", step_metric=f"{where}/step")
            self._known.add(where)
        self._run.log({f"{where}/step": step} | {f"{where}/{name}": value for name, value in values.items()})

    def close(self) -> None:
        self._run.finish()


WRITERS: Mapping[str, Callable[[Path, Any, Any], Writer]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def opened(
    wanted: Iterable[str], workdir: Path, study: Study, shard: Shard | None, note: Callable[[str], None] = print
) -> dict[str, Writer]:
    """The writers of these names; one that cannot begin, for instance without a network, is noted and left out.

    Raises:
      ValueError: a sentence, for a name that is none and for a package that is not installed.
    """
    writers: dict[str, Writer] = {}
    for name in require(wanted):
        try:
            writers[name] = WRITERS[name](workdir, study, shard)
        except Exception as error:  # whatever a network, a disk or an account makes it raise
            note(_off(name, error))
    return writers


def require(wanted: Iterable[str]) -> tuple[str, ...]:
    """The names of writers, each once. Raises ValueError as `opened` does."""
    wanted = tuple(dict.fromkeys(wanted))
    for name in wanted:
        names.require("--log", name, WRITERS)
        _package(name)
    return wanted


class Scalars:
    """Hands to writers what groups measure, and how fast they go. Use as a context manager."""

    def __init__(self, writers: Mapping[str, Writer], headline: Iterable[str]):
        self._writers, self._headline = dict(writers), tuple(headline)

    def __enter__(self) -> Scalars:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for writer in self._writers.values():
            with contextlib.suppress(Exception):  # the run is over, and its rows are safe
                writer.close()

    def update(self, number: int, group: Group, note: Callable[[str], None], chunk: Chunk) -> None:
        """Writes a chunk of the study's group of this number; what goes wrong is noted."""
        if not self._writers:
            return
        told = {f"group_{number}": means(chunk, self._headline)}
        if chunk.measures is not None and len(group) <= FEW:
            columns = {name: chunk.measures[at] for name, at in _named(chunk, self._headline).items()}
            for place, member in enumerate(group.ids):
                told[f"member_{member}"] = {name: float(column[place]) for name, column in columns.items()}
        for name, writer in list(self._writers.items()):
            try:
                for where, values in told.items():
                    if values:
                        writer.write(where, chunk.step, values)
            except Exception as error:  # a writer is never worth a run
                del self._writers[name]
                note(_off(name, error))


def means(chunk: Chunk, headline: Iterable[str]) -> dict[str, float]:
    """What is told of a group: updates per second, and means over members, those that diverged left out."""
    values = {"updates_per_s": chunk.updates / chunk.seconds} if chunk.updates and chunk.seconds else {}
    if chunk.measures is None:
        return values
    values |= headline_means(chunk.measures, tuple(headline))
    if _LOSS in chunk.measures:
        finite = chunk.measures[_LOSS][np.isfinite(chunk.measures[_LOSS])]
        values["training_loss"] = float(np.mean(finite)) if len(finite) else math.nan
    if _DIVERGED in chunk.measures:
        values["diverged"] = float(np.sum(np.isfinite(chunk.measures[_DIVERGED])))
    return values


def _named(chunk: Chunk, headline: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The measures that are told of members one by one."""
    wished = {name: ("summary", name) for name in headline} | {"training_loss": _LOSS}
    return {name: at for name, at in wished.items() if chunk.measures is not None and at in chunk.measures}


def _package(writer: str) -> Any:
    """The package that a writer needs. Raises ValueError if it is not installed."""
    try:
        return importlib.import_module(_PACKAGES[writer])
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--log={writer} needs {error.name}, which is not installed: pip install 'icl_sim[{writer}]'."
        ) from error


def _off(name: str, error: Exception) -> str:
    told = " ".join(str(error).split())[:200]
    return f"The writer {name!r} failed ({type(error).__name__}: {told}) and is switched off; the run goes on."
