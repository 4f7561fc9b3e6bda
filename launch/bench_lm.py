"""Measures how fast and how large a pretrained language model is here: the case `lm_forward` of `bench.py`.

One device with all cores, unlike the ensembles of the other cases. Where torch and transformers are installed the same
parameters go through the same tokens there, in turns with ours.
"""

from __future__ import annotations

import functools
import importlib.util
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

BATCH, TOKENS = 4, 256
CONTEXT, QUERIES, AT_ONCE = 650, 100, 20  # in-context evaluation: demonstrations, and what is asked
SHORTEST, LONGEST = 16, 48  # tokens of a query


def measure(name: str, rounds: int) -> dict[str, Any]:
    """All figures of one model, a folder, a .gguf file or a packaged name.

    `tokens_per_s` is of logits for the last token of every sequence; `in_context_s` is the time of an evaluation
    (`icl_sim.lm.asking.ask`) of 100 queries of 16 to 48 tokens over 650 tokens that they share, from tokens to scores,
    after loading and compiling.
    """
    import jax
    import numpy as np

    from icl_sim import lm
    from icl_sim.lm.asking import ask
    from icl_sim.lm.inference import Inference
    from icl_sim.lm.prompts import Prompts

    started = time.perf_counter()
    model = lm.load(name)
    jax.block_until_ready(model.params)
    load_s, load_mb = time.perf_counter() - started, _peak_mb()
    rng = np.random.default_rng(0)

    def tokens(*shape: int) -> Any:
        return rng.integers(0, model.architecture.vocab_size, shape)

    network, ids_BT = Inference(model.architecture, model.params), tokens(BATCH, TOKENS)
    unembed = jax.jit(functools.partial(lm.decoder.unembed, model.architecture))
    last_BP = np.full((BATCH, 1), TOKENS - 1)
    asked = Prompts(
        start=(),
        demonstrations=(tuple(tokens(CONTEXT)),),
        separator=(),
        queries=tuple(tuple(tokens(size)) for size in rng.integers(SHORTEST, LONGEST + 1, QUERIES)),
        candidates=((0,), (1,)),
        labels=(0,) * QUERIES,
    )

    def ours() -> Any:
        hidden_BPD = network.forward(ids_BT, asked_BP=last_BP).hidden_BPD
        return np.asarray(unembed(network.ends, hidden_BPD[:, 0]))

    def in_context() -> Any:
        return ask(model.architecture, model.params, asked, shots=True, batch_size=AT_ONCE)

    started = time.perf_counter()
    ours()
    compile_s = time.perf_counter() - started
    in_context()
    work: dict[str, Callable[[], Any]] = {"ours": ours, "in_context": in_context}
    peak_mb = _peak_mb()  # before anything else is imported
    compared = all(importlib.util.find_spec(module) for module in ("torch", "transformers"))
    difference = None
    if compared:
        work["torch"] = theirs = _transformers(model, ids_BT)
        difference = float(np.abs(theirs() - ours()).max())
    walls = [{name: _wall(run) for name, run in work.items()} for _ in range(rounds)]
    cpus = [{name: _cpu(run) for name, run in work.items()} for _ in range(rounds)]

    def median(figure: Callable[[dict[str, float]], float], of: list[dict[str, float]] = walls) -> float:
        return statistics.median(figure(turn) for turn in of)

    return {
        "model": name,
        "devices": [str(device) for device in jax.devices()],
        "tokens": [BATCH, TOKENS],
        "tokens_per_s": median(lambda turn: BATCH * TOKENS / turn["ours"]),
        "tokens_per_cpu_s": median(lambda turn: BATCH * TOKENS / turn["ours"], cpus),
        "ratio_to_transformers": median(lambda turn: turn["torch"] / turn["ours"]) if compared else None,
        "cpu_ratio_to_transformers": median(lambda turn: turn["torch"] / turn["ours"], cpus) if compared else None,
        "largest_logit_difference": difference,
        "in_context_s": median(lambda turn: turn["in_context"]),
        "in_context_cpu_s": median(lambda turn: turn["in_context"], cpus),
        "load_s": load_s,
        "load_peak_memory_mb": load_mb,
        "peak_memory_mb": peak_mb,
        "compile_s": compile_s,
        "rounds": rounds,
        "jax": jax.__version__,
    }


def _transformers(model: Any, ids_BT: Any) -> Callable[[], Any]:
    """The same parameters in transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    from icl_sim import lm

    with tempfile.TemporaryDirectory() as folder:
        lm.save(model, folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.from_numpy(ids_BT)

    def run() -> Any:
        with torch.inference_mode():
            return theirs(ids, logits_to_keep=1, use_cache=False).logits[:, -1].numpy()

    return run


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _wall(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _cpu(run: Callable[[], Any]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started
