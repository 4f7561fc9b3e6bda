"""The folder between runs is private, and what is compiled goes where this CPU finds it again."""

from __future__ import annotations

import jax
import pytest

from icl_sim.engine import cache


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in (cache.VARIABLE, "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    calls = {}
    monkeypatch.setattr(jax.config, "update", calls.__setitem__)
    return calls


def test_a_folder_of_the_user_alone_is_made_and_used(home, asked):
    assert cache.folder() == home / "icl_sim"
    assert (home / "icl_sim").stat().st_mode & 0o777 == 0o700
    cache.keep_compiled()
    assert asked["jax_compilation_cache_dir"].startswith(str(home / "icl_sim" / "compiled"))
    assert asked["jax_compilation_cache_max_size"] == cache.MOST_BYTES


def test_a_folder_that_others_can_write_to_is_not_read(home, asked):
    (home / "icl_sim").mkdir()
    (home / "icl_sim").chmod(0o777)
    cache.keep_compiled()
    assert cache.folder() is None and not asked


@pytest.mark.parametrize("value", ["off", "/proc/nowhere"])
def test_no_folder_is_no_cache(value, asked, monkeypatch, caplog):
    monkeypatch.setenv(cache.VARIABLE, value)
    cache.keep_compiled()
    assert cache.folder() is None and not asked
    assert ("ICL_SIM_CACHE is '/proc/nowhere'" in caplog.text) == (value != "off")


def test_what_the_user_told_jax_counts(asked, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    cache.keep_compiled()
    assert not asked
