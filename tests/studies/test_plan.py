"""Which members a study has, and which of them share a program."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from icl_sim.engine.settings import Training
from icl_sim.predictors import Transformer
from icl_sim.studies.claims import Claim, Value
from icl_sim.studies.figures import Lines
from icl_sim.studies.plan import plan, refuse_overridden
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import chain, product
from icl_sim.tasks import ClassMixture, Regression
from icl_sim.tasks.regression import Curriculum
from icl_sim.types import Predictor, setting


@setting
class Silent(Predictor):
    """Has nothing to train."""

    def apply(self, params, batch, *, record=False):
        raise AssertionError("Planning asks for no answers.")


def study(sweep, **changes) -> Study:
    two = {"big": Transformer(), "silent": Silent()}
    return Study(**{"task": ClassMixture(), "predictors": two, "sweep": sweep} | changes)


def test_leaves_share_a_program_and_structure_does_not():
    groups = plan(study(product({"task.context_length": [1, 2], "task.p_high": [0.5, 0.9], "seed": range(3)}))).groups
    assert [len(group) for group in groups] == [6, 6, 6, 6]  # two predictors times two lengths
    first = groups[0].members
    assert first.task.context_length == 1
    np.testing.assert_allclose(first.task.p_high, [0.5] * 3 + [0.9] * 3)
    assert list(first.seed) == [0, 1, 2] * 2


def test_members_are_numbered_by_predictor_name_whatever_the_order_given():
    sweep = product({"seed": range(2)})
    one = plan(study(sweep)).entries
    other = plan(study(sweep, predictors={"silent": Silent(), "big": Transformer()})).entries
    assert [entry.id for entry in one] == [0, 1, 2, 3]
    assert [(e.predictor, e.point) for e in one] == [(e.predictor, e.point) for e in other]


def test_points_name_the_seed_and_the_study_fills_what_a_point_leaves_out():
    entries = plan(study(chain({"task.p_high": [0.5]}, {"seed": [1]}), seed=7)).entries
    assert [entry.point for entry in entries[:2]] == [
        {"task.p_high": 0.5, "seed": 7},
        {"task.p_high": 0.9, "seed": 1},
    ]


def test_a_setting_of_one_predictor_does_not_multiply_the_others():
    entries = plan(study(product({"predictors.big.width": [32, 64], "seed": [0, 1]}))).entries
    assert [e.point["predictors.big.width"] for e in entries] == [32, 32, 64, 64, None, None]


def test_a_baseline_is_trained_on_its_own_task_and_evaluated_on_the_study_s():
    sweep = product({"task.p_relevant": [0.5, 0.9]})
    entries = plan(study(sweep, trained_on={"big": {"p_relevant": 0.0}})).entries
    assert [e.member.task.p_relevant for e in entries] == [0.0, 0.0, 0.5, 0.9]
    assert [e.member.eval_task.p_relevant for e in entries] == [0.5, 0.9] * 2


def test_an_impossible_member_is_named_with_its_point():
    with pytest.raises(ValueError, match=r"p_high is 1\.2.*'big', task\.p_high=1\.2, seed=0"):
        plan(study(product({"task.p_high": [0.9, 1.2], "seed": range(2)})))
    with pytest.raises(ValueError, match=r"num_sequences is 4.*at least 10"):
        plan(study(product({"task.num_sequences": [4]})))


def test_thousands_of_members_plan_in_seconds():
    many = study(product({"task.num_sequences": [2**6, math.inf], "seed": range(500)}))
    started = time.process_time()
    assert len(plan(many).entries) == 2000
    assert time.process_time() - started < 5


def test_the_plan_describes_itself():
    planned = plan(study(product({"seed": range(3)}), training=Training(steps=10)))
    assert planned.updates == 30 and planned.updates_before(1) == 30  # the other predictor has nothing to train
    told = planned.describe()
    assert "6 members, 30 updates" in told and "3 x big, 10 steps each" in told and "nothing to train" in told


def test_what_is_hardly_meant_is_noted_once():
    late = Regression(dim=7, context_length=20, curriculum=Curriculum(dims=5, pairs=11, pairs_step=4, every=10))
    at = {"task": late, "training": Training(steps=30, warmup_steps=31)}
    warm_up, curriculum = plan(study(product({"seed": range(2)}), **at)).notes
    assert warm_up.startswith("Note: training.warmup_steps is 31 and training.steps 30: ")
    assert curriculum.startswith("Note: task.curriculum is complete after 30 updates, and training.steps is 30: ")
    assert plan(study(product({}), **at)).describe().endswith(curriculum)
    assert not plan(study(product({}), task=late, training=Training(steps=31, warmup_steps=31))).notes
    fixed = late.replace(curriculum=Curriculum(dims=5, dims_step=0))
    assert "after inf updates" in plan(study(product({}), task=fixed)).notes[0]


def test_figures_and_claims_that_cannot_be_read_are_refused_before_training():
    wrong = Lines(name="a", title="A", x="task.p_hihg")
    with pytest.raises(ValueError, match="Did you mean 'task.p_high'"):
        plan(study(product({"task.p_high": [0.5, 0.9]}), figures=[wrong]))
    with pytest.raises(ValueError, match="A Lines has quantities"):
        plan(study(product({}), figures=[Lines(name="a", title="A", quantities=("error",))]))
    with pytest.raises(ValueError, match="A Claim has condition = 3; it must be Range"):
        claim = Claim(id="a", statement="s", source="x", measure=Value(predictor="p", metric="m"), condition=3)
        plan(study(product({}), claims=[claim]))


def test_what_is_swept_cannot_be_overridden_too():
    swept = study(product({"task.p_high": [0.5], "task.inputs.noise": [0.0]}))
    refuse_overridden(swept, ["task.p_relevant", "training.steps"])
    for name in ("task.p_high", "task.inputs"):
        with pytest.raises(ValueError, match=rf"{name} .*swept by this study.*--sweep"):
            refuse_overridden(swept, [name])
    with pytest.raises(ValueError, match="sweep cannot be overridden"):
        refuse_overridden(swept, ["sweep"])


def test_the_seed_of_the_data_is_the_study_s_unless_the_task_has_its_own():
    members = plan(study(product({"seed": [3, 4]}), predictors={"big": Transformer()})).groups[0].members
    for seeds in (members.seed, members.task.seed, members.eval_task.seed):
        assert list(seeds) == [3, 4]
    fixed = plan(study(product({"seed": [3, 4]}), task=ClassMixture(seed=9))).groups[0].members
    assert list(fixed.task.seed) == list(fixed.eval_task.seed) == [9, 9]
