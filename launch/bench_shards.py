"""What dividing a study costs: the same groups simulated as one run and as shards, one after the other.

Both plan, lock, evaluate, save, and make the table, in one process; each shard has a group of its own, so that both
compile the same programs. What is left to differ is what shards do beyond process start and compilation.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

SHARDS = 4


def measure(members: int, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of both, in turns, and by what share the shards take longer; medians over rounds."""
    from icl_sim.studies.plan import plan
    from icl_sim.studies.rehearsal import rehearse

    study = _study(members, steps)
    rehearse(plan(study))  # traces, which the first of two runs in one process would pay for both
    pairs = [(_seconds(study, 1), _seconds(study, SHARDS)) for _ in range(rounds)]
    return {
        "shards": SHARDS,
        "updates": plan(study).updates,
        "seconds_whole": statistics.median(whole for whole, _ in pairs),
        "seconds_sharded": statistics.median(sharded for _, sharded in pairs),
        "overhead": statistics.median(sharded / whole - 1 for whole, sharded in pairs),
        "overheads": [sharded / whole - 1 for whole, sharded in pairs],
    }


def _study(members: int, steps: int) -> Any:
    import icl_sim as icl
    from icl_sim.predictors import Transformer
    from icl_sim.tasks import ClassMixture

    return icl.Study(
        task=ClassMixture(),
        predictors={"transformer": Transformer()},
        training=icl.Training(steps=steps),
        evaluation=icl.Evaluation(sequences=100, points=4),
        sweep=icl.product({"task.context_length": range(1, SHARDS + 1), "seed": range(members)}),
    )


def _seconds(study: Any, shards: int) -> float:
    from icl_sim.studies.runner import run
    from icl_sim.studies.shards import Shard

    parts = [None] if shards == 1 else [Shard(of=shards, number=number) for number in range(1, shards + 1)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for part in parts:
            if not run(study, Path(folder), shard=part, quiet=True).finished:
                raise KeyboardInterrupt  # a signal, which a run answers by stopping
        return time.perf_counter() - started
