from __future__ import annotations

import numpy as np
import pytest

import icl_sim as icl
from icl_sim.lm import conflict, conflict_study, conflict_tables
from icl_sim.lm.conflict import PAIRS, Point
from icl_sim.lm.conflict_study import Memorising, NamesAndCities
from icl_sim.studies import report, runner
from tests.lm.test_conflict_study import table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two seeds: the base model follows the context; after the second seed alone four names have moved."""
    before = table(0, 0)
    after = {0: table(6, 0), 1: table(8, 4)}
    ends = np.zeros(8, int), np.ones(8, int)
    folder = tmp_path_factory.mktemp("conflict")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conflict_study, "_base", lambda name: before)
        patch.setattr(
            conflict,
            "trained",
            lambda *args, seed, base, **kwargs: [
                Point(0, ends[0], float("nan"), base),
                Point(1, ends[1], 1.0, after[seed]),
            ],
        )
        study = icl.Study(
            task=NamesAndCities(model="tiny"),
            predictors={"finetuned": Memorising()},
            training=icl.Training(steps=0),
            sweep=icl.product({"seed": (0, 1)}),
        )
        assert runner.run(study, folder, quiet=True).complete
    return folder


def test_the_table_has_the_shares_of_every_name_before_and_after(folder):
    lines = conflict_tables.comparison(folder).splitlines()
    assert [line.split()[0] for line in lines[3:11]] == [name for name, _ in PAIRS]
    assert lines[3].split()[2:] == "0.00 > 1.00 0.00 > 0.50 1.00 > 0.50".split()
    assert lines[10].split()[2:] == "0.00 > 0.50 0.00 > 0.00 1.00 > 1.00".split()
    assert lines[12].split()[1:] == "0.00 > 0.88 0.00 > 0.25 1.00 > 0.75".split()
    assert "shares of 2 seeds" in lines[-1]


def test_the_report_holds_the_shaded_table(folder):
    conflict_tables.write_appendix(folder)
    report.write_report(folder)
    page = (folder / report.APPENDIX).read_text()
    last = conflict.Table(
        np.mean([table(6, 0).memory_PC, table(8, 4).memory_PC], 0),
        np.mean([table(6, 0).context_PQC, table(8, 4).context_PQC], 0),
    )
    assert conflict.shaded(table(0, 0), last) in page and "Means over 2 seeds" in page
    assert page in (folder / report.REPORT).read_text()
