"""The transformers of the papers on regression, at their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icl_sim import names
from icl_sim.predictors.networks.transformer import Transformer

# Depth, width and heads.
GARG = {"tiny": (3, 64, 2), "small": (6, 128, 4), "standard": (12, 256, 8)}
RAVENTOS = {"small": (4, 64, 2), "base": (8, 128, 2), "large": (12, 256, 4)}
AKYUREK = {"best": (16, 512, 4)}


def garg(size: str = "standard", **changes: Any) -> Transformer:
    """The GPT-2 of Garg et al. 2022: "tiny" (0.15M parameters), "small" (1.2M) or "standard" (9.5M).

    Theirs also holds a table of 50,257 word vectors that nothing reads, and counts of it differ by that.
    """
    own: dict[str, Any] = {"tokens": "shared", "position": "learned", "initial": "gpt2_core"}
    return Transformer(**{**_sizes("Garg et al.", GARG, size), **own, **changes})


def raventos(size: str = "base", **changes: Any) -> Transformer:
    """The GPT-2 of Raventos et al. 2023: "small" (0.20M parameters), "base" (1.59M) or "large".

    Theirs has a position for the last target too, which no answer can follow: `position_count=2 * pairs`.
    """
    own: dict[str, Any] = {"tokens": "separate", "position": "learned", "initial": "gpt2", "end_bias": False}
    return Transformer(**{**_sizes("Raventos et al.", RAVENTOS, size), **own, **changes})


def akyurek(size: str = "best", **changes: Any) -> Transformer:
    """The transformer of Akyurek et al. 2023 as in their code: "best", 16 layers of 512 (37.9M parameters).

    With `block="pre_norm"` it is nearer to the formula of their paper.
    """
    own: dict[str, Any] = {"tokens": "separate", "position": "learned", "initial": "uniform", "block": "replaced"}
    return Transformer(**{**_sizes("Akyurek et al.", AKYUREK, size), **own, **changes})


def _sizes(whose: str, sizes: Mapping[str, tuple[int, int, int]], size: str) -> dict[str, Any]:
    names.require(f"The size of the transformer of {whose}", size, sizes)
    return dict(zip(("depth", "width", "heads"), sizes[size], strict=True))
