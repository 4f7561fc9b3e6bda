"""How many programs the training of thousands of members compiles."""

from __future__ import annotations

import logging
import re

import jax
import numpy as np
import pytest

from icl_sim.engine.layout import laid_out
from icl_sim.engine.settings import Evaluation, Training
from icl_sim.studies.plan import plan
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import product
from tests.engine.toys import Corners, Line


@pytest.mark.fleet
def test_two_thousand_members_of_twelve_structures_compile_twelve_training_programs(caplog):
    study = Study(
        task=Corners(),
        predictors={"line": Line()},
        training=Training(steps=2),
        evaluation=Evaluation(sequences=2, batch_size=2, points=1),
        sweep=product(
            {"task.classes": [2, 3, 4], "training.batch_size": [1, 2, 3, 4], "task.shift": np.arange(167) / 167}
        ),
    )
    planned = plan(study)
    assert len(planned.groups) == 12 and len(planned.entries) == 2004
    trained = 0
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        for group in planned.groups:
            for wave, program in laid_out(group):
                for step in range(2):
                    jax.block_until_ready(program.train(program.start(), step, 2, program.phases[0]))
                trained += len(wave)
    assert trained == 2004
    compiled = re.findall(r"Finished XLA compilation of jit\((\w+)\)", caplog.text)
    assert compiled.count("train") == 12 and compiled.count("start") <= 12
