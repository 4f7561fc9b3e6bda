"""A few lines of arithmetic in the place of the engine, whose every chunk can be made to fail."""

from __future__ import annotations

import pickle

import numpy as np

from icl_sim.engine.checkpoints import CheckpointError
from icl_sim.engine.settings import Evaluation, Training
from icl_sim.engine.simulate import Chunk
from icl_sim.predictors import Transformer
from icl_sim.studies import runner
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import product
from icl_sim.tasks import ClassMixture, Prototypes

STEPS, CHUNK = 40, 10
STUDY = Study(
    task=ClassMixture(inputs=Prototypes(dim=8)),
    predictors={"a": Transformer(depth=1, width=8), "b": Transformer(depth=2, width=8)},
    training=Training(steps=STEPS, batch_size=4),
    evaluation=Evaluation(sequences=8, batch_size=8, points=4),
    sweep=product({"task.num_sequences": [64, 256], "seed": range(2)}),
)


class Killed(BaseException):
    """The process ends here."""


class FakeEngine:
    """Arithmetic in the place of training: the value of member i after step s is a function of both.

    Attributes:
      chunks: (first member, step) of every chunk simulated.
      saves: the same of every checkpoint saved.
      on_chunk, on_save: called with (first member, step); may raise.
    """

    def __init__(self):
        self.chunks, self.saves = [], []
        self.on_chunk = self.on_save = lambda member, step: None

    def simulate(self, group, *, program=None, state=None, step=0):
        steps = group.members.training.steps
        state = np.asarray(group.ids, float) if state is None else state
        evaluated = group.members.evaluation.steps(steps)
        stops = sorted({*range(CHUNK, steps, CHUNK), *evaluated, steps} - ({0} if step else set()))
        for stop in (s for s in stops if s > step or s == 0):
            for s in range(step, stop):
                state = np.sin(state * 1.7 + s)
            updates, step = (stop - step) * len(group), stop
            self.chunks.append((group.ids[0], step))
            measures = {("summary", "icl_error"): state.copy()} if step in evaluated else None
            self.on_chunk(group.ids[0], step)
            save = step % CHUNK == 0 or step == steps
            yield Chunk(step, measures, updates, 1e-3, save, lambda state=state: state)

    def checkpoints(self, folder):
        return FakeCheckpoints(self, folder)


class FakeCheckpoints:
    """One pickle per step; a file that cannot be read is corrupted."""

    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, step, state):
        self.engine.on_save(int(self.folder.name.partition("-")[0]), step)
        (self.folder / f"{step:06d}").write_bytes(pickle.dumps((state, step)))
        self.engine.saves.append((int(self.folder.name.partition("-")[0]), step))

    def restore(self, group):
        for path in sorted(self.folder.glob("[0-9]*"), reverse=True):
            try:
                return pickle.loads(path.read_bytes())
            except pickle.UnpicklingError:
                raise CheckpointError(f"The checkpoint {path} is damaged.") from None
        return None

    def set_all_aside(self):
        for path in self.folder.glob("[0-9]*"):
            path.unlink()


def put(fake, monkeypatch):
    monkeypatch.setattr(runner, "laid_out", lambda group, layout=None: [(group, None)])
    monkeypatch.setattr(runner, "simulate_group", fake.simulate)
    monkeypatch.setattr(runner, "Checkpoints", fake.checkpoints)


def raise_at(group, step, error):
    def hook(*at):
        if at == (group, step):
            raise error

    return hook
