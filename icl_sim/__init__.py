"""icl_sim: transformers, explicit learners and gated predictors on the same in-context learning tasks, many at a time.

A task makes sequences, a predictor answers the query, a metric compares answers, and a study sweeps all of that in one
compiled program. Names are imported on first use, so that `import icl_sim` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Evaluation": "engine.settings",
    "Study": "studies.study",
    "Training": "engine.settings",
    "chain": "studies.sweep",
    "config_of": "studies.codec",
    "load": "studies.store",
    "product": "studies.sweep",
    "run": "studies.runner",
    "share_all_cores": "engine.devices",
    "simulate": "studies.runner",
    "trained": "studies.trained",
    "use_all_cores": "engine.devices",
    "write_report": "studies.report",
    "zip_": "studies.sweep",
}
_PARTS = ("engine", "lm", "metrics", "predictors", "studies", "tasks", "theory", "types")

__all__ = sorted([*_HOME, *_PARTS])


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"icl_sim.{_HOME[name]}"), name)
    if name in _PARTS:
        return importlib.import_module(f"icl_sim.{name}")
    raise AttributeError(f"icl_sim has no {name!r}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__
