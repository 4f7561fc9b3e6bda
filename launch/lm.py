"""Compares in-context learning with finetuning in a pretrained language model, and prints a table of it last.

    python launch/lm.py --config=configs/lm/sst2.py:quick --workdir=DIR [--config.task.model=FOLDER]
                        [--config.task.folder=FOLDER] [--sweep="seed=1..7"] [--dry_run]

A study as any other: the flags are those of launch/run.py, and the same line again goes on where the last run stopped.
Here all cores work on one model, and the report has a table of the settings and one of every query, or, of
configs/lm/conflict.py, one of every name.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags  # noqa: E402

from launch import endings, run, study_flags  # noqa: E402

flags.adopt_module_key_flags(run)


def main(argv: list[str]) -> int:
    return run.main(argv, spread=False, report=_report)


def _report(workdir: str) -> None:
    from icl_sim.lm import conflict_tables, tables
    from icl_sim.studies import report

    kinds = {"icl_sim.lm.study:LabelledText": tables, "icl_sim.lm.conflict_study:NamesAndCities": conflict_tables}
    told = kinds.get(report.read(workdir).task_kind or "")
    if told is not None:
        told.write_appendix(workdir)
    run.write_report(workdir)
    if told is not None:
        endings.say(f"\n{told.comparison(workdir)}")


if __name__ == "__main__":
    app.run(main, flags_parser=study_flags.parse_flags)
