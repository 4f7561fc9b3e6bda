"""A language model so small that it runs anywhere in seconds: random weights, and bytes for tokens."""

from __future__ import annotations

from typing import Any, cast

import jax

from icl_sim.lm import decoder
from icl_sim.lm.architecture import Architecture, Rope
from icl_sim.lm.model import LanguageModel
from icl_sim.types import Params

ARCHITECTURE = Architecture(
    vocab_size=258,
    width=32,
    depth=2,
    heads=4,
    kv_heads=2,
    head_width=8,
    mlp_width=64,
    max_positions=4096,
    norm="rms",
    positions="rope",
    rope_width=8,
    ropes=(Rope(), Rope()),
    attention_scale=8**-0.5,
    query_key_value_bias=False,
    output_bias=False,
    mlp_bias=False,
    gated=True,
    activation="silu",
    initial_std=0.2,
)


class Bytes:
    """A tokenizer whose tokens are bytes."""

    bos, eos, beginning = 256, 257, (256,)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids) -> str:
        return bytes(int(one) for one in ids if one < 256).decode(errors="replace")


def parameters(seed: int = 0) -> Params:
    """Random parameters of `ARCHITECTURE`."""
    return decoder.init(ARCHITECTURE, jax.random.key(seed))


def model() -> LanguageModel:
    """The whole of it."""
    return LanguageModel(architecture=ARCHITECTURE, params=parameters(), tokenizer=cast(Any, Bytes()), config={})
