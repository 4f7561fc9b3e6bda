"""Linear self-attention: attention layers without softmax, and nothing else (von Oswald et al. 2023, section 2).

With tokens e_j, a layer of H heads is

    e_j <- e_j + sum_h P_h sum_i (W_V,h e_i) (W_K,h e_i)^T W_Q,h e_j,

where i runs over the context. Nothing is normalised, scaled, biased or masked, so that one layer can be one step of
gradient descent on the context, exactly (`icl_sim.theory.constructions`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.predictors.networks.positions import sinusoid
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static

TOKENS = ("concatenated", "interleaved")
POSITIONS = ("none", "sinusoid", "one_hot")
POSITION_BASE = 10_000.0
ATTENTION = ("query", "key", "value", "out")
_CUT_NORMAL_STD = 0.87962566  # standard deviation of a normal that is cut at -2 and 2


@setting
class LinearAttention(Predictor):
    """Layers of linear or softmax self-attention on regression sequences (von Oswald et al. 2023).

    The answer is minus what the layers made of the y slot of the query's token, which started at 0. Where the batch
    has `weights` every slot is answered by the network run on the pairs before it, each with that slot's input as the
    query: the same numbers as one sequence for each slot, at their price.

    Parameters are W_Q, W_K, W_V `[layers, H, K, D]` and P `[layers, H, D, K]` as "query", "key", "value" and "out".
    If there is a "start" `[X]`, the slot of the query starts at -start.x: the w0 of gradient descent.

    Attributes:
      tied: the same weights in every layer ("recurrent").
      softmax_layers: numbers, from 0, of the layers whose attention is a softmax over the context. Its logits are not
        scaled either.
      tokens: "concatenated", (x, y) with (x, 0) for the query; or "interleaved", x_1, y_1, ..., x_query, and then y
        stands in the last coordinate of x or, with `shared_slot` false, in one of its own. Where x and y share a slot,
        what x had there does not count to the answer.
      position: what is concatenated to tokens: "none", a "sinusoid" of `position_size` channels and base 10,000, or
        "one_hot", as many as there are tokens.
      key_size: K; 0 for as many as a token has.
      context_only: whether keys and values are of the context alone, or of the query's token too.
      embedding: D of a trained affine map of the token, 0 for none. The y slot is then its last channel.
      mlp_ratio: width of a residual MLP (GELU) on the embedding, in multiples of it; 0 for none. Von Oswald et al.
        have 40 channels and 4 for sines.
      clip: the largest number that a layer may leave in a token. The paper has 10 above three layers.
      init_scale: weights start normal, cut at two deviations, of variance init_scale / depth / fan-in.
    """

    depth: int = static(1)
    heads: int = static(1)
    tied: bool = static(False)
    softmax_layers: tuple[int, ...] = static(())
    tokens: str = static("concatenated")
    shared_slot: bool = static(True)
    position: str = static("none")
    position_size: int = static(10)
    key_size: int = static(0)
    context_only: bool = static(True)
    embedding: int = static(0)
    mlp_ratio: int = static(0)
    clip: Leaf = math.inf
    init_scale: Leaf = 0.002

    def check(self) -> None:
        for name, least in (("depth", 1), ("heads", 1), ("key_size", 0), ("embedding", 0), ("mlp_ratio", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"The linear attention's {name} is {getattr(self, name)}; it must be at least {least}."
                )
        names.require("The linear attention's tokens", self.tokens, TOKENS)
        names.require("The linear attention's position", self.position, POSITIONS)
        if any(not 0 <= number < self.depth for number in self.softmax_layers):
            raise ValueError(
                f"The linear attention's softmax_layers are {self.softmax_layers}; its layers are 0 to "
                f"{self.depth - 1}."
            )
        if self.position == "sinusoid" and (self.position_size < 2 or self.position_size % 2):
            raise ValueError(
                f"The linear attention's position_size is {self.position_size}; it must be even and at least 2."
            )
        if self.mlp_ratio and not self.embedding:
            raise ValueError(
                f"The linear attention's mlp_ratio is {self.mlp_ratio}, but it has no embedding for the MLP to work on."
            )
        for name in ("clip", "init_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"The linear attention's {name} is {getattr(self, name)}; it must be positive.")

    def init(self, key: Key, batch: Batch) -> Params:
        layers, D = 1 if self.tied else self.depth, self.width(batch)
        K = self.key_size or D
        keys = dict(zip(ATTENTION, jax.random.split(jax.random.fold_in(key, 0), len(ATTENTION)), strict=True))
        scale = self.init_scale / self.depth
        params: dict[str, Any] = {
            name: _weights(keys[name], (layers, self.heads, K, D), D, scale) for name in ATTENTION[:-1]
        }
        params["out"] = _weights(keys["out"], (layers, self.heads, D, K), self.heads * K, scale)
        if self.embedding:
            params["embedding"] = _affine(jax.random.fold_in(key, 1), self._raw_width(batch), self.embedding)
        if self.mlp_ratio:
            hidden = self.mlp_ratio * self.embedding
            params["up"] = _affine(jax.random.fold_in(key, 2), self.embedding, hidden)
            params["down"] = _affine(jax.random.fold_in(key, 3), hidden, self.embedding)
        return params

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        kept: dict[str, Array] = {}
        if batch.weights is None:
            values_BP = self._answer(params, batch, self.embed(params, batch), None, kept)[:, None]
        else:
            values_BP = self._answer_prefixes(params, batch)
            if record:
                self._answer(params, batch, self.embed(params, batch), None, kept)
        return Outputs(values=values_BP, record=kept if record else {})

    def width(self, batch: Batch) -> int:
        """D, of tokens as the layers see them."""
        positions = {"none": 0, "sinusoid": self.position_size, "one_hot": self._step * (batch.inputs.shape[1] - 1) + 1}
        return (self.embedding or self._raw_width(batch)) + positions[self.position]

    def slot(self, batch: Batch) -> int:
        """Which channel of a token is y's."""
        return (self.embedding or self._raw_width(batch)) - 1

    def embed(self, params: Params, batch: Batch) -> Array:
        """The tokens before the first layer, `[B, T, D]`, that of the query last."""
        return jnp.concatenate(self._tokens(params, batch, slice(-1, None)), axis=1)

    def layer(self, params: Params, h_BTD: Array, number: int, asking_BQD: Array | None = None) -> Array:
        """The tokens after layer `number`, `[B, T, D]`, or those that ask, some of the others, alone: `[B, Q, D]`."""
        asking_BQD = h_BTD if asking_BQD is None else asking_BQD
        return jnp.clip(asking_BQD + self._added(params, number, h_BTD, asking_BQD, None), -self.clip, self.clip)

    def rollout(self, params: Params, batch: Batch, steps: int, damping: Leaf) -> Array:
        """Answers after 1 to `steps` uses of the layer, each writing only y slots, `damping` times: `[B, steps]`."""
        if self.depth > 1 and not self.tied:
            raise ValueError(f"A rollout repeats one layer, but this network has {self.depth} of their own weights.")
        if self._shares:
            raise ValueError(
                "A rollout writes y slots alone, but the network's tokens are 'interleaved' with shared_slot True, and "
                "what is y's slot in one is x's in another; it needs shared_slot False, or tokens 'concatenated'."
            )
        h_BTD, slot = self.embed(params, batch), self.slot(batch)
        first_B = h_BTD[:, -1, slot]

        def step(h_BTD: Array, _: None) -> tuple[Array, Array]:
            y_BT = (h_BTD + damping * self._added(params, 0, h_BTD, h_BTD, None))[..., slot]
            h_BTD = h_BTD.at[..., slot].set(jnp.clip(y_BT, -self.clip, self.clip))
            return h_BTD, self._read(h_BTD[:, -1, slot], first_B)

        return jax.lax.scan(step, h_BTD, None, length=steps)[1].T

    @property
    def _step(self) -> int:
        """Tokens of a pair."""
        return 2 if self.tokens == "interleaved" else 1

    @property
    def _shares(self) -> bool:
        return self.tokens == "interleaved" and self.shared_slot and not self.embedding

    def _raw_width(self, batch: Batch) -> int:
        if batch.num_classes or batch.inputs.ndim != 3:
            raise ValueError(
                "Linear attention reads regression sequences of inputs [B, S, X] with real targets, but the batch has "
                f"inputs {list(batch.inputs.shape)} and num_classes={batch.num_classes}."
            )
        return batch.inputs.shape[2] + (not (self.tokens == "interleaved" and self.shared_slot))

    def _tokens(self, params: Params, batch: Batch, asked: slice = slice(None)) -> tuple[Array, Array]:
        """Tokens of the context `[B, N, D]`, and of the slots that are asked about, each as the query `[B, Q, D]`."""
        x_BSX, y_BL1 = batch.inputs, batch.targets[:, :-1, None]
        (B, S, X), width = x_BSX.shape, self._raw_width(batch)
        x_BQX = x_BSX[:, asked]
        start_BQ = -(x_BQX @ params["start"]) if "start" in params else jnp.zeros(x_BQX.shape[:2], x_BSX.dtype)
        query_BQD = x_BQX if width == X else jnp.concatenate([x_BQX, start_BQ[..., None]], axis=2)
        if self.tokens == "concatenated":
            context_BND = jnp.concatenate([x_BSX[:, :-1], y_BL1], axis=2)
        else:
            x_BLD = jnp.pad(x_BSX[:, :-1], ((0, 0), (0, 0), (0, width - X)))
            y_BLD = jnp.pad(y_BL1, ((0, 0), (0, 0), (width - 1, 0)))
            context_BND = jnp.reshape(jnp.stack([x_BLD, y_BLD], axis=2), (B, 2 * (S - 1), width))
        if self.embedding:
            context_BND, query_BQD = (_embedded(params, token) for token in (context_BND, query_BQD))
        if self.position == "none":
            return context_BND, query_BQD
        tokens = self._step * (S - 1) + 1
        if self.position == "one_hot":
            position_TP = jnp.eye(tokens, dtype=x_BSX.dtype)
        else:
            position_TP = sinusoid(jnp.arange(tokens), self.position_size, POSITION_BASE)
        return (
            _with_positions(context_BND, position_TP[:-1]),
            _with_positions(query_BQD, position_TP[:: self._step][asked]),
        )

    def _answer_prefixes(self, params: Params, batch: Batch) -> Array:
        context_BND, query_BSD = self._tokens(params, batch)

        def answer(query_BD: Array, pairs: Array) -> Array:
            h_BTD = jnp.concatenate([context_BND, query_BD[:, None]], axis=1)
            seen_T = jnp.append(jnp.arange(context_BND.shape[1]) < self._step * pairs, True)
            return self._answer(params, batch, h_BTD, seen_T, {})

        return jax.vmap(answer, in_axes=(1, 0), out_axes=1)(query_BSD, jnp.arange(query_BSD.shape[1]))

    def _answer(
        self, params: Params, batch: Batch, h_BTD: Array, seen_T: Array | None, kept: dict[str, Array]
    ) -> Array:
        """The answer `[B]` of all layers, of the last of which only the query's token is needed."""
        slot, first_B = self.slot(batch), h_BTD[:, -1, self.slot(batch)]
        kept["residual/0"] = h_BTD
        for number in range(self.depth):
            if number == self.depth - 1:
                query_B1D = h_BTD[:, -1:]
                added_B1D = self._added(params, number, h_BTD, query_B1D, seen_T)
                h_BTD = query_B1D + added_B1D
            else:
                h_BTD = h_BTD + self._added(params, number, h_BTD, h_BTD, seen_T)
            h_BTD = jnp.clip(h_BTD, -self.clip, self.clip)
            kept[f"residual/{number + 1}"] = h_BTD
        return self._read(h_BTD[:, -1, slot], first_B)

    def _read(self, last_B: Array, first_B: Array) -> Array:
        return first_B - last_B if self._shares else -last_B

    def _added(self, params: Params, number: int, h_BTD: Array, asking_BQD: Array, seen_T: Array | None) -> Array:
        """What layer `number` adds to the tokens that ask, `[B, Q, D]`; of the context only what is seen counts."""
        weights = {name: params[name][0 if self.tied else number] for name in ATTENTION}
        source_BND = h_BTD[:, :-1] if self.context_only else h_BTD
        seen_N = None if seen_T is None else seen_T[: source_BND.shape[1]]
        return attention(weights, source_BND, asking_BQD, seen_N, softmax=number in self.softmax_layers)


def attention(
    weights: Mapping[str, Array], source_BND: Array, asking_BQD: Array, seen_N: Array | None = None, *, softmax: bool
) -> Array:
    """sum_h P_h sum_i a_hij W_V,h e_i for every token e_j that asks, `[B, Q, D]`.

    The weight a_hij is (W_K,h e_i)^T W_Q,h e_j or its softmax over i, where only the e_i that are seen count. Linear
    heads see the context through its moments sum_i e_i e_i^T alone, so that these come first where many tokens ask.
    """
    if seen_N is not None:
        source_BND = jnp.where(seen_N[None, :, None], source_BND, 0.0)
    one = asking_BQD.shape[1] == 1
    moment_BDE = None if one or softmax else jnp.einsum("BND,BNE->BDE", source_BND, source_BND)

    def head(number: int) -> Array:
        weight = {name: matrices_H[number] for name, matrices_H in weights.items()}
        asked_BQD = jnp.einsum("DE,BQE->BQD", weight["key"].T @ weight["query"], asking_BQD)
        if softmax:
            logits_BQN = jnp.einsum("BQD,BND->BQN", asked_BQD, source_BND)
            mix_BQD = jnp.einsum("BQN,BND->BQD", _softmax(logits_BQN, seen_N), source_BND)
        elif one:
            score_BN = jnp.einsum("BND,BD->BN", source_BND, asked_BQD[:, 0])
            mix_BQD = jnp.einsum("BN,BND->BD", score_BN, source_BND)[:, None]
        else:
            mix_BQD = jnp.einsum("BQD,BDE->BQE", asked_BQD, moment_BDE)
        return jnp.einsum("DE,BQE->BQD", weight["out"] @ weight["value"], mix_BQD)

    # Head by head: on a CPU one product over all heads takes twice the time.
    return functools.reduce(jnp.add, map(head, range(len(weights["query"]))))


def _softmax(logits_BQN: Array, seen_N: Array | None) -> Array:
    if seen_N is not None:
        # With nothing seen all stay: an empty softmax has NaN for a gradient, and the tokens are zeros by then.
        logits_BQN = jnp.where((seen_N | ~jnp.any(seen_N))[None, None], logits_BQN, -jnp.inf)
    return jax.nn.softmax(logits_BQN)


def _with_positions(token_BTD: Array, position_TP: Array) -> Array:
    position_BTP = jnp.broadcast_to(position_TP[None], (len(token_BTD), *position_TP.shape))
    return jnp.concatenate([token_BTD, position_BTP.astype(token_BTD.dtype)], axis=2)


def _embedded(params: Params, token_BTX: Array) -> Array:
    h_BTD = _map(params["embedding"], token_BTX)
    if "up" not in params:
        return h_BTD
    return h_BTD + _map(params["down"], jax.nn.gelu(_map(params["up"], h_BTD)))


def _map(affine: Mapping[str, Array], x_BTD: Array) -> Array:
    # As rows: over two axes at once the gradient of the kernel takes several times as long on a CPU.
    x_RD = jnp.reshape(x_BTD, (-1, x_BTD.shape[-1]))
    return jnp.reshape(x_RD @ affine["kernel"] + affine["bias"][None], (*x_BTD.shape[:-1], -1))


def _affine(key: Key, inputs: int, outputs: int) -> dict[str, Array]:
    return {"kernel": _weights(key, (inputs, outputs), inputs, 1.0), "bias": jnp.zeros(outputs)}


def _weights(key: Key, shape: tuple[int, ...], fan_in: int, scale: Leaf) -> Array:
    return jnp.sqrt(scale / fan_in) / _CUT_NORMAL_STD * jax.random.truncated_normal(key, -2.0, 2.0, shape)
