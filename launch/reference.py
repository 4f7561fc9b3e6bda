"""Collects finished runs into one page of tables, with the command of each run and its verdicts.

python launch/reference.py --out=docs/reference.md --head=docs/reference_head.md out/s0 out/p_high
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

_OUT = flags.DEFINE_string("out", None, "The Markdown file to write.", required=True)
_HEAD = flags.DEFINE_string("head", None, "A file whose text comes first.")


def main(argv: list[str]) -> int:
    from icl_sim.studies import report, summary
    from icl_sim.studies.store import write_atomically

    try:
        if len(argv) < 2:
            raise ValueError("Which runs? Name the folders that launch/run.py wrote to.")
        runs = [report.read(folder) for folder in argv[1:]]
        sections = [summary.to_markdown(run, report.write_verdicts(run)) for run in runs]
        head = Path(_HEAD.value).read_text() if _HEAD.value else "# Reference results\n"
        write_atomically(Path(_OUT.value), "\n".join([head, *sections]).encode())
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(runs)} runs in {_OUT.value}.")
    return 0


if __name__ == "__main__":
    app.run(main)
