"""A decoder that only answers: one compiled block, called for layer after layer.

`decoder.forward` is one program, to be differentiated too: it scans the layers, and copies each out of the stack of all
first. Here the program of one layer is all that is compiled, and that of the last where it is asked for some tokens. On
a CPU the layers are views of the stack; elsewhere each is copied out when its turn comes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.lm import decoder
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.attention import Past
from icl_sim.lm.decoder import Cache
from icl_sim.lm.layers import Momentum, Place, per_layer, tokens_at
from icl_sim.types import Array, Params


@dataclasses.dataclass(frozen=True)
class Passed:
    """What a pass of `Inference` leaves.

    Attributes:
      hidden_BPD: after the final norm, at the tokens that were asked.
      record: as of `decoder.Decoded`.
      own: keys and values of all tokens of the pass, of every layer.
      slot_BT: where they stand; -1 for those past their row's length.
    """

    hidden_BPD: Array
    record: Mapping[str, Array]
    own: Sequence[Past]
    slot_BT: Array

    def cache(self) -> Cache:
        """What later tokens need of those of this pass."""
        whole = _stacked(*self.own)
        return Cache(key_LBSGK=whole.key_BSGK, value_LBSGK=whole.value_BSGK, position_BS=self.slot_BT)


class Inference:
    """An architecture and its parameters, to run tokens through. While it lives they are not to be donated.

    Attributes:
      architecture: of the decoder.
      ends: the parameters of all but the layers, as `decoder.unembed` takes them.
    """

    def __init__(self, architecture: Architecture, params: Params):
        params = jax.tree.map(jnp.asarray, params)
        device, *others = {device for leaf in jax.tree.leaves(params) for device in leaf.devices()}
        on_one_cpu = not others and device.platform == "cpu"
        if on_one_cpu:  # bound to it, as all views are: for arrays that are not, programs are compiled once more
            params = jax.device_put(params, device)
        self.architecture = architecture
        self.ends = {name: part for name, part in params.items() if name != "layers"}
        self._stack = params["layers"], per_layer(architecture)
        numbers = range(architecture.depth)
        self._layers = [_viewed(self._stack, number, device) for number in numbers] if on_one_cpu else None

    def forward(
        self,
        ids_BT: Array | np.ndarray,
        *,
        caches: Sequence[Cache] = (),
        lengths_B: Array | np.ndarray | None = None,
        record: bool | Iterable[str] = (),
        recorded_BP: Array | np.ndarray | None = None,
        asked_BP: Array | np.ndarray | None = None,
        momentum: Momentum | None = None,
    ) -> Passed:
        """Runs tokens through the decoder, causally. Not to be traced.

        Args:
          ids_BT, caches, lengths_B, record, recorded_BP, momentum: as of `decoder.forward`.
          asked_BP: the tokens that are asked, indices into T; None for all, P = T. Of the last layer only what they
            need is computed, unless something is recorded.
        """
        record, architecture, caches = decoder.records(record), self.architecture, tuple(caches)
        x_BTD, place, slot_BT = _begin(architecture, self.ends, ids_BT, caches, lengths_B, recorded_BP, momentum)
        past = tuple(cache.past for cache in caches)
        own, seen, last = [], [], architecture.depth - 1
        for number in range(architecture.depth):
            at = place._replace(asked_BP=asked_BP) if number == last and not record else place
            layer = self._layers[number] if self._layers else _numbered(self._stack, number)
            x_BTD, its, told = _block(architecture, record, layer, x_BTD, at, _numbered(past, number))
            own.append(its)
            seen.append(told)
        hidden_BPD = _finish(architecture, self.ends, x_BTD, asked_BP if record else None)
        return Passed(hidden_BPD, _stacked(*seen) if record else {}, own, slot_BT)


_numbered = jax.jit(decoder.numbered)


def _viewed(stacked: Any, number: int, device: jax.Device) -> Any:
    """One layer's of leaves with a layer axis first, in the same memory: jax takes numpy's arrays as they are, but for
    those whose bytes are no multiple of 64."""
    return jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)[number], device), stacked)


@jax.jit
def _stacked(*each: Any) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


@functools.partial(jax.jit, static_argnums=0)
def _begin(
    architecture: Architecture,
    ends: Params,
    ids_BT: Array,
    caches: tuple[Cache, ...],
    lengths_B: Array | None,
    recorded_BP: Array | None,
    momentum: Momentum | None,
) -> tuple[Array, Place, Array]:
    known = {"caches": caches, "lengths_B": lengths_B, "recorded_BP": recorded_BP, "momentum": momentum}
    x_BTD, place = decoder.begin(architecture, ends, ids_BT, **known)
    return x_BTD, place, decoder.own_slots(place, ids_BT)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _block(
    architecture: Architecture,
    record: tuple[str, ...],
    layer: tuple[Params, Mapping[str, Array]],
    x_BTD: Array,
    place: Place,
    past: tuple[Past, ...],
) -> tuple[Array, Past, Mapping[str, Array]]:
    return decoder.block(architecture, layer, x_BTD, place, past, record=record)


@functools.partial(jax.jit, static_argnums=0)
def _finish(architecture: Architecture, ends: Params, x_BTD: Array, asked_BP: Array | None) -> Array:
    return decoder.finish(architecture, ends, tokens_at(x_BTD, asked_BP))
