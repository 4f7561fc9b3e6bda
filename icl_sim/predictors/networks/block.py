"""The block of the transformer: attention and MLP on the stream of tokens."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from icl_sim.predictors.networks import attention
from icl_sim.predictors.networks.drawing import linear
from icl_sim.predictors.networks.intermediates import Intermediates
from icl_sim.predictors.networks.positions import rotated
from icl_sim.types import Array

BLOCKS = ("pre_norm", "replaced")
GELUS = ("tanh", "exact")
EPSILON = 1e-5  # of the layer norms


def layer_norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    # The variance in two passes: more exact, and on a CPU a twentieth of the whole step faster.
    return nnx.LayerNorm(width, epsilon=EPSILON, use_fast_variance=False, rngs=rngs)


def as_rows(x_BTD: Array) -> Array:
    """All tokens of all sequences as one matrix, `[B T, D]`."""
    return jnp.reshape(x_BTD, (-1, x_BTD.shape[-1]))


def as_tokens(x_RD: Array, sequences: int) -> Array:
    """Rows as the tokens of so many sequences, `[B, T, D]`."""
    return jnp.reshape(x_RD, (sequences, -1, x_RD.shape[-1]))


def normed(norm: nnx.LayerNorm, layer: nnx.Linear, x_RD: Array) -> Array:
    """The layer applied to the norm of rows.

    Where there are more rows than the layer has columns, scale and bias of the norm are multiplied into the layer
    instead of into every row: on a CPU a tenth of the whole step of a regression network.
    """
    kernel_DF: Array = layer.kernel[...]  # type: ignore
    if x_RD.shape[0] <= kernel_DF.shape[1]:
        return layer(norm(x_RD))
    scale_D, shift_D = norm.scale[...], norm.bias[...]  # type: ignore
    bias_F = shift_D @ kernel_DF
    if layer.bias is not None:
        bias_F = bias_F + layer.bias[...]
    return standardised(x_RD) @ (scale_D[:, None] * kernel_DF) + bias_F[None]


def narrowed(layer: nnx.Linear, x_RF: Array) -> Array:
    """The layer applied to rows that are wider than what it makes of them.

    Where there are many, the kernel is transposed first, and so is its gradient: a product of columns with columns,
    which a CPU multiplies half as fast again where the narrow ones come first. The barrier keeps XLA from undoing it.
    """
    kernel_FD: Array = layer.kernel[...]  # type: ignore
    if x_RF.shape[0] <= kernel_FD.shape[0]:
        return layer(x_RF)
    kernel_DF = jax.lax.optimization_barrier(kernel_FD.T)
    return jnp.einsum("RF,DF->RD", x_RF, kernel_DF) + layer.bias[...][None]  # type: ignore


@jax.custom_jvp
def standardised(x_RD: Array) -> Array:
    """Rows of mean 0 and variance 1, but for `EPSILON`."""
    return _standardised(x_RD)[0]


@standardised.defjvp
def _standardised_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # Scaled first, so that the gradient is one product, which XLA adds to that of the residual stream once; with the
    # mean last it adds up the stream's anew in every block below.
    (y_RD, inverse_R1), (dx_RD,) = _standardised(*primals), tangents
    scaled_RD = inverse_R1 * dx_RD
    along_R1 = jnp.mean(scaled_RD * y_RD, axis=-1, keepdims=True)
    return y_RD, scaled_RD - jnp.mean(scaled_RD, axis=-1, keepdims=True) - along_R1 * y_RD


def _standardised(x_RD: Array) -> tuple[Array, Array]:
    """With the inverse of their deviations, `[R, 1]`."""
    centred_RD = x_RD - jnp.mean(x_RD, axis=-1, keepdims=True)
    inverse_R1 = jax.lax.rsqrt(jnp.mean(jnp.square(centred_RD), axis=-1, keepdims=True) + EPSILON)
    return centred_RD * inverse_R1, inverse_R1


_GELU_SLOPE, _GELU_CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715


@jax.custom_jvp
def tanh_gelu(x: Array) -> Array:
    """The GELU with tanh (Hendrycks & Gimpel 2016): of x the part (1 + tanh z) / 2, which is sigmoid(2 z).

    Its slope is made of x and of itself, which the next product keeps anyway, so that XLA need not keep a tanh beside.
    """
    return x * jax.nn.sigmoid(_GELU_SLOPE * x * (1 + _GELU_CUBIC * x * x))


@tanh_gelu.defjvp
def _tanh_gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    y = tanh_gelu(x)
    part = _part(x, y)
    return y, (part + x * _part_slope(x, part)) * dx


@jax.custom_jvp
def _part(x: Array, y: Array) -> Array:
    """The part y of x that the GELU lets through."""
    tiny = jnp.abs(x) < 1e-30
    return jnp.where(tiny, 0.5, y / jnp.where(tiny, 1, x))


@_part.defjvp
def _part_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, _) = primals, tangents  # of x alone, which makes y: quotients of differences are noise near 0
    part = _part(x, y)
    return part, _part_slope(x, part) * dx


def _part_slope(x: Array, part: Array) -> Array:
    return part * (1 - part) * _GELU_SLOPE * (1 + 3 * _GELU_CUBIC * x * x)


class Block(nnx.Module):
    """Attention and MLP, each of the normalised stream; attention alone where the MLP has no width.

    Queries, keys and values come from one fused kernel.

    Matrices of rows, and one batch axis in attention, are what a CPU multiplies fastest: the whole
    training step takes a sixth less time than with products over more axes. Heads are cut out one after the other,
    since it copies slices faster than it transposes them.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        rngs: nnx.Rngs,
        *,
        attention_width: int | None = None,
        attention_bias: bool = True,
        replaced: bool = False,
        exact_gelu: bool = False,
    ):
        self.heads, self.replaced, self.exact_gelu = heads, replaced, exact_gelu
        self.attention_width = attention_width or width
        self.attention_norm = layer_norm(width, rngs)
        self.qkv = linear(width, 3 * self.attention_width, use_bias=attention_bias, rngs=rngs)
        self.out = linear(self.attention_width, width, use_bias=attention_bias, rngs=rngs)
        self.has_mlp = mlp_width > 0
        if self.has_mlp:
            self.mlp_norm = layer_norm(width, rngs)
            self.up = linear(width, mlp_width, rngs=rngs)
            self.down = linear(mlp_width, width, rngs=rngs)

    def __call__(
        self,
        x_BTD: Array,
        *,
        causal: bool,
        last_only: bool = False,
        every: int = 1,
        momentum_TT: Array | None = None,
        rotary_TK: Array | None = None,
        at_once: bool = False,
    ) -> tuple[Array, Array]:
        """Returns the residual stream and the attention map `[B, H, T, T]`.

        With `last_only` both are those of the last token alone, `[B, 1, D]` and `[B, H, 1, T]`, and with `every` of
        tokens 0, every, 2 every, ...: the same numbers with fewer operations, for the block after which nothing else
        is read.

        Args:
          momentum_TT: what `attention.momentum` makes, if values have momentum.
          rotary_TK: the sinusoid of the tokens' positions, as wide as a head, if it rotates queries and keys.
          at_once: whether heads attend all at once: half the program to compile.
        """
        B, T, H, K = *x_BTD.shape[:2], self.heads, self.attention_width // self.heads
        asked = slice(-1, None) if last_only else slice(None, None, every)
        seen_QT = jnp.tri(T, dtype=bool)[asked] if causal and not last_only else None
        x_RD, qkv_RA = self._into(self.attention_norm, self.qkv, as_rows(x_BTD))
        if last_only or every > 1:
            x_RD = as_rows(as_tokens(x_RD, B)[:, asked])
        qkv = as_tokens(qkv_RA, B)
        if at_once:  # each a sequence of its own
            parts = [jnp.reshape(self._of_heads(x_BTA), (-1, T, K)) for x_BTA in jnp.split(qkv, 3, axis=-1)]
        else:
            parts = jnp.split(qkv, 3 * H, axis=-1)
        number = len(parts) // 3
        if rotary_TK is not None:
            parts = [rotated(part, rotary_TK) for part in parts[: 2 * number]] + parts[2 * number :]
        heads = zip(parts[:number], parts[number : 2 * number], parts[2 * number :], strict=True)
        mixed = [attention.attend(q[:, asked], k, v, seen_QT) for q, k, v in heads]
        if at_once:
            mix_BHQK, map_BHQT = (jnp.reshape(x, (-1, H, *x.shape[1:])) for x in mixed[0])
            mix_BQA = jnp.reshape(jnp.swapaxes(mix_BHQK, 1, 2), (B, mix_BHQK.shape[2], -1))
        else:
            mix_BQA = jnp.concatenate([mix_BQK for mix_BQK, _ in mixed], axis=-1)
            map_BHQT = jnp.stack([map_BQT for _, map_BQT in mixed], axis=1)
        if momentum_TT is not None:
            v_BTA = qkv[..., 2 * self.attention_width :] if at_once else jnp.concatenate(parts[2 * H :], axis=-1)
            mix_BQA = mix_BQA + jnp.einsum("QT,BTA->BQA", momentum_TT[asked], v_BTA)
        x_RD = x_RD + self.out(as_rows(mix_BQA))
        if self.has_mlp:
            x_RD, added_RD = self._mlp(x_RD)
            x_RD = x_RD + added_RD
        return as_tokens(x_RD, B), map_BHQT

    def step_by_step(
        self,
        x_BTD: Array,
        layer: int,
        seen: Intermediates,
        *,
        causal: bool,
        momentum_TT: Array | None = None,
        rotary_TK: Array | None = None,
    ) -> Array:
        """The residual stream of all tokens, each intermediate of layer number `layer` shown to `seen` on the way."""
        B, T = x_BTD.shape[:2]
        x_RD, qkv_RA = self._into(self.attention_norm, self.qkv, as_rows(x_BTD))
        q_BHTK, k_BHTK, v_BHTK = (self._of_heads(part_BTA) for part_BTA in jnp.split(as_tokens(qkv_RA, B), 3, axis=-1))
        if rotary_TK is not None:
            q_BHTK, k_BHTK = (jax.vmap(rotated, (1, None), 1)(x, rotary_TK) for x in (q_BHTK, k_BHTK))
        q_BHTK, k_BHTK = seen(f"queries/{layer}", q_BHTK), seen(f"keys/{layer}", k_BHTK)
        v_BHTK = seen(f"values/{layer}", v_BHTK)
        score_BHTT = jnp.einsum("BHQK,BHTK->BHQT", q_BHTK, k_BHTK) / math.sqrt(q_BHTK.shape[-1])
        score_BHTT = seen(f"scores/{layer}", score_BHTT)
        if causal:
            score_BHTT = jnp.where(jnp.tri(T, dtype=bool)[None, None], score_BHTT, -jnp.inf)
        map_BHTT = seen(f"attention/{layer}", jax.nn.softmax(score_BHTT))
        mix_BHTK = jnp.einsum("BHQT,BHTK->BHQK", map_BHTT, v_BHTK)
        if momentum_TT is not None:
            mix_BHTK = mix_BHTK + jnp.einsum("QT,BHTK->BHQK", momentum_TT, v_BHTK)
        mix_BHTK = seen(f"heads/{layer}", mix_BHTK)
        mix_BTA = jnp.reshape(jnp.swapaxes(mix_BHTK, 1, 2), (B, T, -1))
        x_RD = x_RD + self.out(as_rows(mix_BTA))
        if self.has_mlp:
            x_RD, added_RD = self._mlp(x_RD)
            x_RD = x_RD + as_rows(seen(f"mlp/{layer}", as_tokens(added_RD, B)))
        return seen(f"residual/{layer + 1}", as_tokens(x_RD, B))

    def _of_heads(self, x_BTA: Array) -> Array:
        """Heads side by side as an axis, `[B, H, T, K]`."""
        return jnp.swapaxes(jnp.reshape(x_BTA, (*x_BTA.shape[:2], self.heads, -1)), 1, 2)

    def _mlp(self, x_RD: Array) -> tuple[Array, Array]:
        """The stream, and what the MLP adds to it."""
        x_RD, up_RF = self._into(self.mlp_norm, self.up, x_RD)
        hidden_RF = jax.nn.gelu(up_RF, approximate=False) if self.exact_gelu else tanh_gelu(up_RF)
        return x_RD, narrowed(self.down, hidden_RF)

    def _into(self, norm: nnx.LayerNorm, layer: nnx.Linear, x_RD: Array) -> tuple[Array, Array]:
        """The stream, and what the layer makes of its norm. The norm takes the stream's place if it is replaced."""
        if self.replaced:
            x_RD = norm(x_RD)
            return x_RD, layer(x_RD)
        return x_RD, normed(norm, layer, x_RD)
