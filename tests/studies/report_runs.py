"""Finished runs of a made-up study, for the tests of figures and reports."""

from __future__ import annotations

import itertools
import json

import pandas as pd

SIZES, STEPS = (64, 256, 1024), (0, 10, 100)
GATES = [f"eval-{context}-{group}" for context in ("relevant", "irrelevant") for group in ("high_prob", "low_prob")]
ERRORS = ("icl_error_high", "icl_error_low", "iwl_error_high", "iwl_error_low")


def error(predictor, metric, size, step, seed, other=0.0):
    """Distinct for every argument, and within [0, 1]."""
    place = ("transformer", "gated", "in_context").index(predictor) * 0.1 + ERRORS.index(metric) * 0.2
    return place + SIZES.index(size) * 0.03 + step * 0.0001 + seed * 0.001 + other * 0.005


def table(sizes=SIZES, seeds=range(3), steps=STEPS, predictors=("transformer", "gated", "in_context"), **other):
    rows = []
    points = itertools.product(predictors, sizes, *other.values(), seeds)
    for member, (predictor, size, *others, seed) in enumerate(points):
        at = (size, *others, seed)
        for step in steps if predictor != "in_context" else (0,):
            for metric in ERRORS:
                found = error(predictor, metric, size, step, seed, sum(others))
                rows.append((member, step, predictor, "summary", metric, found, *at))
            rows.append((member, step, predictor, "pretraining", "cross_entropy", 1.0 - step / 1000, *at))
            if predictor == "gated":
                rows += [(member, step, predictor, gate, "gate_mean", 0.5 + step / 1000, *at) for gate in GATES]
    columns = [
        "member",
        "step",
        "predictor",
        "eval_set",
        "metric",
        "value",
        "task.num_sequences",
        *other,
        "seed",
    ]
    return pd.DataFrame(rows, columns=columns)


def write(folder, rows, **about):
    """A folder as a run leaves it."""
    told = {
        "name": "made up",
        "config": {"task": {"kind": "class_mixture", "p_high": 0.9}},
        "claims": [],
        "figures": [],
    }
    (folder / "study.json").write_text(json.dumps(told | {"members": []} | about))
    rows.to_parquet(folder / "results.parquet")
    return folder
