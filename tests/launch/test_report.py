"""launch/report.py as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("plotly")

from tests.launch.conftest import load
from tests.studies import report_runs as runs

launch_report = load("report")
MEMBER = {"predictor": "transformer", "point": {"seed": 0}}
ROOT = Path(__file__).resolve().parent.parent.parent
STUDY_FILE = """
import types
from icl_sim.studies.claims import Claim, Value, below

def get_config(arg="full"):
    measure = Value(predictor="transformer", metric="icl_error_low", where={"task.num_sequences": 64})
    claim = Claim(id=arg, statement="s", source="x", measure=measure, condition=below(1.0), min_steps=1)
    return types.SimpleNamespace(claims=(claim,))
"""


def call(*arguments):
    command = [sys.executable, str(ROOT / "launch" / "report.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_prints_verdicts_and_writes_the_report(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    runs.write(folder, runs.table(sizes=(64,), predictors=("transformer",)))
    (tmp_path / "study.py").write_text(STUDY_FILE)
    done = call(f"--workdir={folder}", f"--config={tmp_path / 'study.py'}:quick")
    assert done.returncode == 0, done.stderr
    assert "quick  holds" in done.stdout and "1 claim: 1 holds" in done.stdout
    assert [v["id"] for v in json.loads((folder / "verdicts.json").read_text())] == ["quick"]
    assert (folder / "report.html").exists()


def test_a_missing_folder_is_a_sentence(tmp_path, nursery):
    done = nursery.call("report.py", f"--workdir={tmp_path / 'none'}")
    assert done.returncode == 1 and "There is no folder" in done.stderr and "Traceback" not in done.stderr


def test_claims_of_a_study_file(tmp_path):
    (tmp_path / "study.py").write_text(STUDY_FILE)
    assert [claim.id for claim in launch_report.claims_of(f"{tmp_path}/study.py")] == ["full"]
    with pytest.raises(ValueError, match="no study file"):
        launch_report.claims_of(f"{tmp_path}/other.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="get_config"):
        launch_report.claims_of(f"{tmp_path}/empty.py")


def test_what_the_library_warns_of_stands_alone(tmp_path):
    runs.write(tmp_path, runs.table(sizes=(64,), predictors=("transformer",)), members=[MEMBER])
    line = {"ids": [0], "step": 0, "measures": [["default", "error", [0.5]], ["summary", "icl_error_low", [0.5]]]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "results.parquet").write_text("damaged")
    done = call(f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"\n{tmp_path}/results.parquet is damaged (" in f"\n{done.stderr}"
