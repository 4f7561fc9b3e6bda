from __future__ import annotations

import pandas as pd
import pytest

from icl_sim.studies.runner import simulate
from tests.studies import fake_engine
from tests.studies.fake_engine import STUDY, FakeEngine


@pytest.fixture
def engine(monkeypatch) -> FakeEngine:
    fake = FakeEngine()
    fake_engine.put(fake, monkeypatch)
    return fake


@pytest.fixture
def expected(engine) -> pd.DataFrame:
    table = simulate(STUDY)
    engine.chunks.clear()
    return table
