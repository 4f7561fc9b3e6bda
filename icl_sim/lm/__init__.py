"""Pretrained language models: what demonstrations in the prompt do, against what finetuning on them does.

Names are imported on first use, so that `import icl_sim.lm` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Architecture": "architecture",
    "Cache": "decoder",
    "Inference": "inference",
    "LanguageModel": "model",
    "Momentum": "layers",
    "Rope": "architecture",
    "architecture_of": "families",
    "decoder": "",
    "load": "model",
    "save": "model",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"icl_sim.lm has no {name!r}; it has {', '.join(__all__)}.")
    if not _HOME[name]:
        return importlib.import_module(f"icl_sim.lm.{name}")
    return getattr(importlib.import_module(f"icl_sim.lm.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
