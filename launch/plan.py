"""Says what a study will cost before anything is spent: members, programs, operations, memory, time.

    python launch/plan.py --config=configs/icl_iwl/p_high.py [--config.task.p_high=0.5] [--sweep="seed=0..4"]
    python launch/plan.py --config=... --on=v5e-256 [--utilisation=0.1]   # the time on an accelerator, or many
    python launch/plan.py --config=... --trial                           # the time here, by trying every group
    python launch/plan.py --config=... --shards=8 --on=h100              # as 8 jobs with an accelerator each

The study is named as for launch/run.py. But for --trial nothing is compiled or computed.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags, logging  # noqa: E402

from launch import endings, study_flags  # noqa: E402

flags.adopt_module_key_flags(study_flags)
_SHARDS = flags.DEFINE_integer("shards", 1, "Of how many jobs, as --shard=i/n of launch/run.py divides the study.")
_ON = flags.DEFINE_string("on", "", "The accelerator of each: v4, v5e, v5p, v6e, a100 or h100, or many, as v5e-256.")
_UTILISATION = flags.DEFINE_float("utilisation", None, "The share of the accelerator's peak to reckon with.")
_TRIAL = flags.DEFINE_bool("trial", False, "Train some of every group, 20 s in all beside compiling, and extrapolate.")

SECONDS = 20.0  # of a trial, beyond compiling


def main(argv: list[str]) -> int:
    logging.set_verbosity(logging.WARNING)
    return endings.ended(lambda: _plan(argv))


def _plan(argv: list[str]) -> None:
    endings.require_flags_only(argv)
    study_flags.require_config()
    if _UTILISATION.value is not None and not _ON.value:
        raise ValueError("--utilisation is that of an accelerator; name it with --on, as in --on=v5e.")
    gc.disable()  # tracing makes many objects that live on: going through them takes a sixth of the time

    from icl_sim.engine import accelerators, devices

    devices.use_all_cores()
    from icl_sim.studies import estimate
    from icl_sim.studies.plan import plan

    accelerator, chips = accelerators.parse(_ON.value) if _ON.value else (None, 0)
    planned = plan(study_flags.study())
    found = estimate.costs(planned)
    utilisation = estimate.UTILISATION if _UTILISATION.value is None else _UTILISATION.value
    told = [estimate.to_text(found, _SHARDS.value)]
    if accelerator:
        told.append(estimate.time_on(found, accelerator, chips, _SHARDS.value, utilisation))
    print("\n".join([*told, *planned.notes]), flush=True)
    if _TRIAL.value:
        gc.enable()
        seconds = SECONDS / max(1, sum(cost.steps > 0 for cost in found))
        trials = [estimate.tried(cost, seconds) if cost.steps else None for cost in found]
        print(estimate.time_here(found, trials, _SHARDS.value))


if __name__ == "__main__":
    app.run(main, flags_parser=study_flags.parse_flags)
