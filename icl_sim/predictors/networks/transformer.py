"""The transformer: pre-norm causal blocks over the tokens x_1, y_1, ..., x_L, y_L, x_query.

Chan et al. 2025, section 3. Input tokens are the inputs themselves where they are as wide as the network (the
frozen identity of the paper), or a trained projection of them; label tokens are a trained projection of the
one-hot label; a fixed sinusoid of base 30 tells positions apart, and an input and its label share one. The
answer is read at the last token.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from icl_sim import names
from icl_sim.predictors.networks.encoder import Encoder, encode, features, with_encoder
from icl_sim.predictors.networks.seam import Functional, functional
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static

POSITIONS = ("shared_sinusoid", "token_sinusoid", "none")
EPSILON = 1e-5  # of the layer norms


def _norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    # The variance in two passes: more exact, and on a CPU a twentieth of the whole step faster.
    return nnx.LayerNorm(width, epsilon=EPSILON, use_fast_variance=False, rngs=rngs)


def _rows(layer: nnx.Linear, x_BTD: Array) -> Array:
    """Applies a layer to the rows of one matrix, all tokens of all sequences."""
    return jnp.reshape(layer(jnp.reshape(x_BTD, (-1, x_BTD.shape[-1]))), (*x_BTD.shape[:2], -1))


class Block(nnx.Module):
    """Pre-norm attention and MLP. Queries, keys and values come from one fused kernel.

    Matrices of rows, and one batch axis in attention, are what a CPU multiplies fastest: the whole
    training step takes a sixth less time than with products over more axes.
    """

    def __init__(self, width: int, heads: int, mlp_width: int, rngs: nnx.Rngs):
        self.heads = heads
        self.attention_norm = _norm(width, rngs)
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.mlp_norm = _norm(width, rngs)
        self.up = nnx.Linear(width, mlp_width, rngs=rngs)
        self.down = nnx.Linear(mlp_width, width, rngs=rngs)

    def __call__(self, x_BTD: Array, *, causal: bool, last_only: bool) -> tuple[Array, Array]:
        """Returns the residual stream and the attention map `[B, H, T, T]`.

        With `last_only` both are those of the last token alone, `[B, 1, D]` and `[B, H, 1, T]`: the same
        numbers with fewer operations, for the block after which nothing else is read.
        """
        B, T, D = x_BTD.shape
        qkv = _rows(self.qkv, self.attention_norm(x_BTD))
        q_GQK, k_GTK, v_GTK = (self._split_heads(part) for part in jnp.split(qkv, 3, axis=-1))
        if last_only:
            x_BTD, q_GQK = x_BTD[:, -1:], q_GQK[:, -1:]
        logits_GQT = jnp.einsum("GQK,GTK->GQT", q_GQK, k_GTK) / math.sqrt(D // self.heads)
        if causal and not last_only:
            logits_GQT = jnp.where(jnp.tri(T, dtype=bool)[None], logits_GQT, -jnp.inf)
        map_GQT = jax.nn.softmax(logits_GQT)
        mix_BHQK = jnp.reshape(
            jnp.einsum("GQT,GTK->GQK", map_GQT, v_GTK), (B, self.heads, -1, D // self.heads)
        )
        mix_BQD = jnp.reshape(jnp.swapaxes(mix_BHQK, 1, 2), x_BTD.shape)
        x_BQD = x_BTD + _rows(self.out, mix_BQD)
        hidden_BQF = jax.nn.gelu(_rows(self.up, self.mlp_norm(x_BQD)))
        return x_BQD + _rows(self.down, hidden_BQF), jnp.reshape(map_GQT, (B, self.heads, -1, T))

    def _split_heads(self, x_BTD: Array) -> Array:
        """Heads beside sequences in one axis G, `[B*H, T, K]`."""
        B, T, D = x_BTD.shape
        x_BHTK = jnp.swapaxes(jnp.reshape(x_BTD, (B, T, self.heads, D // self.heads)), 1, 2)
        return jnp.reshape(x_BHTK, (B * self.heads, T, D // self.heads))


class TransformerNetwork(nnx.Module):
    """`depth` blocks on tokens made of inputs `[B, L+1, E]` and labels `[B, L]`."""

    def __init__(
        self, *, inputs: int, classes: int, depth: int, width: int, heads: int, mlp_width: int, rngs: nnx.Rngs
    ):
        self.width = width
        self.input_token = None if inputs == width else nnx.Linear(inputs, width, rngs=rngs)
        self.label_token = nnx.Linear(classes, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, heads, mlp_width, rngs) for _ in range(depth)])
        self.norm = _norm(width, rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(
        self, x_BSE: Array, y_BL: Array, position_TD: Array | None, *, causal: bool, record: bool
    ) -> tuple[Array, Mapping[str, Array]]:
        """Returns logits `[B, C]` and, if asked for, the record."""
        x_BSD = x_BSE if self.input_token is None else self.input_token(x_BSE)
        # The projection of a one-hot label is a row of the kernel.
        kernel_CD, bias_D = self.label_token.kernel[...], self.label_token.bias[...]  # type: ignore
        y_BLD = kernel_CD[y_BL] + bias_D[None, None]
        x_BTD = interleave(x_BSD, y_BLD)
        if position_TD is not None:
            x_BTD = x_BTD + position_TD[None]
        kept = {"residual/0": x_BTD}
        for number, block in enumerate(self.blocks):
            last_only = number == len(self.blocks) - 1
            x_BTD, kept[f"attention/{number}"] = block(x_BTD, causal=causal, last_only=last_only)
            kept[f"residual/{number + 1}"] = x_BTD
        return self.head(self.norm(x_BTD[:, -1])), kept if record else {}


def interleave(x_BSD: Array, y_BLD: Array) -> Array:
    """Tokens x_1, y_1, ..., x_L, y_L, x_query, `[B, 2L+1, D]`."""
    B, L, D = y_BLD.shape
    pairs_BTD = jnp.reshape(jnp.stack([x_BSD[:, :-1], y_BLD], axis=2), (B, 2 * L, D))
    return jnp.concatenate([pairs_BTD, x_BSD[:, -1:]], axis=1)


def sinusoid(position_T: Array, width: int, base: Leaf) -> Array:
    """Sines, then cosines, of position * base^(-2j/width), j < width/2: `[T, width]`."""
    frequency_J = jnp.asarray(base, jnp.float32) ** (-2 * jnp.arange(width // 2) / width)
    angle_TJ = position_T[:, None] * frequency_J[None]
    return jnp.concatenate([jnp.sin(angle_TJ), jnp.cos(angle_TJ)], axis=-1)


@functools.cache
def _network(inputs: int, classes: int, depth: int, width: int, heads: int, mlp_width: int) -> Functional:
    return functional(
        lambda rngs: TransformerNetwork(
            inputs=inputs,
            classes=classes,
            depth=depth,
            width=width,
            heads=heads,
            mlp_width=mlp_width,
            rngs=rngs,
        )
    )


@setting
class Transformer(Predictor):
    """The transformer of Chan et al. 2025 (section 3), each of its details a field.

    Attributes:
      position: "shared_sinusoid" (an input and its label share a position), "token_sinusoid" or "none".
      position_base: the longest wavelength of the sinusoid is nearly `2 pi position_base`.
      causal: whether a token sees only itself and those before it.
      encoder: turns inputs into vectors, trained jointly. Without one, inputs are flattened and, unless they
        are as wide as the network already, projected.
    """

    depth: int = static(2)
    width: int = static(64)
    heads: int = static(1)
    mlp_ratio: int = static(4)
    position: str = static("shared_sinusoid")
    causal: bool = static(True)
    position_base: Leaf = 30.0
    encoder: Encoder | None = None

    def check(self) -> None:
        for name in ("depth", "width", "heads", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"The transformer's {name} is {getattr(self, name)}; it must be at least 1.")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"The transformer's width {self.width} must be even and a multiple of its {self.heads} heads."
            )
        names.require("The transformer's position", self.position, POSITIONS)
        if not self.position_base > 0:
            raise ValueError(f"The transformer's position_base is {self.position_base}; it must be positive.")
        if self.encoder is not None:
            self.encoder.check()

    def _functional(self, batch: Batch) -> Functional:
        return _network(
            features(self.encoder, batch.inputs.shape[2:]),
            batch.num_classes,
            self.depth,
            self.width,
            self.heads,
            self.mlp_ratio * self.width,
        )

    def init(self, key: Key, batch: Batch) -> Params:
        if batch.num_classes < 1:
            raise ValueError("The transformer answers with a class, but the batch has num_classes=0.")
        own, encoder = jax.random.split(key)
        return with_encoder(self.encoder, self._functional(batch).init(own), encoder, batch.inputs.shape[2:])

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        logits_BC, kept = self._functional(batch).apply(
            params,
            encode(self.encoder, params, batch.inputs),
            batch.targets[:, :-1],
            self._position(batch.inputs.shape[1]),
            causal=self.causal,
            record=record,
        )
        return Outputs(values=logits_BC, record=kept)

    def _position(self, slots: int) -> Array | None:
        if self.position == "none":
            return None
        token_T = jnp.arange(2 * slots - 1)
        position_T = token_T // 2 if self.position == "shared_sinusoid" else token_T
        return sinusoid(position_T, self.width, self.position_base)
