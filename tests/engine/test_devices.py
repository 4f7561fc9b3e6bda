"""The devices of the machine, and members spread over eight of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jaxlib.version
import pytest
from jax.sharding import AxisType

from icl_sim.engine import devices

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("members", "data", "shape"), [(1, 1, (1, 1)), (2, 1, (2, 1)), (3, 1, (2, 1)), (0, 1, (1, 1)), (3, 2, (1, 2))]
)
def test_a_mesh_has_no_more_devices_than_members_and_parts_of_batches(members, data, shape):
    mesh = devices.member_mesh(members, data)
    assert mesh.axis_names == ("member", "data") and mesh.devices.shape == shape
    assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)  # under explicit axes vmapped ensembles fail


def test_more_devices_than_there_are_cannot_share_a_batch():
    with pytest.raises(ValueError, match="3 devices are to share a batch, and there are 2"):
        devices.member_mesh(1, 3)


def test_a_backend_that_does_not_start_is_a_sentence(monkeypatch):
    def devices_of_none():
        raise RuntimeError("Backend 'nonsense' is not in the list of known backends: ['cpu', 'tpu'].")

    monkeypatch.setattr(jax, "devices", devices_of_none)
    with pytest.raises(ValueError, match="^jax has no devices here. Backend 'nonsense' is not"):
        devices.require()


@pytest.fixture
def asked(monkeypatch):
    """What jax's configuration is asked for."""
    calls = {}
    monkeypatch.setattr(jax.config, "update", calls.__setitem__)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return calls


def test_every_core_becomes_a_device_of_one_thread(asked):
    devices.use_all_cores()
    assert asked == {"jax_num_cpu_devices": len(os.sched_getaffinity(0))}
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_multi_thread_eigen=false"


def test_the_user_s_own_flags_stay(asked, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true --xla_dump_to=x")
    devices.use_all_cores(3)
    assert asked == {"jax_num_cpu_devices": 3}
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_multi_thread_eigen=true --xla_dump_to=x"
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=5")
    asked.clear()
    devices.use_all_cores(3)
    assert not asked


def test_a_large_model_has_its_products_by_eigen(asked, monkeypatch):
    flag = "--xla_cpu_experimental_ynn_fusion_type="
    monkeypatch.setattr("jaxlib.version.__version_info__", (0, 12, 0))
    devices.share_all_cores()
    assert not asked
    assert os.environ["XLA_FLAGS"] == f"{flag}LIBRARY_FUSION_TYPE_REDUCE"
    monkeypatch.setenv("XLA_FLAGS", flag)
    devices.share_all_cores()
    assert os.environ["XLA_FLAGS"] == flag
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr("jaxlib.version.__version_info__", (0, 13, 0))
    devices.share_all_cores()
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.skipif(jaxlib.version.__version_info__ >= devices._UNTRIED, reason="a jaxlib that the flag is not set for")
def test_the_flag_says_who_multiplies():
    flag, _, reduce = devices._EIGEN.removeprefix("--").partition("=")
    product = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((64, 64), "float32"))
    assert "ynn" in product.compile({flag: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}).as_text()
    assert "ynn" not in product.compile({flag: reduce}).as_text()


def test_a_file_of_flags_stays_alone(asked, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "flags.txt")
    devices.use_all_cores(3)
    devices.share_all_cores()
    assert os.environ["XLA_FLAGS"] == "flags.txt"
    assert asked == {"jax_num_cpu_devices": 3}


def test_it_is_too_late_once_the_backend_runs():
    assert len(jax.devices()) == 2
    with pytest.raises(RuntimeError):
        devices.use_all_cores(3)


@pytest.mark.fleet
def test_as_users_compile_it_eight_devices_chunks_and_moving_change_nothing():
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    script = [sys.executable, "-W", "error", "-m", "tests.engine.on_eight_devices"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["30", "Line", "16", "Transformer", "chunks", "shared", "moved"]
