"""The transformers of the papers on regression and on sequences of classes, at their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icl_sim import names
from icl_sim.predictors.networks.encoder import ResidualEncoder
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


def chan(*, images: bool = False, **changes: Any) -> Transformer:
    """The network of Chan et al. 2022: 12 blocks of width 64 and 8 heads, its tokens told apart by a sinusoid each.

    With `images`, the residual network that turns them into 64 numbers trains with it. Theirs has a batch norm after
    each of its convolutions, of 1,280 parameters in all; ours has none, and is otherwise the same: 830,199 parameters
    for the 1,623 classes of Omniglot, where they report some 831,000. Vectors are read as they are if they are 64 wide,
    and are otherwise projected. Read-out starts from flax's default; the paper's is not known to us.

    They train on the query by Adam, batch 32, for 500,000 steps:
    `Training(steps=500_000, schedule="rsqrt", warmup_steps=4_000, learning_rate=3e-4)`.
    """
    own: dict[str, Any] = {"depth": 12, "heads": 8, "embedding": "table", "position": "token_sinusoid", "scan": True}
    own |= {"encoder": ResidualEncoder(widths=(16, 32, 32, 64))} if images else {}
    return Transformer(**{**own, **changes})


def singh_transience(*, images: bool = False, **changes: Any) -> Transformer:
    """The network of Singh et al. 2023, which is `chan`, on images or on fixed vectors of 512, which it projects.

    They train by Adam at 3e-4 and batch 32, for up to 5e7 steps: `Training(learning_rate=3e-4)`. Their penalty on
    weights is on norms that are not squared, so neither `l2` nor `weight_decay`.
    """
    return chan(images=images, **changes)


def singh_induction(**changes: Any) -> Transformer:
    """The network of Singh et al. 2024: two layers of 8 heads and nothing else, with rotary positions.

    66,629 parameters for vectors of 512 and 5 labels. They train by Adam at 1e-5 and batch 32 for 31,250 steps, a
    million sequences: `Training(steps=31_250, learning_rate=1e-5)`.
    """
    own: dict[str, Any] = {"heads": 8, "mlp_ratio": 0, "attention_bias": False, "embedding": "table"}
    own |= {"position": "rotary", "position_base": 10_000.0}
    return Transformer(**{**own, **changes})


def singh_coopetition(**changes: Any) -> Transformer:
    """The network of Singh et al. 2025: that of 2024 with learned positions, of up to 32 tokens.

    1.72 million parameters for vectors of 512 and 12,800 labels, nearly all in label tokens and read-out. They train
    by Adam at 1e-5 and batch 32 for 2 million steps: `Training(steps=2_000_000, learning_rate=1e-5)`. How theirs draw
    learned positions is not known to us.
    """
    own: dict[str, Any] = {"position": "learned", "position_count": 32, "position_base": 30.0}
    return singh_induction(**{**own, **changes})


def _sizes(whose: str, sizes: Mapping[str, tuple[int, int, int]], size: str) -> dict[str, Any]:
    names.require(f"The size of the transformer of {whose}", size, sizes)
    return dict(zip(("depth", "width", "heads"), sizes[size], strict=True))
