"""Made-up tables of regression runs: numbers per position, distances to references, and intervals over sequences."""

from __future__ import annotations

import itertools
import zlib

import pandas as pd

D = 8
LEARNERS = {"ols": 0.0, "ridge": 0.05, "knn": 0.6}
STEPS = (0, 100, 1000, 10000)
SETS = ("default", "skewed", "orthants")


def error(predictor, k, step=0, seed=0, eval_set="default"):
    """The risk of min-norm least squares, 1 - k / d, and an excess of each learner, set and seed."""
    least = max(0.0, 1 - k / D)
    shift = 0.1 * SETS.index(eval_set)
    if predictor == "transformer":
        excess = (1 - least) / (1 + step / 200)
    else:
        excess = LEARNERS[predictor] * (1 - least)
    return least + excess + shift + 0.01 * seed + 0.001


def distance(reference, k, step, depth, seed=0):
    """Deep networks are near least squares, shallow ones near nearest neighbours."""
    wanted = {"ols": 1.0, "ridge": 0.5, "knn": 0.0}[reference]
    at = (depth - 1) / 7
    return (abs(wanted - at) + 0.02) * min(k, D) / D / (1 + step / 1000) + 0.001 * seed


def table(
    ks=range(2 * D + 1),
    seeds=(0, 1, 2),
    steps=STEPS,
    depths=(4,),
    predictors=("transformer", "ols", "ridge", "knn"),
    sets=("default",),
    limits=True,
    metrics=("normalized_error",),
    **other,
):
    rows, member = [], 0
    for predictor, depth in itertools.product(predictors, depths):
        if predictor in LEARNERS and depth != depths[0]:  # the depth of another predictor leaves it alone
            continue
        for values in itertools.product(*other.values(), seeds):
            at = (depth if predictor not in LEARNERS else None, *values)
            for step, eval_set in itertools.product(steps if predictor not in LEARNERS else (0,), sets):

                def add(metric, value, step=step, eval_set=eval_set, member=member, predictor=predictor, at=at):
                    rows.append((member, step, predictor, eval_set, metric, value, *at))

                for metric in metrics:
                    found = [error(predictor, k, step, values[-1], eval_set) for k in ks]
                    found = [value + 0.01 * zlib.crc32(repr(values[:-1]).encode()) / 2**32 for value in found]
                    add(metric, sum(found) / len(found))
                    for k, value in zip(ks, found, strict=True):
                        add(f"{metric}/{k}", value)
                        if limits:
                            add(f"{metric}_from/{k}", value - 0.02)
                            add(f"{metric}_to/{k}", value + 0.03)
                if predictor == "transformer":
                    for name in LEARNERS:
                        found = [distance(name, k, step, depth, values[-1]) for k in ks]
                        add(f"spd_{name}", sum(found) / len(found))
                        for k, value in zip(ks, found, strict=True):
                            add(f"spd_{name}/{k}", value)
            member += 1
    columns = ["member", "step", "predictor", "eval_set", "metric", "value", "predictors.transformer.depth"]
    return pd.DataFrame(rows, columns=[*columns, *other, "seed"])
