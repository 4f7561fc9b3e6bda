"""One decoder for all families: embed, go through the layers by a scan, norm, and unembed what is asked for.

Parameters are a plain nested dict:

    embedding: token [V, E]; position [*, D] where learned; project/kernel [E, D] where E is not D
    layers:    attention_norm, query, key, value, output, mlp_norm, gate, up, down, ...; all leaves [layers, ...]
    final:     norm; project/kernel [D, E]
    head:      token [V, E] where not tied; bias [V]

Kernels are `[layers, inputs, outputs]`. Queries, keys and values have kernels of their own in every family, so that
"keys and values only" is a choice of names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.attention import Past
from icl_sim.lm.layers import RECORDS, Momentum, Place, angles, parts, per_layer
from icl_sim.types import Array, Key, Params, setting


@setting
class Cache:
    """What later tokens need of those of one pass, from `forward`.

    A cache of one sequence (B = 1) serves a batch of any size without being copied.

    Attributes:
      key_LBSGK, value_LBSGK: per layer; keys are rotated already.
      position_BS: where the token of each slot stands; -1 for a slot that holds none.
    """

    key_LBSGK: Array
    value_LBSGK: Array
    position_BS: Array

    @property
    def past(self) -> Past:
        """Keys and values of all layers, a layer axis first."""
        return Past(self.key_LBSGK, self.value_LBSGK)


@setting
class Decoded:
    """What `forward` returns.

    Attributes:
      hidden_BTD: after the final norm; `unembed` makes logits of it, or of the tokens of it that matter.
      cache: of the tokens of this pass alone; the next pass takes the caches of all before it.
      record: what was asked for of `RECORDS`, a layer axis first.
    """

    hidden_BTD: Array
    cache: Cache
    record: Mapping[str, Array]


def forward(
    architecture: Architecture,
    params: Params,
    ids_BT: Array,
    *,
    caches: Sequence[Cache] = (),
    lengths_B: Array | None = None,
    record: bool | Iterable[str] = (),
    recorded_BP: Array | None = None,
    momentum: Momentum | None = None,
) -> Decoded:
    """Runs tokens through the decoder, causally. Pure; jit it with `architecture` and `record` static.

    Args:
      ids_BT: tokens, padded on the right with any id.
      caches: what comes before them, in order, each of one sequence for all or of one for each.
      lengths_B: how many tokens of each row are real; None for all. Numbers at padded tokens mean nothing.
      record: names of intermediates to return, or True for all:
        "attention" `[layers, B, P, D]`, what attention adds, after the output projection, before any norm of it and
        before the residual add; "logits" `[layers, B, H, P, S]`, products of queries and keys, scaled and rotated,
        before mask and softmax, slots of the caches first; "query" `[layers, B, P, H K]`, scaled, before rotation,
        heads concatenated; "key" and "value" `[layers, B, P, G K]`, before rotation; "block" `[layers, B, P, D]`, the
        stream after the block.
      recorded_BP: the tokens whose intermediates are returned, indices into T; None for all, P = T.
      momentum: what attention adds to its mix (Dai et al. 2023, section 5).

    Raises:
      ValueError: for a name that `record` cannot have.
    """
    record = records(record)
    x_BTD, place = begin(
        architecture,
        params,
        ids_BT,
        caches=caches,
        lengths_B=lengths_B,
        recorded_BP=recorded_BP,
        momentum=momentum,
    )

    def step(x_BTD: Array, each: tuple[Params, Any, tuple[Past, ...]]):
        layer_params, layer, past = each
        x_BTD, own, seen = block(architecture, (layer_params, layer), x_BTD, place, past, record=record)
        return x_BTD, (own, seen)

    past = tuple(cache.past for cache in caches)
    x_BTD, (own, seen) = jax.lax.scan(step, x_BTD, (params["layers"], per_layer(architecture), past))
    cache = Cache(key_LBSGK=own.key_BSGK, value_LBSGK=own.value_BSGK, position_BS=own_slots(place, ids_BT))
    return Decoded(hidden_BTD=finish(architecture, params, x_BTD), cache=cache, record=seen)


def begin(
    architecture: Architecture,
    params: Params,
    ids_BT: Array,
    *,
    caches: Sequence[Cache] = (),
    lengths_B: Array | None = None,
    recorded_BP: Array | None = None,
    momentum: Momentum | None = None,
) -> tuple[Array, Place]:
    """The stream before the first layer, `[B, T, D]`, and what all layers need to know beside it; as in `forward`."""
    number_T = jnp.arange(ids_BT.shape[1], dtype=jnp.int32)
    before_BS = _beside(*(cache.position_BS for cache in caches), jnp.zeros((1, 0), jnp.int32))
    position_BT = jnp.max(before_BS, axis=1, initial=-1, keepdims=True) + 1 + number_T[None]
    own_BT = position_BT
    if lengths_B is not None:
        own_BT = jnp.where(number_T[None] < lengths_B[:, None], position_BT, -1)
    slot_BS = _beside(before_BS, own_BT)
    sine_XBTJ, cosine_XBTJ = angles(architecture, position_BT) if architecture.positions == "rope" else (None, None)
    place = Place(position_BT, slot_BS, sine_XBTJ, cosine_XBTJ, recorded_BP, momentum)
    return parts(architecture).embedding.apply(params["embedding"], ids_BT, position_BT), place


def own_slots(place: Place, ids_BT: Array) -> Array:
    """Where the tokens of the pass itself stand, `[B, T]`; -1 for those past their row's length."""
    return jnp.broadcast_to(place.slot_BS[:, -ids_BT.shape[1] :], ids_BT.shape)


def _beside(*parts: Array) -> Array:
    """Slots after each other, those of one sequence for all."""
    rows = max(map(len, parts))
    return jnp.concatenate([jnp.broadcast_to(part, (rows, part.shape[1])) for part in parts], axis=1)


def layer_of(architecture: Architecture, params: Params, number: int | Array) -> tuple[Params, Mapping[str, Array]]:
    """The parameters of one layer, and what else is its own: what `block` takes. The number may be traced."""
    return numbered((params["layers"], per_layer(architecture)), number)


def numbered(stacked: Any, number: int | Array) -> Any:
    """One layer's of leaves with a layer axis first."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[number], stacked)


def block(
    architecture: Architecture,
    layer: tuple[Params, Mapping[str, Array]],
    x_BTD: Array,
    place: Place,
    past: tuple[Past, ...] = (),
    *,
    record: bool | Iterable[str] = (),
) -> tuple[Array, Past, Mapping[str, Array]]:
    """One layer on the stream: what it makes of it, keys and values of all its tokens, and its record.

    `past` are keys and values of this layer from caches. With `begin` before and `finish` after, going through all
    layers is `forward`.
    """
    layer_params, own = layer
    return parts(architecture).layer.apply(layer_params, x_BTD, place, past, own, records(record))


def finish(architecture: Architecture, params: Params, x_BTD: Array) -> Array:
    """The final norm (and OPT-350M's projection), of a stream of any leading axes."""
    return parts(architecture).final.apply(params["final"], x_BTD)


def unembed(architecture: Architecture, params: Params, hidden: Array) -> Array:
    """Logits over the vocabulary, float32 `[..., V]`, of what `finish` or `forward` made, `[..., E]`."""
    return parts(architecture).head.apply(params.get("head", {}), hidden, params["embedding"]["token"])


def init(architecture: Architecture, key: Key) -> Params:
    """Random parameters: normal of `initial_std`, norms the identity, biases 0, as published code starts."""
    architecture.check()
    made = parts(architecture)
    embedding, layers, final, head = jax.random.split(key, 4)
    params = {
        "embedding": made.embedding.init(embedding),
        "layers": jax.vmap(made.layer.init)(jax.random.split(layers, architecture.depth)),
        "final": made.final.init(final),
        "head": made.head.init(head),
    }
    return {name: part for name, part in params.items() if part}


def shapes(architecture: Architecture) -> Params:
    """The parameters as shapes (`jax.ShapeDtypeStruct`), without making any."""
    return jax.tree.map(lambda leaf: leaf, _shapes(architecture))  # a copy: dicts can be changed


@functools.lru_cache(maxsize=128)
def _shapes(architecture: Architecture) -> Params:
    return jax.eval_shape(lambda: init(architecture, jax.random.key(0)))


def records(record: bool | Iterable[str]) -> tuple[str, ...]:
    """Names of records, checked."""
    if isinstance(record, bool):
        return RECORDS if record else ()
    record = tuple(record)
    for name in record:
        names.require("A record", name, RECORDS)
    return record
