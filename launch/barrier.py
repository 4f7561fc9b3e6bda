"""The loss barrier between two trained networks of a run: how far it rises on the straight line between their weights.

    python launch/barrier.py --workdir=out/task_diversity --predictor=transformer \\
        --a="task.function.pool=2; seed=0" --b="task.function.pool=2^16; seed=0" --eval_set=true

Both are read from the run's checkpoints. What is swept must be named as far as it has several values.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags, logging  # noqa: E402

from launch import endings  # noqa: E402

_WORKDIR = flags.DEFINE_string("workdir", None, "The folder that launch/run.py wrote to.", required=True)
_PREDICTOR = flags.DEFINE_string("predictor", "transformer", "The name of the predictor in the study.")
_A = flags.DEFINE_string("a", "", 'The one network, as in "task.function.pool=64; seed=0".')
_B = flags.DEFINE_string("b", "", "The other network.")
_EVAL_SET = flags.DEFINE_string("eval_set", "default", "The evaluation set to take losses on.")
_SEQUENCES = flags.DEFINE_integer("sequences", 1000, "Sequences of that set.", lower_bound=1, upper_bound=1_000_000)
_POINTS = flags.DEFINE_integer("points", 11, "Points on the line, ends included.", lower_bound=3, upper_bound=1001)


def main(argv: list[str]) -> int:
    logging.set_verbosity(logging.WARNING)
    try:
        endings.require_flags_only(argv)
        print(_barrier())
        return 0
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _barrier() -> str:
    import jax
    import jax.numpy as jnp

    import icl_sim as icl
    from icl_sim import metrics, names
    from icl_sim.keys import stream
    from icl_sim.types import Outputs

    a, b = (icl.trained(_WORKDIR.value, _PREDICTOR.value, _point(flag.name, flag.value)) for flag in (_A, _B))
    sets = a.task.evaluation_sets()
    names.require("The evaluation set", _EVAL_SET.value, sets)
    task = sets[_EVAL_SET.value]
    batch = jax.jit(lambda shared: task.prepare(shared).sample(stream(0, "eval", 0), _SEQUENCES.value))(task.load())
    loss = jax.jit(
        lambda params: jnp.mean(metrics.loss(Outputs(values=a.predictor.apply(params, batch).values), batch))
    )
    found = metrics.barrier(loss, a.params, b.params, _POINTS.value)
    return f"loss of a {float(loss(a.params)):.4g}, of b {float(loss(b.params)):.4g}, barrier {float(found):.4g}"


def _point(flag: str, text: str) -> dict:
    """The values of swept names in a flag. Raises ValueError unless each has one."""
    from icl_sim.studies import sweep

    points = sweep.parse(text).points
    if len(points) != 1:
        raise ValueError(f"--{flag} is {text!r}, which names {len(points)} networks; give every name one value.")
    return dict(points[0])


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
