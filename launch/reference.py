"""Collects runs into a folder of pages: one with the tables and figures of each run, and an index of all.

    python launch/reference.py --out=docs/reference --head=docs/reference_head.md out/s0:errors,steps out/p_high

After the colon stand the figures to show, by the names that they have in the run's folder; without it, the first.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags

from icl_sim.studies.files import explained, write_atomically

if TYPE_CHECKING:
    from icl_sim.studies.report import Run
    from icl_sim.studies.verdicts import Verdict

_OUT = flags.DEFINE_string("out", None, "The folder to write to; it is made if it does not exist.", required=True)
_HEAD = flags.DEFINE_string("head", None, "A file whose text comes first in the index.")
INDEX = "README.md"


def main(argv: list[str]) -> int:
    try:
        if len(argv) < 2:
            raise ValueError("Which runs? Name the folders that launch/run.py wrote to.")
        out = Path(_OUT.value)
        head = Path(_HEAD.value).read_text() if _HEAD.value else "# Reference results\n"
        with explained(out):
            out.mkdir(parents=True, exist_ok=True)
            lines = [page(argument, out) for argument in argv[1:]]
            write_atomically(out / INDEX, f"{head.rstrip()}\n\n{index(lines)}\n".encode())
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(lines)} runs in {out}.")
    return 0


def page(argument: str, out: Path) -> tuple[str, ...]:
    """Writes the page of the run FOLDER or FOLDER:FIGURE,FIGURE; returns its line of the index."""
    from icl_sim.studies import report, summary

    folder, _, wanted = argument.partition(":")
    run = report.read(folder)
    found = report.write_report(folder)
    name = Path(folder).name
    images = {figure: _image(run, figure, out, name) for figure in _figures(run, wanted)}
    text = summary.to_markdown(run, found, images, level=1)
    write_atomically(out / f"{name}.md", text.encode())
    link = f"[{name}]({name}.md)"
    return link, run.config["name"], summary.size(run), summary.counted(found), _notable(found)


def index(lines: Sequence[tuple[str, ...]]) -> str:
    """The runs as a table."""
    heads = ("page", "study", "what stands behind it", "claims", "that fail")
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ("---",) * len(heads), *lines))


def _notable(found: Sequence[Verdict]) -> str:
    from icl_sim.studies.verdicts import FAILS

    return ", ".join(verdict.id for verdict in found if verdict.verdict == FAILS)


def _figures(run: Run, wanted: str) -> list[str]:
    """Names of the figures to show. Raises ValueError for one that the run does not have."""
    from icl_sim import names
    from icl_sim.studies import report

    drawn = [spec.name for spec in run.figures]
    chosen = [name for name in wanted.split(",") if name] or drawn[:1]
    for name in chosen:
        names.require(f"A figure of {run.folder / report.FIGURES}", name, drawn)
    return chosen


def _image(run: Run, figure: str, out: Path, name: str) -> str:
    """Copies a figure with a palette of 128 colours, a third of the bytes; returns its path as the page sees it."""
    from PIL import Image

    from icl_sim.studies import report

    packed = io.BytesIO()
    with Image.open(run.folder / report.FIGURES / f"{figure}.png") as image:
        # The rounds of k-means keep thin lines in their colour where translucent bands overlap in many.
        image.convert("RGB").quantize(128, kmeans=4).save(packed, "PNG", optimize=True)
    path = f"{name}_{figure}.png"
    write_atomically(out / path, packed.getvalue())
    return path


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
