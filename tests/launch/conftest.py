"""Commands that the tests start share what they compile and, where many are started, what they import."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
from absl import flags

from tests.conftest import QUICKLY

ROOT = Path(__file__).resolve().parents[2]
# Imports what takes long once, and then runs a script in a fork of itself for every line of arguments: a fork of a
# process of one thread, in which jax has not touched a device, is as good as a new process.
NURSERY = """
    import gc, json, os, runpy, sys
    import flax.nnx, jax, optax
    from icl_sim.predictors import PREDICTORS
    from icl_sim.studies import codec, runner, sweep
    from orbax.checkpoint.experimental import v1

    assert len(os.listdir("/proc/self/task")) == 1
    gc.freeze()  # else every fork goes through all that was imported when it ends, for half a second
    for line in sys.stdin:
        env, script, out, err, *args = json.loads(line)
        if (child := os.fork()) == 0:
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), number)
            os.environ.update(env)
            sys.argv = [script, *args]
            runpy.run_path(script, run_name="__main__")
            sys.exit()
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def load(name: str) -> ModuleType:
    """A script of `launch/` to call functions of. A process has one flag of a name, and scripts have flags of the same
    names: the script's are taken away again."""
    others = set(flags.FLAGS)
    module = importlib.import_module(f"launch.{name}")
    for flag in set(flags.FLAGS) - others:
        delattr(flags.FLAGS, flag)
    return module


class Nursery:
    """Starts scripts of `launch/`, one after the other, and tells how they ended."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(NURSERY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            cwd=ROOT,
        )

    def start(self, script: str, *args: object, out: Path, err: Path, env: Mapping[str, str]) -> int:
        """The process id of a script that writes to these files, which can be the same."""
        line = [env, *map(str, (ROOT / "launch" / script, out, err, *args))]
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def exit_code(self) -> int:
        """Of the script started last, once it has ended."""
        return int(self.process.stdout.readline())

    def call(self, script: str, *args: object) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` gives it."""
        out, err = self.folder / "out", self.folder / "err"
        self.start(script, *args, out=out, err=err, env={"XLA_FLAGS": QUICKLY})
        return subprocess.CompletedProcess([script, *args], self.exit_code(), out.read_text(), err.read_text())


@pytest.fixture(scope="session", autouse=True)
def shared_compilation_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="session")
def nursery(shared_compilation_cache, tmp_path_factory):
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.process.communicate()
