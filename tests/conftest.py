"""What every test runs under: two CPU devices, no silent broadcasting between ranks, no key used twice."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

# Compiling is most of what tests take. Without optimising it takes a fifth, and a sixth less again if programs are not
# cut for several threads, since a worker has one core. Flags of one's own win: to test what users run,
# XLA_FLAGS="--xla_backend_optimization_level=3 --xla_cpu_use_fusion_emitters=true".
QUICKLY = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):  # later ones know no other emitters, and end the process at a flag unknown to them
    QUICKLY += " --xla_cpu_use_fusion_emitters=false"

# Before any test can start the backend. Two devices are the least that can show members spread wrongly.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
with pytest.MonkeyPatch.context() as patch:  # not what tests start: commands are compiled as their users have them
    patch.setenv("XLA_FLAGS", f"{QUICKLY} {os.environ.get('XLA_FLAGS', '')}")
    # With a thread per device, devices that wait for one another or for a task of the same pool wait for ever.
    patch.setenv("NPROC", "8")
    jax.devices()

# Traces are many objects that live on: to go through all of them again and again takes a fifteenth of the time.
gc.set_threshold(200_000, 20, 100)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def compiled_programs_are_kept(request, tmp_path_factory):
    """A third of what takes long to compile was compiled before, for another test or worker; the second time, all."""
    kept = getattr(request.config, "cache", None)  # of pytest, in .pytest_cache
    folder = kept.mkdir("compiled") if kept else tmp_path_factory.mktemp("compiled")
    compilation_cache.reset_cache()  # modules may have compiled without
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def key() -> jax.Array:
    """A random key; `fold_in` or `split` it for more."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def omniglot_dir() -> Path:
    """The folder of the real Omniglot images; the test skips where there is none."""
    folder = Path(os.environ.get("ICL_SIM_OMNIGLOT", ROOT.parent / "shared" / "data" / "omniglot"))
    if not any(folder.glob("images_background.*")):
        pytest.skip(f"needs the Omniglot images: none in {folder} (ICL_SIM_OMNIGLOT names another folder)")
    return folder
