"""Networks that start from layers of another run: its numbers, seed by seed, and what cannot be had."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import icl_sim as icl
from icl_sim.predictors import Frozen
from icl_sim.studies import codec
from icl_sim.studies.grafted import Grafted
from tests.engine.toys import Corners, Tower, assert_same

RATES = (0.01, 0.1)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grafted") / "source"
    icl.simulate(study(Tower(), sweep=icl.product({"training.learning_rate": RATES, "seed": (0, 4)})), folder)
    return folder


def study(network, **changes):
    return icl.Study(
        task=Corners(),
        predictors={"network": network},
        training=icl.Training(steps=6, batch_size=4),
        evaluation=icl.Evaluation(sequences=20, batch_size=20, points=1),
        **changes,
    )


def grafted(workdir, **changes):
    fields = {"network": Tower(), "paths": ("blocks/1",), "run": str(workdir), "where": "training.learning_rate=0.1"}
    return Grafted(**fields | changes)


@pytest.mark.fleet
def test_a_study_starts_from_what_the_run_left_and_frozen_it_stays(workdir, tmp_path):
    network = Frozen(network=grafted(workdir), names=("blocks/1",))
    seeds = icl.zip_({"seed": (7, 8), "predictors.network.network.of_seed": (4, 0)})
    ours = study(network, sweep=seeds)
    assert codec.fingerprint(codec.decode(codec.encode(ours))) == codec.fingerprint(ours)
    icl.simulate(ours, tmp_path / "run")
    for seed, of_seed in ((7, 4), (8, 0)):
        source = icl.trained(workdir, "network", {"training.learning_rate": 0.1, "seed": of_seed}).params
        found = icl.trained(tmp_path / "run", "network", {"seed": seed}).params
        assert_same(found["blocks"]["1"], source["blocks"]["1"])
        for name in ("kernel", "bias"):
            assert not np.array_equal(found["head"][name], source["head"][name])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"paths": ()}, "Grafted has no paths"),
        ({"run": "nowhere"}, "The run of Grafted is 'nowhere'; it must be the folder of a run"),
        ({"of_seed": 1}, "of_seed is 1; the run .* has 0, 4"),
        ({"where": ""}, "choose training.learning_rate of 0.01"),
        ({"where": "seed=0"}, "where is 'seed=0'; it must give each name one value, and leave seed to of_seed"),
        ({"where": "training.learning_rate=0.01,0.1"}, "it must give each name one value"),
        ({"predictor": "net"}, "The predictor is 'net'; allowed: network"),
    ],
)
def test_impossible_sources_are_refused(workdir, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        grafted(workdir, **changes).check()


def test_the_rest_is_initialised_as_ever(workdir):
    batch = jax.jit(lambda key: Corners().sample(key, 4))(jax.random.key(0))
    ours, plain = (
        jax.jit(one.init)(jax.random.key(seed), batch) for seed, one in ((1, grafted(workdir)), (1, Tower()))
    )
    assert not np.array_equal(ours["blocks"]["1"]["kernel"], plain["blocks"]["1"]["kernel"])
    assert_same((ours["head"], ours["blocks"]["0"]), (plain["head"], plain["blocks"]["0"]))
