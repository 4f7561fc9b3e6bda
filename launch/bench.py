"""Measures how fast a case runs here, against what these cores can do and against a plain Python loop.

    python launch/bench.py --case=icl_iwl_s0 --out=bench.json
    python launch/bench.py --case=icl_iwl_s0 --members=8 --context_length=16 --out=bench.json
    python launch/bench.py --case=algorithm1 --out=bench.json
    taskset -c 0 python launch/bench.py --case=garg_tiny --out=bench.json
    python launch/bench.py --case=icl_iwl_s0 --devices=8 --members=64 --out=bench.json
    python launch/bench.py --case=shards --rounds=3 --out=bench.json
    python launch/bench.py --case=lm_forward --model=smollm2 --out=bench.json

Everything is measured in turns within one run, since a shared machine's speed drifts; every figure is the median over
the rounds. Sampling and the optimiser are part of every update.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags, logging  # noqa: E402

from launch import bench_lm, bench_shards  # noqa: E402

CASES = {  # with their members
    "icl_iwl_s0": 16,
    "algorithm1": 100,
    "lsa_b": 1,
    "garg_tiny": 1,
    "raventos_small": 1,
    "raventos_base": 1,
    "reddy": 1,
    "singh_2l": 1,
    "singh_12800": 1,
    "chan_12l": 1,
    "lm_forward": 1,
    "shards": 8,
}
_CASE = flags.DEFINE_enum("case", next(iter(CASES)), list(CASES), "What to measure.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write; printed all the same.")
_MEMBERS = flags.DEFINE_integer(
    "members", None, f"Members of the ensemble; by default {CASES}.", lower_bound=1, upper_bound=100_000
)
_LENGTH = flags.DEFINE_integer("context_length", 1, "Context pairs of S0.", lower_bound=1, upper_bound=1_000)
_MODEL = flags.DEFINE_string("model", "smollm2", "Of lm_forward: a checkpoint folder, a .gguf file or a known name.")
_DEVICES = flags.DEFINE_integer(
    "devices", None, "CPU devices to spread members over; by default the cores.", lower_bound=1, upper_bound=1_024
)
_STEPS = flags.DEFINE_integer("steps", 1_000, "Updates of every member, of shards.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 2.0, "Length of one timed stretch.", lower_bound=0.05, upper_bound=600)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed stretches of each kind.", lower_bound=1)


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds per repetition: of the clock, and of all cores of this process."""

    wall: float
    cpu: float


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"bench takes no arguments, got {argv[1]!r}; all are flags, see --help.")
    logging.set_verbosity(logging.WARNING)
    out = Path(_OUT.value) if _OUT.value else None
    try:
        if out:
            out.touch()
        if not _SECONDS.value > 0:
            raise ValueError(f"--seconds is {_SECONDS.value}; it must be a number from 0.05 to 600.")
        if _DEVICES.value and _CASE.value == "lm_forward":
            raise ValueError("--devices is for members, and lm_forward has one model, on all cores.")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1

    from icl_sim.engine.devices import share_all_cores, use_all_cores

    if _CASE.value == "lm_forward":  # before anything asks for a device
        share_all_cores()
    else:
        use_all_cores(_DEVICES.value)
    members = _MEMBERS.value or CASES[_CASE.value]
    if _CASE.value == "lm_forward":
        try:
            found = bench_lm.measure(_MODEL.value, _ROUNDS.value)
        except (ImportError, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
    elif _CASE.value == "shards":
        found = bench_shards.measure(members, _STEPS.value, _ROUNDS.value)
    elif _CASE.value == "algorithm1":
        found = measure_online(members, _SECONDS.value, _ROUNDS.value)
    elif _CASE.value == "icl_iwl_s0":
        found = {"context_length": _LENGTH.value}
        found |= measure(s0(members, _LENGTH.value), _SECONDS.value, _ROUNDS.value)
    else:
        found = measure(published_networks(_CASE.value, members), _SECONDS.value, _ROUNDS.value)
    text = json.dumps({"case": _CASE.value, "members": members, **found}, indent=1)
    print(text)
    if out:
        out.write_text(text + "\n")
    return 0


def measure(group: Any, seconds: float, rounds: int) -> dict[str, Any]:
    """All figures of one group."""
    import jax

    from icl_sim.engine.cost import flops_per_update
    from icl_sim.engine.devices import member_mesh
    from icl_sim.engine.program import Program

    members = len(group)
    program = Program(group, member_mesh(members))
    phase = group.members.predictor.phases[0]
    state = jax.block_until_ready(program.start())
    started = time.perf_counter()
    state = jax.block_until_ready(program.train(state, 0, 1, phase))
    compile_s = time.perf_counter() - started
    done = 1

    def train(steps: int) -> None:
        nonlocal state, done
        state = jax.block_until_ready(program.train(state, done, done + steps, phase))
        done += steps

    work = {"train": train, "sample": sampler(program), "loop": python_loop(group), "matmul": matmul(program.devices)}
    counts = {name: _repetitions(run, seconds) for name, run in work.items()}
    timings = [{name: _timed(run, counts[name]) for name, run in work.items()} for _ in range(rounds)]

    def median(figure: Callable[[dict[str, Timing]], float]) -> float:
        return statistics.median(figure(timing) for timing in timings)

    flops, matmul_flops = flops_per_update(group), 2 * MATMUL_SIZE**3 * len(program.devices)
    return {
        "devices": [str(device) for device in program.devices],
        "updates_per_s": median(lambda t: members / t["train"].wall),
        "ms_per_update": median(lambda t: 1e3 * t["train"].wall / members),
        "cpu_ms_per_update": median(lambda t: 1e3 * t["train"].cpu / members),
        "ratio_to_python_loop": median(lambda t: members * t["loop"].wall / t["train"].wall),
        "python_loop_updates_per_s": median(lambda t: 1 / t["loop"].wall),
        "sampler_share": median(lambda t: t["sample"].cpu / t["train"].cpu),
        "flops_per_update": flops,
        "gflops": median(lambda t: 1e-9 * flops * members / t["train"].wall),
        "peak_gflops": median(lambda t: 1e-9 * matmul_flops / t["matmul"].wall),
        "fraction_of_peak": median(lambda t: flops * members / t["train"].wall * t["matmul"].wall / matmul_flops),
        "compile_s": compile_s,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rounds": rounds,
        "steps_per_round": counts["train"],
        "jax": jax.__version__,
    }


def measure_online(members: int, seconds: float, rounds: int) -> dict[str, Any]:
    """How long Algorithm 1 takes for 10^6 rounds of every member, sampling included."""
    import jax

    from icl_sim.engine.devices import member_mesh
    from icl_sim.engine.program import Program

    group = algorithm1(members)
    batch_size = group.members.training.batch_size
    program = Program(group, member_mesh(members))
    phase = group.members.predictor.phases[0]
    state = jax.block_until_ready(program.start())
    started = time.perf_counter()
    state = jax.block_until_ready(program.train(state, 0, 1, phase))
    compile_s, done = time.perf_counter() - started, 1

    def train(steps: int) -> None:
        nonlocal state, done
        state = jax.block_until_ready(program.train(state, done, done + steps, phase))
        done += steps

    count = _repetitions(train, seconds)
    timings = [_timed(train, count) for _ in range(rounds)]
    wall, cpu = (statistics.median(getattr(t, kind) for t in timings) / batch_size for kind in ("wall", "cpu"))
    return {
        "devices": [str(device) for device in program.devices],
        "rounds_per_s": members / wall,
        "seconds_per_million_rounds": 1e6 * wall,
        "cpu_seconds_per_million_rounds": 1e6 * cpu,
        "compile_s": compile_s,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rounds": rounds,
        "steps_per_round": count,
        "jax": jax.__version__,
    }


def algorithm1(members: int):
    """Algorithm 1 of Chan et al. 2025 over p_relevant, matches of 4 and seeds, as one group."""
    from icl_sim.engine.group import by_structure
    from icl_sim.engine.settings import Evaluation, Member, Training
    from icl_sim.tasks import ClassMixture, Symbols
    from icl_sim.theory import OnlineGated

    def member(number: int) -> Member:
        p_relevant, matches, seed = 0.1 * (1 + number % 10), 1 + number // 10 % 4, number // 40
        task = ClassMixture(
            inputs=Symbols(), context_length=4, p_relevant=p_relevant, num_relevant=float(matches), seed=seed
        )
        return Member(
            predictor=OnlineGated(),
            task=task,
            eval_task=task,
            training=Training(batch_size=100),
            evaluation=Evaluation(),
            seed=seed,
        )

    (group,) = by_structure((number, member(number)) for number in range(members))
    return group


def s0(members: int, context_length: int):
    """S0 of Chan et al. 2025 (batch 32, width 64, 2 blocks) over N = 2^6, 2^8, ..., 2^20 and seeds, as one group."""
    from icl_sim.engine.group import by_structure
    from icl_sim.engine.settings import Evaluation, Member, Training
    from icl_sim.predictors import Transformer
    from icl_sim.tasks import ClassMixture

    def member(number: int) -> Member:
        size, seed = 2.0 ** (6 + 2 * (number % 8)), number // 8
        task = ClassMixture(num_sequences=size, context_length=context_length, seed=seed)
        return Member(
            predictor=Transformer(),
            task=task,
            eval_task=task,
            training=Training(),
            evaluation=Evaluation(),
            seed=seed,
        )

    (group,) = by_structure((number, member(number)) for number in range(members))
    return group


def published_networks(case: str, members: int):
    """Published networks on their tasks, one group of seeds.

    `lsa_b`: one layer of linear self-attention of von Oswald et al. 2023; `garg_tiny`: the smallest transformer of Garg
    et al. 2022 at d = 20; `raventos_small` and `raventos_base`: Raventos et al. 2023 at 2^10 tasks;
    `reddy`: the two attention layers of Reddy 2023 on 1,024 classes, 8 pairs; `singh_2l` and `singh_12800`: the two
    layers of 8 heads of Singh et al. 2024 on 50 classes and 2025 on 12,800, 2 pairs; `chan_12l`: the 12 layers of Chan
    et al. 2022 on 1,600 classes, 8 pairs.
    """
    from icl_sim.engine.group import by_structure
    from icl_sim.engine.settings import Evaluation, Member, Training
    from icl_sim.predictors import InductionNetwork, LinearAttention
    from icl_sim.predictors.networks import published
    from icl_sim.tasks import Regression
    from icl_sim.tasks.regression import Linear, Uniform
    from icl_sim.tasks.sequences import presets

    if case == "lsa_b":
        predictor, training = LinearAttention(), Training(batch_size=2048)
        task = Regression(inputs=Uniform(half_width=0.5), dim=10, context_length=10, scored="last")
    elif case == "garg_tiny":
        predictor, training = published.garg("tiny"), Training(batch_size=64, microbatches=8)
        task = Regression(dim=20, context_length=40)
    elif case == "reddy":
        predictor, training, task = InductionNetwork(), Training(batch_size=128), presets.reddy()
    elif case == "singh_2l":
        predictor, training, task = published.singh_induction(), Training(), presets.singh_induction()
    elif case == "singh_12800":
        predictor, training, task = published.singh_coopetition(), Training(), presets.singh_coopetition()
    elif case == "chan_12l":
        predictor, training, task = published.chan(), Training(), presets.chan(num_classes=1600)
    else:
        predictor = published.raventos(case.removeprefix("raventos_"))
        training = Training(batch_size=256, microbatches=8 if case == "raventos_base" else 16)
        task = Regression(function=Linear(pool=2.0**10), noise=0.5, dim=8, context_length=15)

    def member(seed: int) -> Member:
        seeded = task.replace(seed=seed)
        return Member(
            predictor=predictor,
            task=seeded,
            eval_task=seeded,
            training=training,
            evaluation=Evaluation(),
            seed=seed,
        )

    (group,) = by_structure((seed, member(seed)) for seed in range(members))
    return group


def sampler(program: Any) -> Callable[[int], None]:
    """Only the sampling of all members' batches."""
    import jax
    import jax.numpy as jnp

    from icl_sim.keys import stream

    def sample(everywhere: Any, member: Any) -> Any:
        shared, stop = everywhere
        task = member.task.prepare(shared)

        def add(step: Any, total: Any) -> Any:
            batch = task.at(step).sample(stream(member.seed, "train", step), member.training.batch_size)
            return total + sum(jnp.sum(x) for x in (batch.inputs, batch.targets, batch.kinds))

        return jax.lax.fori_loop(0, stop, add, jnp.zeros(()))

    run = program.spread(sample)
    return lambda steps: jax.block_until_ready(run((program.shared, jnp.int32(steps)), program.members))


def python_loop(group: Any) -> Callable[[int], None]:
    """What most code of the field does: one member, one dispatch a step, batches that come from the host."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from icl_sim import metrics
    from icl_sim.keys import stream

    member = group.first
    sample = jax.jit(lambda step: member.task.sample(stream(member.seed, "train", step), member.training.batch_size))
    batches = [jax.tree.map(np.asarray, sample(step)) for step in range(64)]
    optimiser = optax.adam(float(member.training.learning_rate))
    params = jax.jit(member.predictor.init)(stream(member.seed, "init"), batches[0])
    state = params, jax.jit(optimiser.init)(params)

    @jax.jit
    def update(state: Any, batch: Any) -> tuple[Any, Any]:
        params, moments = state
        loss, gradients = jax.value_and_grad(
            lambda params: jnp.mean(metrics.loss(member.predictor.apply(params, batch), batch))
        )(params)
        changes, moments = optimiser.update(gradients, moments, params)
        return (optax.apply_updates(params, changes), moments), loss

    def run(steps: int) -> None:
        nonlocal state
        for step in range(steps):
            state, _ = update(state, batches[step % len(batches)])
        jax.block_until_ready(state)

    return run


MATMUL_SIZE = 1024


def matmul(devices: list[Any]) -> Callable[[int], None]:
    """The best that the devices do: float32 products of square matrices, on all at once."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    matrices = [jax.device_put(np.ones((MATMUL_SIZE, MATMUL_SIZE), np.float32), device) for device in devices]
    product = jax.jit(lambda x, n: jax.lax.fori_loop(0, n, lambda _, y: (y @ x) / MATMUL_SIZE, x))
    return lambda n: jax.block_until_ready([product(x, jnp.int32(n)) for x in matrices])


def _repetitions(run: Callable[[int], None], seconds: float) -> int:
    """How many repetitions take about that long; also warms up."""
    count = 1
    run(count)
    while (wall := _timed(run, count).wall * count) < seconds / 4 and count < 10**6:
        count *= 2
    return max(1, round(count * seconds / wall))


def _timed(run: Callable[[int], None], count: int) -> Timing:
    wall, cpu = time.perf_counter(), time.process_time()
    run(count)
    return Timing((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count)


if __name__ == "__main__":
    app.run(main)
