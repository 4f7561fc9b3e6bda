"""Attention layers with weights set by hand, so that each is one step of gradient descent on the context, exactly.

For tokens (x, y) and steps of w <- w - (eta/N) sum_i x_i (w.x_i - y_i) from w0 (von Oswald et al. 2023, proposition 1):

    W_K = W_Q = [[I, 0], [0, 0]],   W_V = [[0, 0], [w0, -1]],   P = eta/N.

The y slots then hold the residuals y_i - w.x_i, or -w.x for the query, so that a second such layer is the second step.
GD++ lets a layer shrink the inputs too, x <- x - gamma sum_i x_i x_i.x, by W_V = [[I, 0], [0, -1]] and P = diag(-gamma,
..., -gamma, eta/N) (their appendix A.10). Where tokens are interleaved the first layer copies every y to its x (their
proposition 3, here with slots of their own, so that nothing has to be zeroed).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim import names
from icl_sim.predictors import LinearAttention
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Phase, Predictor, setting, static

CONSTRUCTIONS = ("gd", "gd++")


def construct(
    kind: str,
    network: LinearAttention,
    dim: int,
    pairs: int,
    rate: Leaf | Sequence[Leaf],
    *,
    shrink: Leaf | Sequence[Leaf] = 0.0,
    start: Array | None = None,
    sharpness: Leaf = 40.0,
    contrast: Leaf = 0.01,
) -> Params:
    """Parameters with which `network` takes a step of gradient descent in every layer that does not copy.

    A linear layer is exact in its first head; the others are zero. A softmax layer needs two heads, whose logits are
    plus and minus `contrast` times those of the linear layer. The constant terms of their weights cancel in the
    difference, and what is left for scores s_i and values v_i of the N tokens is

        sum_i (s_i - mean s) v_i + O(contrast^2):

    linear attention to a context that is centred by itself.

    Args:
      kind: "gd", or "gd++" which also shrinks the inputs.
      network: whose parameters to set. With interleaved tokens its first layer copies: exactly where it is linear, and
        up to N exp(-sharpness) where it is a softmax.
      dim: coordinates of an input.
      pairs: N, of a context.
      rate: eta, one number or one for every step.
      shrink: gamma of "gd++", likewise.
      start: w0 `[dim]`, for "gd"; zeros unless given.
      sharpness: of the softmax that copies.
      contrast: of two softmax heads.

    Raises:
      ValueError: if the network cannot hold the construction.
    """
    _check(kind, network, start is not None)
    slots = jax.eval_shape(lambda: network.init(jax.random.key(0), _batch(pairs, dim)))
    layers, heads, K, D = slots["query"].shape
    copies = network.tokens == "interleaved"
    tokens = 2 * pairs + 1 if copies else pairs + 1
    if (needed := max(dim + 1, tokens if copies else 0)) > K:
        raise ValueError(f"The network's key_size is {K}; this construction needs at least {needed}.")
    steps = layers - copies
    rate_S, shrink_S = (_per_step(name, given, steps) for name, given in (("rate", rate), ("shrink", shrink)))
    keys = tokens - 1 if network.context_only else tokens

    placed = [_copy(K, D, dim, tokens, sharpness if 0 in network.softmax_layers else None)] if copies else []
    for number in range(steps):
        head = _step(K, D, dim, rate_S[number] / pairs, shrink_S[number] if kind == "gd++" else None, start)
        softmax = number + copies in network.softmax_layers
        placed.append(_contrasted(head, keys, contrast) if softmax else [head])
    params = {name: jnp.zeros(slots[name].shape) for name in ("query", "key", "value", "out")}
    for layer, found in enumerate(placed):
        for number, head in enumerate(found):
            params = {name: params[name].at[layer, number].set(head[name]) for name in params}
    return params if start is None else {**params, "start": jnp.asarray(start)}


@setting
class Constructed(Predictor):
    """A network whose weights are set by `construct` and stay as they are.

    Attributes:
      network: which to set.
      construction: "gd" or "gd++".
      rate: eta, of w <- w - (eta/N) sum_i x_i (w.x_i - y_i); one number or a tuple with one for every step.
      shrink: gamma of "gd++", likewise.
      sharpness: of a softmax that copies.
      contrast: of the two softmax heads that stand for a linear one.
    """

    network: LinearAttention = dataclasses.field(default_factory=LinearAttention)
    construction: str = static("gd")
    rate: Leaf | tuple[Leaf, ...] = 1.0
    shrink: Leaf | tuple[Leaf, ...] = 0.0
    sharpness: Leaf = 40.0
    contrast: Leaf = 0.01

    @property
    def phases(self) -> tuple[Phase, ...]:
        return ()

    def check(self) -> None:
        self.network.check()
        _check(self.construction, self.network, False)
        steps = (1 if self.network.tied else self.network.depth) - (self.network.tokens == "interleaved")
        for name in ("rate", "shrink"):
            _per_step(name, getattr(self, name), steps)
        for name in ("sharpness", "contrast"):
            if not getattr(self, name) > 0:
                raise ValueError(f"The construction's {name} is {getattr(self, name)}; it must be positive.")

    def init(self, key: Key, batch: Batch) -> Params:
        del key
        return construct(
            self.construction,
            self.network,
            batch.inputs.shape[2],
            batch.inputs.shape[1] - 1,
            self.rate,
            shrink=self.shrink,
            sharpness=self.sharpness,
            contrast=self.contrast,
        )

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        return self.network.apply(params, batch, record=record)

    def embed(self, params: Params, batch: Batch) -> Array:
        return self.network.embed(params, batch)

    def layer(self, params: Params, h_BTD: Array, number: int) -> Array:
        return self.network.layer(params, h_BTD, number)

    def rollout(self, params: Params, batch: Batch, steps: int, damping: Leaf) -> Array:
        return self.network.rollout(params, batch, steps, damping)


def hessian_map(eigenvalue: Array, shrink: Leaf) -> Array:
    """f(lam) = lam (1 - gamma lam)^2: what GD++ makes of an eigenvalue of sum_i x_i x_i^T in one step.

    The inputs become (I - gamma S) x, so that S becomes (I - gamma S) S (I - gamma S). Eigenvalues from 1/(3 gamma),
    the largest of f, to 1/gamma fall below those that were smaller: useful is 0 <= lam <= 1/gamma.
    """
    return eigenvalue * jnp.square(1 - shrink * eigenvalue)


def _check(kind: str, network: LinearAttention, starts: bool) -> None:
    names.require("The construction", kind, CONSTRUCTIONS)
    if network.embedding:
        raise ValueError(f"The network's embedding is {network.embedding}; constructions have weights for 0 alone.")
    if kind == "gd++" and starts:
        raise ValueError("GD++ starts at w0 = 0, since it moves the inputs that w0 would apply to; leave out start.")
    steps = set(range(network.depth))
    if network.tokens == "interleaved":
        if network.shared_slot or network.position != "one_hot":
            raise ValueError(
                f"The network's shared_slot is {network.shared_slot} and its position {network.position!r}; a layer "
                "that copies needs shared_slot=False and 'one_hot'."
            )
        if network.tied or network.depth < 2:
            raise ValueError(
                f"The network has depth {network.depth} and tied={network.tied}; a layer that copies and at least one "
                "that descends need two layers of their own weights."
            )
        steps -= {0}
    softmax = steps & set(network.softmax_layers)
    if softmax and network.heads < 2:
        raise ValueError(f"The network's heads is {network.heads}; a softmax layer that descends needs two.")
    if network.tied and softmax not in (set(), steps):
        raise ValueError(
            f"The network's softmax_layers are {network.softmax_layers}; of layers with the same weights all must be "
            "or none."
        )


def _batch(pairs: int, dim: int) -> Batch:
    """A batch of these shapes."""
    zeros_BS = np.zeros((1, pairs + 1))
    return Batch(inputs=np.zeros((1, pairs + 1, dim)), targets=zeros_BS, kinds=zeros_BS)  # type: ignore[arg-type]


def _per_step(name: str, given: Any, steps: int) -> Sequence[Leaf]:
    if not isinstance(given, Sequence) and jnp.ndim(given) == 0:
        return [given] * steps
    if len(given) != steps:
        raise ValueError(f"The construction's {name} has {len(given)} numbers; it needs one, or {steps}.")
    return given


def _step(K: int, D: int, dim: int, rate: Leaf, shrink: Leaf | None, start: Array | None) -> dict[str, Array]:
    """One head that descends; channel `dim` of a token is y."""
    x = jnp.arange(dim)
    read_KD = jnp.zeros((K, D)).at[x, x].set(1.0)
    value_KD = jnp.zeros((K, D)).at[dim, dim].set(-1.0)
    out_DK = jnp.zeros((D, K)).at[dim, dim].set(rate)
    if start is not None:
        value_KD = value_KD.at[dim, :dim].set(start)
    if shrink is not None:
        value_KD, out_DK = value_KD.at[x, x].set(1.0), out_DK.at[x, x].set(-shrink)
    return {"query": read_KD, "key": read_KD, "value": value_KD, "out": out_DK}


def _contrasted(head: dict[str, Array], keys: int, contrast: Leaf) -> list[dict[str, Array]]:
    """Two softmax heads over `keys` tokens whose difference is the linear one, centred."""
    return [
        {**head, "query": sign * contrast * head["query"], "out": sign * keys / (2 * contrast) * head["out"]}
        for sign in (1.0, -1.0)
    ]


def _copy(K: int, D: int, dim: int, tokens: int, sharpness: Leaf | None) -> list[dict[str, Array]]:
    """One head that writes the y of the next token into the y slot of every x.

    A linear head gives all other tokens an empty query. A softmax must look somewhere: they look at an x, whose y slot
    is empty before this layer.
    """
    token = jnp.arange(tokens)
    x = token[:-1:2]
    query_KD = jnp.zeros((K, D)).at[x + 1, dim + 1 + x].set(1.0)
    if sharpness is not None:
        query_KD = query_KD.at[x, dim + 2 + x].set(1.0).at[0, dim + tokens].set(1.0) * sharpness
    return [
        {
            "query": query_KD,
            "key": jnp.zeros((K, D)).at[token, dim + 1 + token].set(1.0),
            "value": jnp.zeros((K, D)).at[0, dim].set(1.0),
            "out": jnp.zeros((D, K)).at[dim, 0].set(1.0),
        }
    ]
