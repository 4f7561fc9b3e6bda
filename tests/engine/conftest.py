"""Programs are compiled once per group and module, however often the group is simulated."""

from __future__ import annotations

import pytest

from icl_sim.engine.program import Program


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    programs = {}

    def program(group, mesh):
        if (id(group), mesh) not in programs:
            programs[id(group), mesh] = Program(group, mesh), group  # kept, lest another group be given its id
        return programs[id(group), mesh][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("icl_sim.engine.simulate.Program", program)
        yield
