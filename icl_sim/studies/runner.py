"""Running a study: plan it, simulate what is not yet done, keep rows and checkpoints in step.

After every chunk, some five seconds of training, its rows are written first and its checkpoint next. A crash repeats
the chunk that it fell into, whose rows then replace themselves; it can never lose one. Where a checkpoint alone takes
longer than a tenth of a chunk (hundreds of megabytes of image networks), several chunks pass between two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icl_sim.engine import devices, hosts
from icl_sim.engine.checkpoints import CheckpointError, Checkpoints
from icl_sim.engine.group import Group
from icl_sim.engine.layout import CHOSEN, Layout, laid_out
from icl_sim.engine.program import Program
from icl_sim.engine.simulate import Chunk
from icl_sim.engine.simulate import simulate as simulate_group
from icl_sim.studies import status
from icl_sim.studies.files import explained
from icl_sim.studies.locks import BusyError
from icl_sim.studies.plan import Plan, plan
from icl_sim.studies.progress import Progress
from icl_sim.studies.rehearsal import rehearse
from icl_sim.studies.shards import Shard, begun, checkpoint_folder, note_members, noted_members, pack
from icl_sim.studies.stop import Stop
from icl_sim.studies.store import Store, load, refuse_taken
from icl_sim.studies.study import Study
from icl_sim.studies.table import Line, tabulated
from icl_sim.studies.writers import Scalars, Writer

if TYPE_CHECKING:
    import pandas as pd

QUICK_SAVE = 0.5  # seconds: a checkpoint that takes no longer is saved after every chunk
SHARE_OF_SAVING = 0.1  # of the running time, at most, goes into slower ones


@dataclasses.dataclass(frozen=True)
class Status:
    """How a run ended.

    Attributes:
      finished: whether what it had to do, the study or its shard, is done; otherwise a signal stopped it, and running
        it again goes on.
      groups: of what it had to do.
      simulated: groups that this run worked on; 0 if all was done before.
      complete: whether the whole study is done, and its table written.
    """

    finished: bool
    groups: int
    simulated: int
    complete: bool


def run(
    study: Study,
    workdir: str | os.PathLike,
    *,
    shard: Shard | None = None,
    layout: Layout = CHOSEN,
    command: str = "",
    quiet: bool = False,
    overdue: Callable[[], None] | None = None,
    prepare: Callable[[Plan], Mapping[str, Writer]] | None = None,
) -> Status:
    """Simulates what a folder does not hold yet of a study: starts, resumes, or finds that all is done.

    A signal (`stop.STOPS`) ends the run after the current chunk, with everything saved. Of the processes of one program
    (`jax.distributed`) each goes on until all have heard of the SIGTERM, or other notice of preemption, that one got;
    one alone reads and writes the folder.

    Args:
      shard: do only this part. The last one to finish makes the table of the whole; without a shard, those that were
        begun are finished first, one after the other.
      overdue: called from another thread if a signal has come and the chunk does not end within `stop.PATIENCE`: it is
        being compiled, or evaluated at length. To end the process then loses what came after the last checkpoint.
      layout: what of how members lie on devices is not to be chosen.
      prepare: called once nothing is left to refuse and before anything is written. It gives writers, by the names that
        notes call them (`icl_sim.studies.writers`), which get numbers to watch and are closed.

    Raises:
      ValueError: in a sentence, for an impossible study, a folder of another study, a full disk, ...
    """
    planned = checked(study, shard, layout)
    if hosts.is_writer():
        refuse_taken(workdir, study, shard)
    writers = prepare(planned) if prepare else {}
    groups = simulated = 0
    with Stop(overdue) as stop, Scalars(writers, study.shown) as scalars:
        for part in _parts(workdir, shard):
            todo = pack(planned, part)
            with _store(workdir, study, planned, command, part) as store, _progress(study, todo, quiet) as progress:
                if not simulated:
                    for note in planned.notes:
                        progress.note(note)
                simulated += _work(planned, todo, layout, store, progress, stop, scalars)
                groups += len(todo)
                finished = bool(hosts.told(store is not None and all(_is_finished(store, group) for group, _ in todo)))
                if store is not None and part is None and (simulated or not store.is_tabulated()):
                    store.tabulate()
            if not finished:
                return Status(False, groups, simulated, complete=False)
    return Status(True, groups, simulated, complete=shard is None or _complete(study, workdir, planned, command))


def checked(study: Study, shard: Shard | None = None, layout: Layout = CHOSEN) -> Plan:
    """The plan of a study. Raises ValueError for what can be refused of it without a look at a folder: see `run`."""
    planned = plan(study)
    members = len(planned.entries)
    if shard is not None and shard.of > members:
        raise ValueError(f"The shard is {shard}, and the study has {members} members; at most one shard for each.")
    planned = dataclasses.replace(planned, remarks=rehearse(planned, study.figures))
    for group, _ in pack(planned, shard):
        layout.check_for(group)
    return planned


def _parts(workdir: str | os.PathLike, shard: Shard | None) -> list[Shard | None]:
    """What there is to do, in order: a shard, or those that were begun and then the whole, None."""
    if shard is not None:
        return [shard]
    names = hosts.said(" ".join(map(str, begun(workdir))) if hosts.is_writer() else "")
    return [*map(Shard.parse, names.split()), None]


@contextlib.contextmanager
def _store(
    workdir: str | os.PathLike, study: Study, planned: Plan, command: str, part: Shard | None
) -> Iterator[Store | None]:
    """The folder of the run; None in processes that only compute."""
    if not hosts.is_writer():
        yield None
        return
    with Store(workdir, study, planned, command, part) as store:
        yield store


def _complete(study: Study, workdir: str | os.PathLike, planned: Plan, command: str) -> bool:
    """Makes the table if all shards are done; False if some are not, or if another sees to it."""
    if not hosts.is_writer() or not status.read(workdir).is_done:  # seen without a lock, which others would wait for
        return False
    try:
        with Store(workdir, study, planned, command) as store:
            done = all(_is_finished(store, group) for group in planned.groups)
            if done and not store.is_tabulated():
                store.tabulate()
            return done
    except BusyError:  # another does the same, or a shard is at work once more, and will come here last
        return False


def simulate(study: Study, workdir: str | os.PathLike | None = None, *, quiet: bool = True) -> pd.DataFrame:
    """Simulates a study and returns its results, one row per member, step, evaluation set and metric.

    Args:
      workdir: where to keep the run, so that it can be stopped and resumed; None keeps it in memory only.
      quiet: show no progress.

    Raises:
      KeyboardInterrupt: if a signal stopped the run in a folder, which has only a part of the results then.
    """
    with contextlib.suppress(RuntimeError):  # a backend that runs already keeps its devices
        devices.use_all_cores()
    if workdir is not None:
        if not os.fspath(workdir):
            raise ValueError("workdir is empty; name a folder, or None to keep nothing.")
        if not run(study, workdir, quiet=quiet).finished:
            raise KeyboardInterrupt(f"A signal stopped the run in {workdir}; what it has is saved, and it can go on.")
        return load(workdir)
    planned, lines, before = plan(study), [], 0
    todo = pack(planned, None)
    with _progress(study, todo, quiet) as progress:
        for number, (group, steps) in enumerate(todo, 1):
            for wave, program in _waves(group, CHOSEN, progress, f"group {number}/{len(todo)}", before, steps):
                for chunk in simulate_group(wave, program=program):
                    if chunk.measures is not None:
                        lines.append(Line(wave.ids, chunk.step, chunk.measures))
                    progress.update(chunk, steps)
            before += steps * len(group)
    members = [{"id": e.id, "predictor": e.predictor, "point": e.point} for e in planned.entries]
    return tabulated(lines, members)


def _is_finished(store: Store, group: Group) -> bool:
    return not _left(store, group).any()


def _left(store: Store, group: Group) -> np.ndarray:
    """Which members of a group have something left to do, `[M]`: their end was not noted, or a row got lost since."""

    def is_finished(member: int) -> bool:
        last = store.ended_at((member,))
        return last is not None and all(store.has((member,), step) for step in steps_until(last))

    steps_until = functools.cache(group.members.evaluation.steps)
    return np.asarray([not is_finished(member) for member in group.ids], bool)


def _work(
    planned: Plan,
    todo: Sequence[tuple[Group, int]],
    layout: Layout,
    store: Store | None,
    progress: Progress,
    stop: Stop,
    scalars: Scalars,
) -> int:
    """Simulates what is left of groups until a signal stops it; how many it worked on."""
    left = [hosts.told(np.ones(len(group), bool) if store is None else _left(store, group)) for group, _ in todo]
    simulated, done = 0, 0
    for number, ((group, steps), left_M) in enumerate(zip(todo, left, strict=True), 1):
        done += steps * int(np.sum(~left_M))
        if left_M.any() and not stop.asked:
            part = group.taken(left_M)
            whole = next(n for n, each in enumerate(planned.groups, 1) if part.ids[0] in each.ids)
            for wave, program in _waves(part, layout, progress, f"group {number}/{len(todo)}", done, steps):
                if not stop.asked:
                    tell = functools.partial(scalars.update, whole, wave, progress.note)
                    _run_group(planned, wave, program, steps, store, progress, stop, tell)
                if stop.asked:
                    break
            simulated += 1
        done += steps * int(np.sum(left_M))
    return simulated


def _waves(
    group: Group, layout: Layout, progress: Progress, name: str, before: int, steps: int
) -> Iterator[tuple[Group, Program | None]]:
    """The waves of a group, as `laid_out` gives them, each shown as it begins, after so many updates of the study."""
    progress.begin(f"{name} ({len(group)} members)", before)
    count, done = 1, 0
    for number, (wave, program) in enumerate(laid_out(group, layout), 1):
        count = -(-len(group) // len(wave)) if number == 1 else count
        if count > 1:
            progress.begin(f"{name}, wave {number}/{count} ({len(wave)} members)", before + steps * done)
        yield wave, program
        done += len(wave)


def _run_group(
    planned: Plan,
    group: Group,
    program: Program | None,
    steps: int,
    store: Store | None,
    progress: Progress,
    stop: Stop,
    tell: Callable[[Chunk], None],
) -> None:
    """Simulates a group to its end, or to where a signal stops it; `tell` gets every chunk."""
    home = Path(hosts.said(str(store.home.absolute()) if store is not None else ""))
    folder = checkpoint_folder(home, group, planned)
    with explained(home if store is None else store.folder):
        checkpoints = Checkpoints(folder)
        state, step = _restored(checkpoints, folder, group, store, progress)
        if store is not None:
            note_members(folder, group.ids)
        if step:
            progress.done(step * len(group))
            progress.note(f"going on from step {step:,}")
        saved_at, cost = time.monotonic(), 0.0
        for chunk in simulate_group(group, program=program, state=state, step=step):
            step = chunk.step
            if store is not None and chunk.measures is not None:
                store.append(group.ids, step, chunk.measures)
            progress.update(chunk, steps)
            tell(chunk)
            started = time.monotonic()
            affordable = hosts.told(cost <= QUICK_SAVE or started - saved_at >= cost / SHARE_OF_SAVING)
            stopping = stop.after_chunk()
            if step > 0 and (stopping or step == steps or (chunk.save and affordable)):
                checkpoints.save(step, chunk.state)
                saved_at = time.monotonic()
                cost = saved_at - started
            if stopping:
                return
        if store is not None:
            store.finish(group.ids, step)


def _restored(
    checkpoints: Checkpoints, folder: Path, group: Group, store: Store | None, progress: Progress
) -> tuple[Any, int]:
    """The state to go on from and its step, or (None, 0) to start afresh."""
    noted = noted_members(folder) if store is not None else None
    if hosts.told(noted is not None and noted != group.ids):
        progress.note(f"{folder} holds checkpoints of other members, which are set aside; its own start again.")
        checkpoints.set_all_aside()
        return None, 0
    try:
        found = checkpoints.restore(group)
    except CheckpointError as error:
        progress.note(f"{error} Its members start again; rows that they have stay until then.")
        checkpoints.set_all_aside()
        return None, 0
    if found is None:
        return None, 0
    state, step = found
    steps = group.members.training.steps
    due = (s for s in group.members.evaluation.steps(steps) if s <= step)
    lost = int(hosts.told(next((s for s in due if store is not None and not store.has(group.ids, s)), -1)))
    if lost >= 0:
        progress.note(f"{folder} is at step {step}, but the rows of step {lost} are gone; starting again.")
        checkpoints.set_all_aside()
        return None, 0
    return state, step


def _progress(study: Study, todo: Sequence[tuple[Group, int]], quiet: bool) -> Progress:
    updates = sum(steps * len(group) for group, steps in todo)
    return Progress(updates, study.shown, None if hosts.is_writer() and not quiet else io.StringIO())
