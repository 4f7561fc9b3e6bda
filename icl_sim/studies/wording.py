"""How names and values read under an axis, in a caption and in a table."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from icl_sim.studies.figures import POSITION, STEP, Lines, Spec

_AXES = {  # in words, and the symbol of the paper
    STEP: ("training steps", ""),
    POSITION: ("in-context examples", "k"),
    "task.num_sequences": ("training sequences", "N"),
    "task.context_length": ("context length", "L"),
    "task.num_relevant": ("relevant context items", "L_rel"),
    "task.p_high": ("share of common classes", "p_high"),
    "task.p_relevant": ("share of relevant contexts", "p_relevant"),
    "task.inputs.noise": ("input noise", "σ"),
    "task.label_noise": ("label noise", "ε"),
    "task.num_low": ("number of rare classes", "n_L"),
    "task.exposures": ("exposures", "N_x"),
    "task.irrelevant": ("irrelevant context items", "k"),
    "task.p_bursty": ("share of sequences with bursts", "p_bursty"),
    "task.p_novel": ("share of bursts of new classes", "p_novel"),
    "task.bursts": ("bursts", ""),
    "task.num_classes": ("classes", "K"),
    "task.zipf_exponent": ("Zipf exponent", "α"),
    "task.multiplicity": ("labels per class", ""),
    "task.inputs.exemplars": ("exemplars per class", ""),
    "training.l2": ("L2 penalty", ""),
    "task.noise": ("noise of targets", "σ"),
    "task.dim": ("dimension", "d"),
    "task.function.pool": ("pretraining tasks", "M"),
    "task.function.scale": ("scale of weights", "τ"),
    "task.prompts": ("training prompts", ""),
    "task.min_length": ("shortest block", ""),
    "task.seen": ("concepts of documents", ""),
}


def axis_label(name: str) -> str:
    """A name in words, as under an axis."""
    words = re.sub(r"^(task|predictors\.\w+)\.", "", name).replace("_", " ").replace(".", " ")
    return " ".join(_AXES[name]).strip() if name in _AXES else words


def x_text(spec: Spec) -> str:
    """What is below a figure's x axis."""
    return spec.x_label if isinstance(spec, Lines) and spec.x_label else axis_label(spec.x)


def symbol(name: str) -> str:
    """A name as short as in a formula, as in `N = 64`."""
    return _AXES[name][1] if name in _AXES and _AXES[name][1] else axis_label(name)


def number(value: Any) -> str:
    """A value on an axis or in a caption; powers of two from 64 on as such, (2, 2, 2, 2) as 4 × 2."""
    if hasattr(value, "item"):
        value = value.item()  # of numpy
    if isinstance(value, str) and len(set(parts := value.split(", "))) < len(parts):  # a tuple, spelt out
        return ", ".join(part if count == 1 else f"{count} × {part}" for part, count in _runs(parts))
    if isinstance(value, bool | str) or value is None or isinstance(value, float) and math.isnan(value):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value >= 64 and value == 2 ** round(math.log2(value)):
        return "2" + str(round(math.log2(value))).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 1000 else f"{value:g}"


def _runs(parts: Sequence[str]) -> list[tuple[str, int]]:
    """What follows itself, and how often."""
    return [(part, len(list(group))) for part, group in itertools.groupby(parts)]
