"""The block of a pretrained decoder and its ends, as modules behind the seam.

Axes beside those of `icl_sim.types`: S slots of keys, those of caches before those of the pass itself; G heads of keys
and values; R query heads to each of these; K coordinates of a head; J pairs of rotated coordinates; P positions that
are recorded or asked; E width of token embeddings; V tokens of the vocabulary.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from icl_sim.lm.architecture import Architecture, Rope
from icl_sim.lm.attention import Past, attend, logits
from icl_sim.predictors.networks import drawing
from icl_sim.predictors.networks.seam import Functional, functional
from icl_sim.types import Array, Leaf, setting, static

ACTS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}
FEW_ROWS = 256  # to be unembedded; 1,024 take nearly twice as long where the table comes first
RECORDS = ("attention", "logits", "query", "key", "value", "block")


@setting
class Momentum:
    """What attention adds to its mix: sum_{i<t} eta^(t-i) v_i, per head (Dai et al. 2023, section 5).

    Attributes:
      eta: the decay, in (0, 1). The paper does not tell its own.
      exclude_self: whether the sum ends before t, as in the paper; otherwise v_t is counted, with weight 1.
      normalised: whether the sum is multiplied by 1 - eta. Not in the paper.
    """

    eta: Leaf = 0.2
    exclude_self: bool = static(True)
    normalised: bool = static(False)

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""
        if not 0 < self.eta < 1:
            raise ValueError(f"Momentum's eta is {self.eta}; it must be in (0, 1).")


class Place(NamedTuple):
    """Where the tokens of a pass stand, the same for all layers. B is 1 where all sequences are alike.

    Attributes:
      position_BT: of every token, from 0.
      slot_BS: the position of every key, those of the caches first; -1 for a slot to be overlooked.
      sine_XBTJ, cosine_XBTJ: of the angles of the X distinct ropes; None without RoPE.
      recorded_BP: the tokens that are recorded; None for all.
      momentum: what is added to attention, if anything.
      asked_BP: the tokens that go on from the layer, where the others only are keys and values to them; None for all.
        Not with records.
    """

    position_BT: Array
    slot_BS: Array
    sine_XBTJ: Array | None
    cosine_XBTJ: Array | None
    recorded_BP: Array | None
    momentum: Momentum | None
    asked_BP: Array | None = None


class Norm(nnx.Module):
    """A norm of the last axis, computed in float32."""

    def __init__(self, architecture: Architecture, width: int, *, rms: bool, rngs: nnx.Rngs):
        self.rms, self.epsilon, self.plus_one = rms, architecture.norm_epsilon, architecture.norm_plus_one
        self.scale = nnx.Param((jnp.zeros if self.plus_one else jnp.ones)(width))
        if not rms:
            self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x: Array) -> Array:
        wide = x.astype(jnp.float32)
        if not self.rms:
            wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
        wide = wide * _last(self.scale[...].astype(jnp.float32) + float(self.plus_one), x.ndim)
        if not self.rms:
            wide = wide + _last(self.bias[...].astype(jnp.float32), x.ndim)
        return wide.astype(x.dtype)


class Block(nnx.Module):
    """Attention and MLP on the residual stream."""

    def __init__(self, architecture: Architecture, rngs: nnx.Rngs):
        a = self.architecture = architecture

        def linear(inputs: int, outputs: int, bias: bool) -> nnx.Linear:
            draw = drawing.scaled_normal(a.initial_std)
            return nnx.Linear(inputs, outputs, use_bias=bias, kernel_init=draw, rngs=rngs)

        def norm(width: int = a.width, rms: bool = a.norm == "rms") -> Norm:
            return Norm(a, width, rms=rms, rngs=rngs)

        self.attention_norm = norm()
        self.query = linear(a.width, a.heads * a.head_width, a.query_key_value_bias)
        self.key = linear(a.width, a.kv_heads * a.head_width, a.query_key_value_bias)
        self.value = linear(a.width, a.kv_heads * a.head_width, a.query_key_value_bias)
        self.output = linear(a.heads * a.head_width, a.width, a.output_bias)
        if a.query_key_norm:
            self.query_norm, self.key_norm = norm(a.head_width, True), norm(a.head_width, True)
        if a.residual != "parallel_one_norm":
            self.mlp_norm = norm()
        if a.sandwich_norms:
            self.attention_out_norm, self.mlp_out_norm = norm(), norm()
        if a.gated:
            self.gate = linear(a.width, a.mlp_width, a.mlp_bias)
        self.up = linear(a.width, a.mlp_width, a.mlp_bias)
        self.down = linear(a.mlp_width, a.width, a.mlp_bias)

    def __call__(
        self,
        x_BTD: Array,
        place: Place,
        past: tuple[Past, ...],
        layer: Mapping[str, Array],
        record: tuple[str, ...],
    ) -> tuple[Array, Past, dict[str, Array]]:
        """Returns the stream, keys and values of all its own tokens, and what of `RECORDS` is asked for.

        `layer` is what `per_layer` gives, for this layer.
        """
        a, seen = self.architecture, dict.fromkeys(record)

        def note(name: str, make) -> None:
            if name in seen:
                seen[name] = make()

        at = functools.partial(tokens_at, index_BP=place.recorded_BP)
        asked = functools.partial(tokens_at, index_BP=place.asked_BP)
        pre = a.residual != "post_norm"
        normed_BTD = self.attention_norm(x_BTD) if pre else x_BTD
        k_BTGK = self._heads(self.key(normed_BTD), a.kv_heads)
        v_BTGK = self._heads(self.value(normed_BTD), a.kv_heads)
        x_BTD, normed_BTD = asked(x_BTD), asked(normed_BTD)
        q_BTHK = self._heads(self.query(normed_BTD), a.heads)
        if a.query_key_norm:
            q_BTHK, k_BTGK = self.query_norm(q_BTHK), self.key_norm(k_BTGK)
        q_BTHK = q_BTHK * layer["scale"].astype(q_BTHK.dtype)
        for name, heads in (("query", q_BTHK), ("key", k_BTGK), ("value", v_BTGK)):
            note(name, lambda heads=heads: at(jnp.reshape(heads, (*heads.shape[:2], -1))))
        if place.sine_XBTJ is not None and place.cosine_XBTJ is not None:
            sine_BTJ, cosine_BTJ = place.sine_XBTJ[layer["rope"]], place.cosine_XBTJ[layer["rope"]]
            q_BTHK = rotated(q_BTHK, asked(sine_BTJ), asked(cosine_BTJ), a.rope_interleaved)
            k_BTGK = rotated(k_BTGK, sine_BTJ, cosine_BTJ, a.rope_interleaved)
        note("logits", lambda: logits(at(q_BTHK), k_BTGK, past))

        age_BTS = asked(place.position_BT)[:, :, None] - place.slot_BS[:, None]
        visible_BTS = (age_BTS >= 0) & (place.slot_BS >= 0)[:, None]
        if any(a.windows):
            visible_BTS = visible_BTS & (age_BTS < layer["window"])
        decay_BTS, some = _decay(place, age_BTS), place.asked_BP is not None
        mix_BTA = attend(q_BTHK, k_BTGK, v_BTGK, past, visible_BTS, decay_BTS, some=some)
        attention_BTD = self.output(mix_BTA)
        note("attention", lambda: at(attention_BTD))
        if a.sandwich_norms:
            attention_BTD = self.attention_out_norm(attention_BTD)
        if a.residual == "pre_norm":
            x_BTD = x_BTD + attention_BTD
            x_BTD = x_BTD + self._mlp(self.mlp_norm(x_BTD))
        elif a.residual == "post_norm":
            x_BTD = self.attention_norm(x_BTD + attention_BTD)
            x_BTD = self.mlp_norm(x_BTD + self._mlp(x_BTD))
        else:
            other_BTD = normed_BTD if a.residual == "parallel_one_norm" else self.mlp_norm(x_BTD)
            x_BTD = x_BTD + attention_BTD + self._mlp(other_BTD)
        note("block", lambda: at(x_BTD))
        return x_BTD, Past(k_BTGK, v_BTGK), seen  # type: ignore[return-value]

    def _heads(self, x_BTA: Array, heads: int) -> Array:
        return jnp.reshape(x_BTA, (*x_BTA.shape[:2], heads, self.architecture.head_width))

    def _mlp(self, x_BTD: Array) -> Array:
        act = ACTS[self.architecture.activation]
        inner_BTF = act(self.gate(x_BTD)) * self.up(x_BTD) if self.architecture.gated else act(self.up(x_BTD))
        added_BTD = self.down(inner_BTF)
        return self.mlp_out_norm(added_BTD) if self.architecture.sandwich_norms else added_BTD


class Embedding(nnx.Module):
    """Token ids and positions to the residual stream."""

    def __init__(self, architecture: Architecture, rngs: nnx.Rngs):
        a = self.architecture = architecture
        draw = drawing.scaled_normal(a.initial_std)
        self.token = nnx.Param(draw(rngs.params(), (a.vocab_size, a.embedded)))
        if a.positions == "learned":
            self.position = nnx.Param(draw(rngs.params(), (a.max_positions + a.position_offset, a.width)))
        if a.projected:
            self.project = nnx.Linear(a.embedded, a.width, use_bias=False, kernel_init=draw, rngs=rngs)

    def __call__(self, ids_BT: Array, position_BT: Array) -> Array:
        a = self.architecture
        x_BTE = self.token[...][ids_BT]
        if a.embedding_scale != 1:
            scale = jnp.float32(a.embedding_scale)
            if a.embedding_scale_rounded:
                scale = scale.astype(x_BTE.dtype).astype(jnp.float32)
            x_BTE = (x_BTE.astype(jnp.float32) * scale).astype(x_BTE.dtype)
        x_BTD = self.project(x_BTE) if a.projected else x_BTE
        if a.positions == "learned":
            added = self.position[...][position_BT + a.position_offset]
        elif a.positions == "sinusoidal":
            added = sinusoid(position_BT + a.position_offset, a.width).astype(x_BTD.dtype)
        else:
            return x_BTD
        return x_BTD + jnp.broadcast_to(added, x_BTD.shape)


class Final(nnx.Module):
    """The residual stream to what is unembedded."""

    def __init__(self, architecture: Architecture, rngs: nnx.Rngs):
        a = self.architecture = architecture
        if a.final_norm:
            self.norm = Norm(a, a.width, rms=a.norm == "rms", rngs=rngs)
        if a.projected:
            draw = drawing.scaled_normal(a.initial_std)
            self.project = nnx.Linear(a.width, a.embedded, use_bias=False, kernel_init=draw, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        if self.architecture.final_norm:
            x = self.norm(x)
        return self.project(x) if self.architecture.projected else x


class Head(nnx.Module):
    """The part of the unembedding that is not the embedding; its rows are tokens, as there."""

    def __init__(self, architecture: Architecture, rngs: nnx.Rngs):
        a = architecture
        if not a.tied:
            draw = drawing.scaled_normal(a.initial_std)
            self.token = nnx.Param(draw(rngs.params(), (a.vocab_size, a.embedded)))
        if a.head_bias:
            self.bias = nnx.Param(jnp.zeros(a.vocab_size))

    def __call__(self, x: Array, embedding_VE: Array) -> Array:
        table_VE = self.token[...] if hasattr(self, "token") else embedding_VE
        logits = _unembedded(table_VE, x)
        return logits + _last(self.bias[...].astype(jnp.float32), x.ndim) if hasattr(self, "bias") else logits


def _unembedded(table_VE: Array, x: Array) -> Array:
    """Products with all rows of the table, in float32.

    The table comes before a few rows: a CPU packs what comes second, and takes twice as long for 256 rows and a table
    of 49,152 in the other order, ten times for 4. The barrier keeps XLA from turning them round again.
    """
    x_NE = jnp.reshape(x, (-1, x.shape[-1]))
    multiply = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    if len(x_NE) > min(FEW_ROWS, len(table_VE)):
        logits_NV = multiply("NE,VE->NV", x_NE, table_VE)
    else:
        logits_NV = jax.lax.optimization_barrier(multiply("VE,NE->VN", table_VE, x_NE)).T
    return jnp.reshape(logits_NV, (*x.shape[:-1], len(table_VE)))


class Parts(NamedTuple):
    """The modules of an architecture, as pure functions on their parameters."""

    embedding: Functional
    layer: Functional
    final: Functional
    head: Functional


@functools.lru_cache(maxsize=128)
def parts(architecture: Architecture) -> Parts:
    """Its modules; what `init` makes for the layer is one layer's."""
    modules = (Embedding, Block, Final, Head)
    return Parts(*(functional(functools.partial(module, architecture), together=True) for module in modules))


def per_layer(architecture: Architecture) -> dict[str, np.ndarray]:
    """What differs between layers beside their parameters, `[depth]` each, for a scan to go over."""
    a, numbers = architecture, np.arange(architecture.depth)
    distinct = list(dict.fromkeys(a.ropes))
    unbounded = np.iinfo(np.int32).max
    return {
        "rope": np.asarray([distinct.index(rope) for rope in a.ropes] or np.zeros_like(numbers), np.int32),
        "window": np.asarray([window or unbounded for window in a.windows] or [unbounded] * a.depth, np.int32),
        "scale": np.float32(a.attention_scale)
        / (numbers + 1 if a.attention_scale_by_layer else np.ones_like(numbers)).astype(np.float32),
    }


def frequencies(rope: Rope, width: int) -> np.ndarray:
    """Radians per position of each pair of coordinates, `[J]` float32."""
    frequency_J = 1.0 / rope.theta ** (np.arange(0, width, 2) / width)
    if rope.llama3 is None:
        return (frequency_J / rope.factor).astype(np.float32)
    low, high, original = rope.llama3
    turns_J = original * frequency_J / (2 * math.pi)
    kept_J = np.clip((turns_J - low) / (high - low), 0, 1)
    return (kept_J * frequency_J + (1 - kept_J) * frequency_J / rope.factor).astype(np.float32)


def angles(architecture: Architecture, position_BT: Array) -> tuple[Array, Array]:
    """Sines and cosines of the angles of all distinct ropes, `[X, B, T, J]` each."""
    distinct = dict.fromkeys(architecture.ropes)
    frequency_XJ = jnp.asarray(np.stack([frequencies(rope, architecture.rope_width) for rope in distinct]))
    angle_XBTJ = position_BT.astype(jnp.float32)[None, ..., None] * frequency_XJ[:, None, None]
    return jnp.sin(angle_XBTJ), jnp.cos(angle_XBTJ)


def rotated(x_BTHK: Array, sine_BTJ: Array, cosine_BTJ: Array, interleaved: bool) -> Array:
    """Turns the first 2J coordinates of every head in pairs, j with j + J or, interleaved, 2j with 2j + 1."""
    J = sine_BTJ.shape[-1]
    turned, rest = x_BTHK[..., : 2 * J].astype(jnp.float32), x_BTHK[..., 2 * J :]
    pairs = jnp.reshape(turned, (*x_BTHK.shape[:-1], *((J, 2) if interleaved else (2, J))))
    axis = -1 if interleaved else -2
    first, second = jnp.take(pairs, 0, axis), jnp.take(pairs, 1, axis)
    sine, cosine = sine_BTJ[:, :, None], cosine_BTJ[:, :, None]
    pairs = jnp.stack([first * cosine - second * sine, second * cosine + first * sine], axis)
    turned = jnp.reshape(pairs, turned.shape).astype(x_BTHK.dtype)
    return jnp.concatenate([turned, rest], axis=-1) if rest.shape[-1] else turned


def sinusoid(position_BT: Array, width: int) -> Array:
    """Sines, then cosines, of position * 10^4^(-j/(width/2 - 1)), `[B, T, D]` (fairseq); 0 last if the width is odd."""
    half = width // 2
    frequency_J = jnp.asarray(np.exp(-np.arange(half) * (math.log(10_000) / max(half - 1, 1))), jnp.float32)
    angle_BTJ = position_BT.astype(jnp.float32)[..., None] * frequency_J[None, None]
    waves = jnp.concatenate([jnp.sin(angle_BTJ), jnp.cos(angle_BTJ)], axis=-1)
    return jnp.pad(waves, ((0, 0), (0, 0), (0, width % 2)))


def _decay(place: Place, age_BTS: Array) -> Array | None:
    """The weight of the value in every slot in the momentum of every token."""
    if place.momentum is None:
        return None
    eta, least = jnp.asarray(place.momentum.eta, jnp.float32), 1 if place.momentum.exclude_self else 0
    decay_BTS = eta ** jnp.maximum(age_BTS, 0)
    decay_BTS = jnp.where((age_BTS >= least) & (place.slot_BS >= 0)[:, None], decay_BTS, 0.0)
    return decay_BTS * (1 - eta) if place.momentum.normalised else decay_BTS


def tokens_at(x_BT: Array, index_BP: Array | None) -> Array:
    """Some tokens of an array of any further axes; all for None. Of either B may be 1."""
    if index_BP is None:
        return x_BT
    index = jnp.reshape(index_BP, (*index_BP.shape, *[1] * (x_BT.ndim - 2)))
    return jnp.take_along_axis(x_BT, index, axis=1)


def _last(x_X: Array, ndim: int) -> Array:
    return jnp.reshape(x_X, (*[1] * (ndim - 1), -1))
