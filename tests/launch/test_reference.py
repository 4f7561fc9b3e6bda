"""launch/reference.py as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("plotly")

from PIL import Image

from tests.studies import report_runs as runs

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments):
    command = [sys.executable, str(ROOT / "launch" / "reference.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


@pytest.mark.fleet
def test_a_page_a_run_with_its_figures_and_an_index_of_all(tmp_path, nursery):
    folder = tmp_path / "made_up"
    folder.mkdir()
    config = {"task": {"kind": "class_mixture"}, "name": "Made up", "description": "A test."}
    runs.write(folder, runs.table(), config=config, command="python x", versions={"jax": "1.2.3"})
    (tmp_path / "head.md").write_text("# Head\n")
    out = tmp_path / "deep" / "pages"
    done = call(f"--out={out}", f"--head={tmp_path / 'head.md'}", f"{folder}:errors,gate_curves")
    assert done.returncode == 0, done.stderr
    text = (out / "README.md").read_text()
    line = "| [made_up](made_up.md) | Made up | 27 members, 3 seeds, 100 steps | 0 hold"
    assert text.startswith("# Head\n") and line in text
    page = (out / "made_up.md").read_text()
    assert "![Made up](made_up_errors.png)\n\n![Made up](made_up_gate_curves.png)" in page
    with Image.open(out / "made_up_errors.png") as packed, Image.open(folder / "figures" / "errors.png") as image:
        assert packed.size == image.size

    wrong = nursery.call("reference.py", f"--out={out}", f"{folder}:eror")
    assert wrong.returncode == 1 and "allowed: errors, " in wrong.stderr and "Traceback" not in wrong.stderr


def test_what_is_missing_is_a_sentence(tmp_path, nursery):
    for arguments in ([], [tmp_path / "none"]):
        done = nursery.call("reference.py", f"--out={tmp_path}", *arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
