"""The network of the transformer: tokens of inputs and labels, a stack of blocks, and the answers that are read off."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from icl_sim.predictors.networks import drawing
from icl_sim.predictors.networks.block import Block, as_rows, as_tokens, layer_norm, normed
from icl_sim.predictors.networks.intermediates import Clamps, Intermediates
from icl_sim.predictors.networks.seam import Functional, functional
from icl_sim.predictors.networks.tokens import interleave, projected
from icl_sim.types import Array, Params

TABLE_STD = 0.02  # of the embeddings of labels, cut at two deviations


class Plan(NamedTuple):
    """The structure of a network.

    `inputs` is the length of their vectors, 0 for symbols; `positions` that of the learned table, 0 for none.
    """

    inputs: int
    classes: int
    tokens: str
    positions: int
    end_bias: bool
    depth: int
    width: int
    heads: int
    mlp_width: int
    replaced: bool
    exact_gelu: bool
    embedding: str
    attention_bias: bool

    def block(self, rngs: nnx.Rngs) -> Block:
        return Block(
            self.width,
            self.heads,
            self.mlp_width,
            rngs,
            attention_width=self.width // self.heads if self.replaced else self.width,
            attention_bias=self.attention_bias,
            replaced=self.replaced,
            exact_gelu=self.exact_gelu,
        )


class TransformerNetwork(nnx.Module):
    """Blocks on tokens made of inputs `[B, L+1, E]`, or symbols `[B, L+1]`, and targets `[B, L]`."""

    def __init__(self, plan: Plan, rngs: nnx.Rngs):
        width, answers = plan.width, max(plan.classes, 1)
        linear = functools.partial(drawing.linear, use_bias=plan.end_bias)
        self.plan = plan
        table = functools.partial(nnx.Linear, use_bias=False, kernel_init=drawing.scaled_truncated_normal(TABLE_STD))
        embedding = table if plan.embedding == "table" else linear
        if plan.tokens in ("interleaved", "inputs"):
            if not plan.inputs:
                self.input_token = embedding(answers, width, rngs=rngs)
            else:
                self.input_token = None if plan.inputs == width else linear(plan.inputs, width, rngs=rngs)
            if plan.tokens == "interleaved":
                self.label_token = embedding(answers, width, rngs=rngs)
        else:
            self.token = linear(plan.inputs + (plan.tokens != "shared"), width, rngs=rngs)
        if plan.positions:
            self.position = nnx.Param(drawing.normal(rngs.params(), (plan.positions, width)) / math.sqrt(width))
        self.blocks = nnx.List([plan.block(rngs) for _ in range(plan.depth)])
        self.norm = None if plan.replaced else layer_norm(width, rngs)
        self.head = linear(width, answers, rngs=rngs)

    def __call__(
        self,
        x_BSE: Array,
        y_BL: Array,
        position_TD: Array | None,
        first_B: Array | None,
        momentum_TT: Array | None,
        rotary_TK: Array | None,
        stack: Params | None,
        *,
        causal: bool,
        every_slot: bool,
        record: bool,
        clamps: Clamps | None,
    ) -> tuple[Array, Mapping[str, Array]]:
        """Returns answers `[B, C]`, of every slot `[B, S, C]`, and if asked for the record; C is 1 in regression.

        Args:
          position_TD: a sinusoid of every token, `[B, T, D]` where sequences differ.
          first_B: the position of each sequence's first token; None for 0.
          stack: parameters of all blocks, `[depth, ...]`, where it has none of its own.
          clamps: what replaces intermediates; with any, even none, all are made, of all tokens.
        """
        stride = 1 if self.plan.tokens == "inputs" else 2
        x_BTD = self._tokens(x_BSE, y_BL)
        if self.plan.positions:
            table_PD, T = self.position[...], x_BTD.shape[1]
            rows = slice(T) if first_B is None else first_B[:, None] + jnp.arange(T)[None]
            x_BTD = x_BTD + (table_PD[rows][None] if first_B is None else table_PD[rows])  # type: ignore
        if position_TD is not None:
            x_BTD = x_BTD + (position_TD[None] if position_TD.ndim == 2 else position_TD)
        options: dict[str, Any] = {"causal": causal, "momentum_TT": momentum_TT, "rotary_TK": rotary_TK}
        if clamps is not None:
            seen = Intermediates(clamps)
            x_BTD = seen("residual/0", x_BTD)
            for number, one in enumerate(self.blocks):
                x_BTD = one.step_by_step(x_BTD, number, seen, **options)
            answers = seen("logits", self._answers(x_BTD[:, ::stride], every_slot))
            seen.check()
            return answers, seen.record if record else {}
        kept = {"residual/0": x_BTD}
        block = functools.partial(_block(self.plan).apply, at_once=True, **options)
        if stack is None:
            *blocks, last = (functools.partial(b, **options) for b in self.blocks)
            told = []
            for block in blocks:
                x_BTD, map_BHTT = block(x_BTD)
                told.append((map_BHTT, x_BTD))
        else:

            def step(x_BTD: Array, params: Params) -> tuple[Array, Any]:
                x_BTD, map_BHTT = block(params, x_BTD)
                return x_BTD, (map_BHTT, x_BTD) if record else None

            x_BTD, stacked = jax.lax.scan(step, x_BTD, jax.tree.map(lambda leaf: leaf[:-1], stack))
            told = list(zip(*stacked, strict=True)) if record else []
            last = functools.partial(block, jax.tree.map(lambda leaf: leaf[-1], stack))
        # In the last block only the tokens that answer are needed; who records every slot wants the others too.
        every = stride if every_slot and not record else 1
        x_BQD, map_BHQT = last(x_BTD, last_only=not every_slot, every=every)
        for number, (attention_map, stream) in enumerate([*told, (map_BHQT, x_BQD)]):
            kept[f"attention/{number}"], kept[f"residual/{number + 1}"] = attention_map, stream
        return self._answers(x_BQD[:, :: stride // every], every_slot), kept if record else {}

    def _tokens(self, x_BSE: Array, y_BL: Array) -> Array:
        if self.plan.tokens not in ("interleaved", "inputs"):
            bias_D = None if self.token.bias is None else self.token.bias[...]
            return projected(x_BSE, y_BL, self.token.kernel[...], bias_D, self.plan.tokens)  # type: ignore
        if self.input_token is None:
            x_BSD = x_BSE
        else:
            x_BSD = self.input_token(x_BSE) if self.plan.inputs else _looked_up(self.input_token, x_BSE)
        if self.plan.tokens == "inputs":
            return x_BSD
        if not self.plan.classes:
            return interleave(x_BSD, self.label_token(y_BL[..., None]))
        return interleave(x_BSD, _looked_up(self.label_token, y_BL))

    def _answers(self, x_BQD: Array, every_slot: bool) -> Array:
        if not every_slot:
            x_BD = x_BQD[:, -1]
            return self.head(x_BD if self.norm is None else self.norm(x_BD))
        x_RD = as_rows(x_BQD)
        return as_tokens(self.head(x_RD) if self.norm is None else normed(self.norm, self.head, x_RD), len(x_BQD))


def _looked_up(layer: nnx.Linear, y_BL: Array) -> Array:
    """The projection of a one-hot symbol, which is a row of the kernel."""
    y_BLD = layer.kernel[...][y_BL]  # type: ignore
    return y_BLD if layer.bias is None else y_BLD + layer.bias[...][None, None]


@functools.cache
def network(plan: Plan) -> Functional:
    """The network as pure functions on its parameters."""
    return functional(functools.partial(TransformerNetwork, plan), together=True)


@functools.cache
def _block(plan: Plan) -> Functional:
    return functional(plan.block, together=True)
