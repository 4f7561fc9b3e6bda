"""Says what icl_sim runs on here, and checks that it runs right.

    python launch/doctor.py   # exit code 1 if a check fails; most of its time is compilation

Everything is imported where it is used, so that a broken installation is a line of the answer, not a stack
trace.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import app, logging

PACKAGES = ("icl_sim", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pandas", "pyarrow")
EXTRAS = {"report": ("matplotlib", "plotly"), "dev": ("pytest", "ruff", "pyrefly", "selenium")}

STEPS = 200
TOLERANCE = 1e-2  # nats; rounding may differ between a member in a crowd and alone, and training amplifies it

Row = tuple[str, str]
Check = Callable[[], str]


class CheckError(Exception):
    """A check that ran and found something wrong; the message says what."""


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"doctor takes no arguments, got {argv[1]!r}.")
    logging.set_verbosity(logging.WARNING)  # jax tells of every backend that is not there
    print_table("Versions", versions())
    print_table("Machine", attempt(machine))
    return run_checks({"sample": sample, "train": train, "ensemble": ensemble})


def versions() -> Iterator[Row]:
    """Python, the packages, and which extras are complete."""
    yield "python", platform.python_version()
    for package in PACKAGES:
        yield package, version(package) or "missing"
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if version(package) is None]
        yield f"extra [{extra}]", f"without {', '.join(missing)}" if missing else "complete"


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine() -> Iterator[Row]:
    """The system, what jax sees of it, and where compiled programs are kept."""
    yield "system", platform.platform()
    yield "cores", str(os.cpu_count())
    yield "memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"

    import jax

    from icl_sim.engine import cache
    from icl_sim.engine.devices import use_all_cores

    use_all_cores()
    yield "jax backend", jax.default_backend()
    yield "jax devices", ", ".join(str(device) for device in jax.devices())
    cache.keep_compiled()
    yield "compilation cache", cache_state(jax.config.jax_compilation_cache_dir)


def cache_state(folder: str | None) -> str:
    """Whether compiled programs outlive the process, and where."""
    if folder is None:
        return "off (ICL_SIM_CACHE names a folder, that only you may write to, to switch it on)"
    existing = next(path for path in (Path(folder), *Path(folder).absolute().parents) if path.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    return f"{folder} ({'writable' if writable else 'NOT writable'})"


def attempt(rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows, and one more that says why they stopped if they did."""
    try:
        yield from rows()
    except Exception as error:  # a doctor has to survive whatever the patient has
        yield "STOPPED", describe(error)


def print_table(title: str, rows: Iterator[Row]) -> None:
    print(title)
    for name, value in rows:
        print(f"  {name:<18} {value}")
    print(flush=True)


def run_checks(checks: Mapping[str, Check]) -> int:
    """Runs all checks, prints a line each and a closing sentence, and returns the exit code."""
    print("Self-check")
    failed = []
    for name, check in checks.items():
        try:
            print(f"  ok      {name}: {check()}", flush=True)
        except Exception as error:  # see attempt
            failed.append(name)
            print(f"  FAILED  {name}: {describe(error)}", flush=True)
    if failed:
        print(f"\nicl_sim does not work here: the check of {' and '.join(failed)} failed.")
        return 1
    print("\nicl_sim works here.")
    return 0


def describe(error: Exception) -> str:
    """What went wrong, in a line."""
    message = " ".join(str(error).split())
    return message if isinstance(error, CheckError) else f"{type(error).__name__}: {message}"


def require(condition: Any, sentence: str) -> None:
    if not condition:
        raise CheckError(sentence)


def sample() -> str:
    """A batch of class sequences has the shapes, labels and inputs that it should."""
    import jax
    import numpy as np

    from icl_sim.tasks import ClassMixture

    task = ClassMixture()
    batch = jax.device_get(jax.jit(lambda key: task.sample(key, 64))(jax.random.key(0)))
    slots = (64, task.context_length + 1)
    require(batch.targets.shape == slots, f"targets have shape {batch.targets.shape}, not {slots}.")
    require(batch.inputs.shape[:2] == slots, f"inputs have shape {batch.inputs.shape}, not {slots} and more.")
    low, high, highest = batch.targets.min(), batch.targets.max(), task.num_classes - 1
    require(0 <= low and high <= highest, f"labels are in {low}..{high}, not in 0..{highest}.")
    require(np.isfinite(batch.inputs).all(), "some inputs are not finite.")
    return f"{len(batch.targets)} sequences of {batch.targets.shape[1]} slots, labels in {low}..{high}"


def train() -> str:
    """Two members learn: the loss on their training task falls below that of guessing."""
    import math

    import numpy as np

    from icl_sim.tasks import ClassMixture

    before, *_, after = trained(seeds=(0, 1))
    require(np.isfinite(after).all(), f"the losses are {after} after {STEPS} steps.")
    require((after < before).all(), f"the losses went from {before} to {after} nats in {STEPS} steps.")
    guess = math.log(ClassMixture().num_classes)
    require((after < guess).all(), f"the losses are {after} nats, no better than guessing ({guess:.2f}).")
    return f"2 members, {STEPS} steps, loss {before.mean():.2f} -> {after.mean():.2f} nats"


def ensemble() -> str:
    """A member gives the same numbers beside another as alone."""
    import numpy as np

    together, alone = trained(seeds=(0, 1)), trained(seeds=(1,))
    difference = float(np.abs(together[:, 1] - alone[:, 0]).max())
    require(difference <= TOLERANCE, f"a member's loss beside another is off by {difference:.2g} nats.")
    return f"a member beside another equals itself alone to {difference:.1g} nats"


@functools.cache
def trained(seeds: tuple[int, ...]) -> Any:
    """Losses on the training task, `[evaluation steps, M]`, of a tiny transformer for each seed."""
    import numpy as np

    from icl_sim.engine.group import by_structure
    from icl_sim.engine.settings import Evaluation, Member, Training
    from icl_sim.engine.simulate import simulate
    from icl_sim.predictors import Transformer
    from icl_sim.tasks import ClassMixture

    member = functools.partial(
        Member,
        predictor=Transformer(depth=1, width=32),
        task=ClassMixture(),
        eval_task=ClassMixture(),
        training=Training(steps=STEPS, learning_rate=1e-3),
        evaluation=Evaluation(sequences=200, points=2),
    )
    (group,) = by_structure((number, member(seed=seed)) for number, seed in enumerate(seeds))
    losses = [chunk.measures["pretraining", "cross_entropy"] for chunk in simulate(group) if chunk.measures]
    return np.stack(losses)


if __name__ == "__main__":
    app.run(main)
