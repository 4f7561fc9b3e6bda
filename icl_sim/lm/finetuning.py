"""Finetuning on demonstrations, one at a time, by plain stochastic gradient descent (Dai et al. 2023, section 4.1).

One example a step, in the order of the demonstrations, each once. The loss is the cross-entropy of the next token,
averaged over all tokens of template and label. No momentum, decay, warm-up or clipping.

"gd" sends the error through the whole network. "lcgd", layer-causal gradient descent (Deutch et al. 2024, section 4),
gives every layer a loss of its own, that of reading the answer off its output by the final norm and the unembedding,
and nothing flows between layers, as in in-context learning a layer depends on those below it alone. Gradients are
larger by orders of magnitude there, so that a rate of one says nothing about the other.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.lm import decoder
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.asking import require_known
from icl_sim.lm.layers import per_layer
from icl_sim.lm.prompts import Tokens
from icl_sim.names import require
from icl_sim.types import Array, Params

METHODS, SCOPES, HEAD_INPUTS = ("gd", "lcgd"), ("kv", "all"), ("block", "attn")
KEYS_AND_VALUES = ("key", "value")
_STEP = 32  # lengths are rounded up to multiples, so that few programs are compiled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to finetune.

    Attributes:
      learning_rate: of gradient descent.
      method: "gd" or "lcgd".
      scope: what moves: "kv", the key and value projections of all layers, weights and biases, or "all": every
        parameter, with "lcgd" every one of the layers, since the head that they share stays as it is.
      head_input: what the head of a layer reads in "lcgd": "block", the stream after the whole block, as the authors'
        code does, or "attn", the output of its attention alone, as their text says.
    """

    learning_rate: float = 0.01
    method: str = "gd"
    scope: str = "kv"
    head_input: str = "block"

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""
        for name, allowed in (("method", METHODS), ("scope", SCOPES), ("head_input", HEAD_INPUTS)):
            require(name, getattr(self, name), allowed)
        if not 0 <= self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be at least 0 and finite.")


@dataclasses.dataclass(frozen=True)
class Finetuned:
    """What finetuning made.

    Attributes:
      params: the parameters afterwards; what did not move is the very same arrays.
      losses: of every example, before its update; in "lcgd" the mean over layers.
      query_AKD: q, scaled and before rotation, of every token of every example at the moment at which it was trained
        on, in the order of the demonstrations, the first token of a text left out (`Prompts.shown` counts the same).
      update_norm: the length of the whole update.
      relative_norm: that by the length of what moved.
    """

    params: Params
    losses: tuple[float, ...]
    query_AKD: np.ndarray
    update_norm: float
    relative_norm: float


def finetune(
    architecture: Architecture, params: Params, start: Tokens, demonstrations: Sequence[Tokens], recipe: Recipe
) -> Finetuned:
    """Trains on each demonstration, with `start` before it, one after the other."""
    recipe.check()
    require_known(architecture, (start, *demonstrations))
    # Small steps would round to nothing in half precision.
    before = moving = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), trainable(params, recipe))
    rate = jnp.float32(recipe.learning_rate)
    losses, queries = [], []
    fixed = dataclasses.replace(recipe, learning_rate=0.0)  # a number of the program's input, not of its structure
    for one in demonstrations:
        tokens = start + one
        ids_T = np.zeros(-(-len(tokens) // _STEP) * _STEP, np.int32)
        ids_T[: len(tokens)] = tokens
        moving, loss, query_ATD = _update(architecture, fixed, moving, params, ids_T, np.int32(len(tokens)), rate)
        losses.append(loss)
        queries.append(query_ATD[:, len(start) : len(tokens)])
    moved, size = _distance(moving, before), _distance(before, jax.tree.map(jnp.zeros_like, before))
    width = architecture.heads * architecture.head_width
    query_AKD = np.concatenate([np.asarray(one) for one in queries] or [np.zeros((architecture.depth, 0, width))], 1)
    return Finetuned(
        merged(params, moving), tuple(map(float, losses)), query_AKD, float(moved), float(moved) / (float(size) or 1.0)
    )


def trainable(params: Params, recipe: Recipe) -> Params:
    """The part of the parameters that a recipe moves."""
    if recipe.scope == "kv":
        return {"layers": {name: params["layers"][name] for name in KEYS_AND_VALUES}}
    return {"layers": params["layers"]} if recipe.method == "lcgd" else params


def merged(params: Params, moved: Params) -> Params:
    """The parameters with a part of them replaced, in the precision that they have."""
    if not isinstance(moved, Mapping):
        return jnp.asarray(moved, params.dtype)
    return {name: merged(part, moved[name]) if name in moved else part for name, part in params.items()}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _update(
    architecture: Architecture,
    recipe: Recipe,
    moving: Params,
    params: Params,
    ids_T: Array,
    length: Array,
    rate: Array,
) -> tuple[Params, Array, Array]:
    """One step: what moves afterwards, the loss before it, and q of all tokens, `[A, T, H K]`."""
    if recipe.method == "lcgd":
        told, gradients = layer_gradients(architecture, merged(params, moving), moving["layers"], ids_T, length, recipe)
        (loss, query_ATD), gradients = (jnp.mean(told[0]), told[1]), {"layers": gradients}
    else:

        def loss_of(moving: Params) -> tuple[Array, Array]:
            return loss_and_query(architecture, merged(params, moving), ids_T, length)

        (loss, query_ATD), gradients = jax.value_and_grad(loss_of, has_aux=True)(moving)
    stepped = jax.tree.map(lambda p, g: (p - rate * g).astype(p.dtype), moving, gradients)
    return stepped, loss, query_ATD


def loss_and_query(
    architecture: Architecture, params: Params, ids_T: Array, length: Array, begin: Array | int = 1
) -> tuple[Array, Array]:
    """The mean cross-entropy of every token from number `begin` on, and q of all, `[A, T, H K]`."""
    out = decoder.forward(architecture, params, ids_T[None], record=("query",))
    return _cross_entropy(architecture, params, out.hidden_BTD[0], ids_T, length, begin), out.record["query"][:, 0]


def layer_gradients(
    architecture: Architecture, params: Params, moving: Params, ids_T: Array, length: Array, recipe: Recipe
) -> tuple[tuple[Array, Array], Params]:
    """The loss of every layer `[A]`, q `[A, T, H K]`, and the gradient of each loss by its layer's moving parameters.

    Layer by layer, so that logits over the vocabulary are held for one of them at a time.
    """
    x_BTD, place = decoder.begin(architecture, params, ids_T[None])

    def step(x_BTD: Array, each: Any):
        layer_params, own, moving = each

        def loss_of(moving: Params):
            loss, rest = _layer_loss(
                architecture, params, (merged(layer_params, moving), own), x_BTD, place, ids_T, length, recipe
            )
            return loss, (loss, *rest)

        gradient, (loss, x_BTD, query_TD) = jax.grad(loss_of, has_aux=True)(moving)
        return x_BTD, ((loss, query_TD), gradient)

    return jax.lax.scan(step, x_BTD, (params["layers"], per_layer(architecture), moving))[1]


def layer_losses(
    architecture: Architecture, params: Params, ids_T: Array, length: Array, recipe: Recipe = Recipe(method="lcgd")
) -> Array:
    """The loss of every layer, `[A]`; that of layer l has a gradient by the parameters of layer l alone."""
    x_BTD, place = decoder.begin(architecture, params, ids_T[None])

    def step(x_BTD: Array, layer: Any):
        loss, (x_BTD, _) = _layer_loss(architecture, params, layer, x_BTD, place, ids_T, length, recipe)
        return x_BTD, loss

    return jax.lax.scan(step, x_BTD, (params["layers"], per_layer(architecture)))[1]


def _layer_loss(
    architecture: Architecture,
    params: Params,
    layer: Any,
    x_BTD: Array,
    place: Any,
    ids_T: Array,
    length: Array,
    recipe: Recipe,
) -> tuple[Array, tuple[Array, Array]]:
    """The loss of reading the next token off one layer; the stream after it, and its q, `[T, H K]`."""
    head = jax.lax.stop_gradient({name: part for name, part in params.items() if name != "layers"})
    x_BTD = jax.lax.stop_gradient(x_BTD)
    x_BTD, _, seen = decoder.block(architecture, layer, x_BTD, place, record=("attention", "query"))
    read_BTD = x_BTD if recipe.head_input == "block" else seen["attention"]
    hidden_TD = decoder.finish(architecture, head, read_BTD[0])
    return _cross_entropy(architecture, head, hidden_TD, ids_T, length), (x_BTD, seen["query"][0])


def _cross_entropy(
    architecture: Architecture,
    params: Params,
    hidden_TD: Array,
    ids_T: Array,
    length: Array,
    begin: Array | int = 1,
) -> Array:
    """-log p of every token from number `begin` on, averaged over those that are real."""
    logits_TV = decoder.unembed(architecture, params, hidden_TD[:-1])
    chosen_T = jnp.take_along_axis(logits_TV, ids_T[1:, None], axis=1)[:, 0]
    cost_T = jax.nn.logsumexp(logits_TV, axis=-1) - chosen_T
    number_T = jnp.arange(1, len(ids_T))
    counted_T = (begin <= number_T) & (number_T < length)
    return jnp.sum(jnp.where(counted_T, cost_T, 0.0)) / jnp.maximum(length - begin, 1)


@jax.jit
def _distance(one: Params, other: Params) -> Array:
    return jnp.sqrt(
        sum(jnp.sum(jnp.square(a - b)) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    )
