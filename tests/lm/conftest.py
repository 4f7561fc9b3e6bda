from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def text_dir() -> Path:
    """The folder of real rows of text; the test skips where there is none."""
    folder = Path(os.environ.get("ICL_SIM_TEXT", ROOT.parent / "shared" / "data" / "text"))
    if not (folder / "sst2" / "train.jsonl").is_file():
        pytest.skip(f"needs rows of text: no sst2/train.jsonl in {folder} (ICL_SIM_TEXT names another folder)")
    return folder
