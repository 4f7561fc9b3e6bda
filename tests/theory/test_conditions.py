"""The bounds as predictors of a study without sequences: the same numbers, resumable, and mistakes are sentences."""

from __future__ import annotations

import dataclasses

import pytest

import icl_sim as icl
from icl_sim.predictors import Gated, KernelCopy, Transformer
from icl_sim.studies import runner
from icl_sim.studies.plan import plan
from icl_sim.tasks import ClassMixture
from icl_sim.theory import (
    Conditions,
    InContextBest,
    InContextLower,
    InContextUpper,
    InWeightUpper,
    OnlineGated,
    bounds,
)

TASK = Conditions(label_noise=0.05, distance_range=3.0, temperature=0.5, floor=0.02)
PREDICTORS = {
    "weight": InWeightUpper(constant=10.0),
    "union": InWeightUpper(num_inputs=10.0, delta=0.1),
    "upper": InContextUpper(),
    "best": InContextBest(),
    "lower": InContextLower(),
    "drawn": InContextLower(factor=2.0),
}
SWEEP = icl.product({"task.exposures": (1.0, 64.0, 4096.0), "task.irrelevant": (0, 3, 8)})


def study(task=TASK, predictors=None, **changes):
    predictors = predictors or {name: p for name, p in PREDICTORS.items() if name != "union"}
    fields = {"task": task, "predictors": predictors, "training": icl.Training(steps=0), "sweep": SWEEP} | changes
    return icl.Study(**fields)


def expected(name, n, k):
    similarity = {"distance_range": 3.0, "temperature": 0.5, "floor": 0.02}
    return {
        "weight": lambda: bounds.in_weight_upper(n, label_noise=0.05, constant=10.0),
        "union": lambda: bounds.in_weight_upper(n, label_noise=0.05, num_inputs=10.0, delta=0.1),
        "upper": lambda: bounds.in_context_upper(k, 8, floor=0.02),
        "best": lambda: bounds.in_context_best(k, 8, **similarity),
        "lower": lambda: bounds.in_context_lower(k, 8, **similarity),
        "drawn": lambda: bounds.in_context_lower(k, 8, factor=2.0, **similarity),
    }[name]()


def check(rows, names):
    assert len(rows) == 9 * len(names) and set(rows["predictor"]) == set(names)
    assert (rows["step"] == 0).all()
    assert set(rows["eval_set"]) == {"summary"} and set(rows["metric"]) == {"cross_entropy"}
    for row in rows.itertuples():
        n, k = row[rows.columns.get_loc("task.exposures") + 1], row[rows.columns.get_loc("task.irrelevant") + 1]
        assert row.value == pytest.approx(expected(row.predictor, n, k), rel=1e-6), (row.predictor, n, k)


def test_rows_are_the_bounds():
    check(icl.simulate(study()), set(PREDICTORS) - {"union"})
    check(icl.simulate(study(predictors={"union": PREDICTORS["union"]})), {"union"})


def test_a_value_by_hand():
    rows = icl.simulate(study(Conditions(exposures=400.0), {"p": InWeightUpper(constant=10.0)}, sweep=icl.product({})))
    assert rows["value"].tolist() == [0.5]  # 10 / sqrt(400), no label noise


def test_training_steps_train_nothing():
    rows = icl.simulate(study(training=icl.Training(steps=50)))
    check(rows, set(PREDICTORS) - {"union"})


def test_a_finished_run_calculates_nothing_again(tmp_path, monkeypatch):
    one = study()
    groups = len(plan(one).groups)
    assert runner.run(one, tmp_path, quiet=True) == runner.Status(
        finished=True, groups=groups, simulated=groups, complete=True
    )
    check(icl.load(tmp_path), set(PREDICTORS) - {"union"})

    def again(*args, **kwargs):
        raise AssertionError("simulated again")

    monkeypatch.setattr(runner, "simulate_group", again)
    assert runner.run(one, tmp_path, quiet=True) == runner.Status(
        finished=True, groups=groups, simulated=0, complete=True
    )
    check(icl.load(tmp_path), set(PREDICTORS) - {"union"})


def test_a_run_that_was_cut_goes_on_with_the_groups_it_lacks(tmp_path, monkeypatch):
    one, calculated = study(), []
    simulate_group = runner.simulate_group

    def killed_at(number):
        def simulate(group, **kwargs):
            calculated.append(group.ids)
            if len(calculated) == number:
                raise KeyboardInterrupt
            return simulate_group(group, **kwargs)

        return simulate

    monkeypatch.setattr(runner, "simulate_group", killed_at(3))
    with pytest.raises(KeyboardInterrupt):
        runner.run(one, tmp_path, quiet=True)
    before = list(calculated[:2])
    calculated.clear()
    monkeypatch.setattr(runner, "simulate_group", killed_at(-1))
    assert runner.run(one, tmp_path, quiet=True).finished
    assert calculated and not set(calculated) & set(before)
    check(icl.load(tmp_path), set(PREDICTORS) - {"union"})


# ------------------------------------------------------------------------------- mistakes


LEARNERS = {type(one).__name__: one for one in (Transformer(), KernelCopy(), Gated(), OnlineGated())}


@pytest.mark.parametrize("name", LEARNERS)
def test_what_learns_from_sequences_is_refused(name):
    with pytest.raises(ValueError, match=f"Conditions makes no sequences, and {name} defines no calculate"):
        icl.simulate(study(predictors={"p": LEARNERS[name]}))


def test_conditions_have_no_sequences(key):
    with pytest.raises(ValueError, match="no sequences .*must be bounds, such as 'in_weight_upper'"):
        Conditions().sample(key, 4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"irrelevant": 9}, "irrelevant is 9 where length is 8; allowed: whole numbers from 0 to length."),
        ({"irrelevant": 3, "context_length": 2}, "irrelevant is 3 where length is 2"),
        ({"irrelevant": 0.5}, "irrelevant is 0.5; .*whole number"),
        ({"floor": 2.0}, "floor is 2.0; allowed: numbers between 0 and 1"),
        ({"label_noise": -0.1}, "label_noise is -0.1; allowed: numbers from 0 to 1"),
        ({"exposures": -1.0}, "exposures is -1.0; allowed: numbers of at least 0"),
        ({"context_length": 0}, "length is 0"),
        ({"temperature": 0.0}, "temperature is 0.0; allowed: finite numbers above 0"),
        ({"distance_range": -1.0}, "distance_range is -1.0; allowed: finite numbers of at least 0"),
    ],
)
def test_impossible_conditions_are_refused_by_plan(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(study(Conditions(**changes), sweep=icl.product({})))


def test_the_sentence_names_the_point_of_the_sweep():
    with pytest.raises(ValueError, match=r"\(The predictor 'best', task.irrelevant=9\.\)"):
        plan(study(predictors={"best": InContextBest()}, sweep=icl.product({"task.irrelevant": (0, 9)})))


@pytest.mark.parametrize(
    ("predictor", "sentence"),
    [
        (InWeightUpper(num_inputs=10.0), "delta is 0.0; allowed: numbers between 0 and 1, both excluded"),
        (InWeightUpper(delta=0.1), "num_inputs is 0.0; allowed: finite numbers of at least 1"),
        (InWeightUpper(num_inputs=10.0, delta=2.0), "delta is 2.0"),
        (InWeightUpper(constant=-1.0), "constant is -1.0"),
        (InContextLower(factor=0.0), "factor is 0.0; it must be positive and finite"),
        (InContextLower(factor=float("inf")), "factor is inf"),
    ],
)
def test_impossible_bounds_are_refused_by_plan(predictor, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(study(predictors={"p": predictor}))


def test_bounds_with_and_without_all_inputs_at_once_stand_side_by_side():
    """They are of one structure, and so of one group: what holds for one member must not be asked of another."""
    check(icl.simulate(study(predictors=PREDICTORS)), set(PREDICTORS))


def test_bounds_need_conditions():
    one = study(ClassMixture(), {"p": InWeightUpper()}, sweep=icl.product({}))
    with pytest.raises(ValueError, match="InWeightUpper"):
        icl.simulate(dataclasses.replace(one, evaluation=icl.Evaluation(sequences=2, batch_size=2)))
