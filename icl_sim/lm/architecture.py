"""What distinguishes one decoder of the GPT kind from another, as one frozen record of switches."""

from __future__ import annotations

import dataclasses
import math

from icl_sim import names

NORMS = ("layer", "rms")
POSITIONS = ("learned", "sinusoidal", "rope")
RESIDUALS = ("pre_norm", "post_norm", "parallel_one_norm", "parallel_two_norms")
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu")

# More than any published model has; what asks for more is a broken file.
MAX_DEPTH = 1_000
MAX_SIZE = 2**24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rope:
    """The frequencies by which one layer rotates queries and keys (Su et al. 2021).

    Attributes:
      theta: the base; coordinate pair j of K/2 turns by position * theta^(-2j/K).
      factor: what all frequencies are divided by ("linear" scaling), or only the low ones of `llama3`.
      llama3: (low_freq_factor, high_freq_factor, original_max_position_embeddings) of Llama 3.1: wavelengths above
        original/low are stretched by `factor`, those below original/high are left, those between are blended.
    """

    theta: float = 10_000.0
    factor: float = 1.0
    llama3: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A decoder-only transformer.

    Attributes:
      vocab_size, width, depth, heads, head_width, mlp_width: sizes.
      kv_heads: key and value heads; query head h reads number h // (heads / kv_heads).
      max_positions: the longest context it is made for; rows of the table where positions are learned.
      norm: "layer", or "rms" without centring and bias.
      norm_epsilon: added to the variance.
      norm_plus_one: whether norms multiply by 1 + scale (Gemma).
      positions: "learned" or "sinusoidal" vectors added to the embedding, or "rope".
      position_offset: the row of the table for the first token; tables are that much longer (OPT, XGLM: 2).
      rope_width: coordinates of a head that are rotated, the first ones.
      rope_interleaved: whether coordinates 2j and 2j+1 turn together (GPT-J), instead of j and j + rope_width/2.
      ropes: the frequencies of every layer; empty without RoPE.
      windows: per layer, how many tokens a token sees, itself the last of them; 0 for all. Empty: all see all.
      embedding_width: of the token embedding, projected to and from the width where it differs (OPT-350M).
      embedding_scale: what token embeddings are multiplied by.
      embedding_scale_rounded: whether that number is first rounded to the precision of the parameters (Gemma).
      residual: "pre_norm": x + attn(n1 x), then x + mlp(n2 x). "post_norm": n1(x + attn x), then n2(x + mlp x).
        "parallel_one_norm": x + attn(n1 x) + mlp(n1 x) (GPT-J). "parallel_two_norms": x + attn(n1 x) + mlp(n2 x).
      sandwich_norms: whether what attention and MLP add is normed before it is added (Gemma).
      final_norm: whether the stream is normed before the unembedding.
      attention_scale: what queries are multiplied by.
      attention_scale_by_layer: whether it is divided by the number of the layer, from 1 (a switch of GPT-2).
      query_key_norm: whether the heads of queries and keys are normed (rms), before they are rotated.
      query_key_value_bias, output_bias, mlp_bias, head_bias: which of the linear maps have biases.
      gated: whether the MLP is down(act(gate x) * up x), not down(act(up x)).
      activation: of the MLP.
      tied: whether the unembedding is the embedding.
      initial_std: the deviation of random parameters.
    """

    vocab_size: int
    width: int
    depth: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    max_positions: int
    norm: str = "layer"
    norm_epsilon: float = 1e-5
    norm_plus_one: bool = False
    positions: str = "learned"
    position_offset: int = 0
    rope_width: int = 0
    rope_interleaved: bool = False
    ropes: tuple[Rope, ...] = ()
    windows: tuple[int, ...] = ()
    embedding_width: int = 0
    embedding_scale: float = 1.0
    embedding_scale_rounded: bool = False
    residual: str = "pre_norm"
    sandwich_norms: bool = False
    final_norm: bool = True
    attention_scale: float = 1.0
    attention_scale_by_layer: bool = False
    query_key_norm: bool = False
    query_key_value_bias: bool = True
    output_bias: bool = True
    mlp_bias: bool = True
    head_bias: bool = False
    gated: bool = False
    activation: str = "gelu"
    tied: bool = True
    initial_std: float = 0.02

    @property
    def embedded(self) -> int:
        """The width of token embeddings."""
        return self.embedding_width or self.width

    @property
    def projected(self) -> bool:
        """Whether token embeddings are projected to the width."""
        return self.embedded != self.width

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""
        for name in ("vocab_size", "width", "depth", "heads", "kv_heads", "head_width", "mlp_width", "max_positions"):
            _whole(name, getattr(self, name), 1, MAX_DEPTH if name == "depth" else MAX_SIZE)
        for name in ("position_offset", "embedding_width", "rope_width"):
            _whole(name, getattr(self, name), 0, MAX_SIZE)
        for name, allowed in (
            ("norm", NORMS),
            ("positions", POSITIONS),
            ("residual", RESIDUALS),
            ("activation", ACTIVATIONS),
        ):
            names.require(f"The architecture's {name}", getattr(self, name), allowed)
        for name in ("norm_epsilon", "embedding_scale", "attention_scale", "initial_std"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise ValueError(f"The architecture's {name} is {value!r}; it must be a positive number.")
        if self.heads % self.kv_heads:
            raise ValueError(
                f"The architecture's heads are {self.heads} and its kv_heads {self.kv_heads}, which must divide them."
            )
        if self.width > MAX_SIZE // 16 or self.heads * self.head_width > MAX_SIZE // 16:
            raise ValueError(
                f"The architecture's width is {self.width} and its heads are {self.heads} of {self.head_width}; "
                f"either may be {MAX_SIZE // 16} wide at most."
            )
        if self.positions == "rope":
            if len(self.ropes) != self.depth:
                raise ValueError(f"The architecture has {self.depth} layers and {len(self.ropes)} ropes, not one each.")
            if self.rope_width % 2 or not 0 < self.rope_width <= self.head_width:
                raise ValueError(
                    f"The architecture's rope_width is {self.rope_width}; it must be even, and at most the "
                    f"{self.head_width} coordinates of a head."
                )
            for rope in self.ropes:
                numbers = (rope.theta, rope.factor, *(rope.llama3 or ()))
                if not all(isinstance(x, int | float) and math.isfinite(x) and x > 0 for x in numbers):
                    raise ValueError(f"The frequencies of a layer are {rope}; all its numbers must be positive.")
                if rope.llama3 and rope.llama3[0] >= rope.llama3[1]:
                    raise ValueError(f"The frequencies of a layer are {rope}; the first of llama3 must be the lower.")
        if self.windows and len(self.windows) != self.depth:
            raise ValueError(f"The architecture has {self.depth} layers and {len(self.windows)} windows, not one each.")
        for window in self.windows:
            _whole("windows", window, 0, 2**31 - 1)


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"The architecture's {name} is {value!r}; it must be a whole number from {least} to {most}.")
