"""The transformer: blocks of attention and MLP over the tokens x_1, y_1, ..., x_L, y_L, x_query.

By default that of Chan et al. 2025, section 3. Input tokens are the inputs themselves where they are as wide as the
network (the frozen identity of the paper), or a trained projection of them; label tokens are a trained projection of
the one-hot label; a fixed sinusoid of base 30 tells positions apart, and an input and its label share one. The answer
is read at the last token or, where every slot is a query, at the token of every input. Those of other papers are
`published`.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.predictors.networks import attention
from icl_sim.predictors.networks.block import BLOCKS, GELUS
from icl_sim.predictors.networks.copying import copying_of_heads
from icl_sim.predictors.networks.encoder import Encoder, encode, features, with_encoder
from icl_sim.predictors.networks.initial import INITIAL, draw
from icl_sim.predictors.networks.intermediates import Clamps
from icl_sim.predictors.networks.positions import POSITIONS, sinusoid
from icl_sim.predictors.networks.tokens import EMBEDDINGS, TOKENS
from icl_sim.predictors.networks.transformer_network import Plan, network
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static

MAX_DEPTH = 1000  # blocks are traced one by one


@setting
class Transformer(Predictor):
    """A transformer that answers the query, or where the batch has `weights` every slot from those before it.

    By default it is that of Chan et al. 2025 (section 3), each of its details a field.

    Attributes:
      tokens: how pairs become tokens. "interleaved": x_1, y_1, ..., x_query, with a projection for inputs and one for
        targets. For regression only, with one projection for both: "separate", x as [0, x] and y as [y, 0] (Akyurek et
        al., Raventos et al. 2023); "shared", y as [y, 0] in the first coordinate of x (Garg et al. 2022); and
        "concatenated", a token [x, y] per pair and [x, 0] for the query, the only slot it answers. And "inputs", one
        token per slot, its input alone, which makes the network a language model: targets are never read.
      embedding: how a label becomes a token, and with tokens "inputs" an input that is an integer, one of as many as
        there are classes. "projection": of the one-hot, as every other; "table": a row of a table without bias, at
        first truncated normal of deviation .02 (Chan et al. 2022, Singh et al. 2023) where `initial` is "lecun".
      position: "shared_sinusoid" (an input and its label share a position), "token_sinusoid", "learned" (a vector
        for each token), "rotary" (queries and keys are turned by their token's position, RoPE) or "none".
      position_base: the longest wavelength of the sinusoid, or of rotary positions, is nearly `2 pi position_base`.
      position_count: how many positions can be learned; 0 for as many as there are tokens.
      causal: whether a token sees only itself and those before it.
      mlp_ratio: how much wider the MLP's hidden layer is than the network; 0 for blocks of attention alone.
      attention_bias: whether queries, keys and values, and the projection of what heads mix, have biases.
      block: "pre_norm", or "replaced" as in the code of Akyurek et al.: its norm takes the stream's place before
        attention and MLP, queries, keys and values of all heads are together width / heads wide, and no norm follows.
      gelu: "tanh", its approximation, as in all the sources, or "exact".
      initial: "lecun", flax's defaults; "gpt2", N(0, 0.02^2), the projections into the stream by sqrt(2 depth) smaller,
        without biases (Raventos et al.); "gpt2_core", the same but for read-in and read-out, which are as in "uniform"
        (Garg et al.); "uniform", between -+1/sqrt(fan-in), biases and positions too (Akyurek et al.).
      end_bias: whether read-in and read-out have biases.
      momentum_attention: whether values have momentum (Dai et al. 2023, section 5): sum_{i<t} momentum^(t-i) v_i is
        added to what attention mixes at token t, in every head and layer.
      momentum: eta, in [0, 1); 0 is the ordinary transformer. The paper does not say which it used; try .1 to .5.
      momentum_exclude_self: whether the sum leaves out v_t, as in the paper.
      momentum_normalised: whether it is multiplied by 1 - eta; not in the paper.
      scan: whether blocks run as one loop over stacked parameters, `[depth, ...]`: the same numbers, compiled in a time
        that does not grow with depth, but slower steps.
      encoder: turns inputs into vectors, trained jointly. Without one, inputs are flattened and, unless they
        are as wide as the network already, projected.
    """

    depth: int = static(2)
    width: int = static(64)
    heads: int = static(1)
    mlp_ratio: int = static(4)
    tokens: str = static("interleaved")
    embedding: str = static("projection")
    position: str = static("shared_sinusoid")
    position_count: int = static(0)
    causal: bool = static(True)
    attention_bias: bool = static(True)
    block: str = static("pre_norm")
    gelu: str = static("tanh")
    initial: str = static("lecun")
    end_bias: bool = static(True)
    momentum_attention: bool = static(False)
    momentum_exclude_self: bool = static(True)
    momentum_normalised: bool = static(False)
    scan: bool = static(False)
    position_base: Leaf = 30.0
    momentum: Leaf = 0.0
    encoder: Encoder | None = None

    def check(self) -> None:
        for name, least in (("depth", 1), ("width", 1), ("heads", 1), ("mlp_ratio", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"The transformer's {name} is {getattr(self, name)}; it must be at least {least}.")
        if self.depth > MAX_DEPTH:
            raise ValueError(f"The transformer's depth is {self.depth}; it must be at most {MAX_DEPTH:,}.")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"The transformer's width {self.width} must be even and a multiple of its {self.heads} heads."
            )
        if self.block == "replaced" and self.width % self.heads**2:
            raise ValueError(
                f"The transformer's width {self.width} must be a multiple of {self.heads**2}, the square of its heads, "
                "where its block is 'replaced'."
            )
        if self.block == "replaced" and self.position == "rotary" and self.width % (2 * self.heads**2):
            raise ValueError(
                f"The transformer's width {self.width} must be a multiple of {2 * self.heads**2}, twice the square of "
                "its heads, where its block is 'replaced' and its position 'rotary'."
            )
        for name, allowed in (
            ("tokens", TOKENS),
            ("embedding", EMBEDDINGS),
            ("position", POSITIONS),
            ("block", BLOCKS),
            ("gelu", GELUS),
            ("initial", INITIAL),
        ):
            names.require(f"The transformer's {name}", getattr(self, name), allowed)
        if not self.position_base > 0:
            raise ValueError(f"The transformer's position_base is {self.position_base}; it must be positive.")
        if self.position_count < 0 or (self.position_count and self.position != "learned"):
            raise ValueError(
                f"The transformer's position_count is {self.position_count} and its position {self.position!r}; the "
                "count must be at least 0, and 0 unless positions are 'learned'."
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"The transformer's momentum is {self.momentum}; it must be in [0, 1).")
        if self.momentum_attention and not self.causal:
            raise ValueError("The transformer's momentum_attention sums over earlier tokens; it must be causal.")
        if not self.momentum_attention and self.momentum > 0:
            raise ValueError(
                f"The transformer's momentum is {self.momentum}, which does nothing unless momentum_attention is true."
            )
        if self.encoder is not None:
            self.encoder.check()

    def init(self, key: Key, batch: Batch) -> Params:
        own, encoder = jax.random.split(key)
        plan = self._plan(batch)
        if self.initial == "lecun":
            params = network(plan).init(own)
            params = _stacked(params) if self.scan else params
        else:
            shapes = jax.eval_shape(lambda key: _stacked(network(plan).init(key)), own)
            params = draw(self.initial, own, shapes, self.depth)
            params = params if self.scan else _unstacked(params, self.depth)
        return with_encoder(self.encoder, params, encoder, batch.inputs.shape[2:])

    def apply(self, params: Params, batch: Batch, *, record: bool = False, clamps: Clamps | None = None) -> Outputs:
        """Predicts the query, or every slot; with `record`, returns residual streams and attention maps too.

        Args:
          clamps: intermediates to overwrite: name -> (cache, mask) replaces one by `where(mask, cache, value)`, of any
            shapes that broadcast to its own, and gradients flow through the rest. With clamps, and be it none (`{}`),
            every intermediate is of all tokens, and a record holds them all:
              "residual/0" `[B, T, D]`, the tokens, and "residual/l+1", the stream after layer l = 0, 1, ...
              "queries/l", "keys/l", "values/l" `[B, H, T, K]`, turned where positions are rotary
              "scores/l" `[B, H, T, T]`, q.k / sqrt(K) of tokens (third axis) and those they look at, seen or not
              "attention/l" `[B, H, T, T]`, their softmax over the tokens seen
              "heads/l" `[B, H, T, K]`, what each head mixes, before the projection into the stream
              "mlp/l" `[B, T, D]`, what the MLP adds
              "logits" `[B, C]`, or of every slot `[B, S, C]`, C = 1 in regression.

        Raises:
          ValueError: for a clamp of another name, one that does not broadcast, and of blocks that `scan`.
        """
        if clamps is not None and self.scan:
            raise ValueError("The transformer's blocks run as one loop (scan), which can clamp none of them by itself.")
        plan, every_slot = self._plan(batch), batch.weights is not None
        slots = batch.inputs.shape[1]
        values, kept = network(plan._replace(depth=0) if self.scan else plan).apply(
            params,
            encode(self.encoder, params, batch.inputs) if plan.inputs else batch.inputs,
            batch.targets[:, :-1],
            self._position(slots, batch),
            batch.first_position,
            self._momentum(slots),
            self._rotary(slots),
            params["blocks"] if self.scan else None,
            causal=self.causal,
            every_slot=every_slot,
            record=record,
            clamps=clamps,
        )
        return Outputs(values=values[..., 0] if every_slot and not plan.classes else values, record=kept)

    def account(self, params: Params) -> Mapping[str, Array]:
        """"copying", the score of the best head (`copying_of_heads`), of a network whose tokens are symbols."""
        table = params.get("input_token", {}).get("kernel")
        symbols = self.tokens == "inputs" and table is not None and len(table) == params["head"]["kernel"].shape[1]
        return {"copying": jnp.max(copying_of_heads(params, self.heads))} if symbols and "norm" in params else {}

    def _plan(self, batch: Batch) -> Plan:
        if batch.num_classes and self.tokens not in ("interleaved", "inputs"):
            raise ValueError(
                f"The transformer's tokens are {self.tokens!r}, which are for real targets, but the batch has "
                f"{batch.num_classes} classes; allowed: interleaved, inputs."
            )
        symbols = jnp.issubdtype(batch.inputs.dtype, jnp.integer)
        alone = self.tokens == "inputs" and self.encoder is None
        if symbols and (not alone or batch.inputs.ndim != 2 or not batch.num_classes):
            raise ValueError(
                "The transformer looks up inputs that are integers in a table of as many rows as there are classes: "
                "they must be [B, S], of a batch with classes, its tokens 'inputs', without an encoder; these are "
                f"{list(batch.inputs.shape)} with num_classes={batch.num_classes}, and its tokens {self.tokens!r}."
            )
        if batch.weights is not None and (not self.causal or self.tokens == "concatenated"):
            raise ValueError(
                f"The batch asks about every slot, which a transformer with causal={self.causal} and tokens="
                f"{self.tokens!r} cannot answer without having seen it; it must be causal, and tokens not concatenated."
            )
        tokens = self._count(batch.inputs.shape[1]) + batch.max_offset
        if self.position_count and tokens > self.position_count:
            raise ValueError(
                f"The batch has tokens at {tokens} positions, but the transformer's position_count is "
                f"{self.position_count}."
            )
        return Plan(
            inputs=0 if symbols else features(self.encoder, batch.inputs.shape[2:]),
            classes=batch.num_classes,
            tokens=self.tokens,
            positions=(self.position_count or tokens) if self.position == "learned" else 0,
            end_bias=self.end_bias,
            depth=self.depth,
            width=self.width,
            heads=self.heads,
            mlp_width=self.mlp_ratio * self.width,
            replaced=self.block == "replaced",
            exact_gelu=self.gelu == "exact",
            embedding=self.embedding,
            attention_bias=self.attention_bias,
        )

    def _count(self, slots: int) -> int:
        """How many tokens there are."""
        return slots if self.tokens in ("concatenated", "inputs") else 2 * slots - 1

    def _position(self, slots: int, batch: Batch | None = None) -> Array | None:
        if self.position in ("none", "learned", "rotary"):  # rotary positions are the same from wherever they begin
            return None
        token_T = jnp.arange(count := self._count(slots))
        pairs = self.position == "shared_sinusoid" and count > slots
        position_T = token_T // 2 if pairs else token_T
        if batch is None or batch.first_position is None:
            return sinusoid(position_T, self.width, self.position_base)
        table_PD = sinusoid(jnp.arange(count + batch.max_offset), self.width, self.position_base)
        return table_PD[batch.first_position[:, None] + position_T[None]]

    def _rotary(self, slots: int) -> Array | None:
        if self.position != "rotary":
            return None
        channels = self.width // self.heads // (self.heads if self.block == "replaced" else 1)
        return sinusoid(jnp.arange(self._count(slots)), channels, self.position_base)

    def _momentum(self, slots: int) -> Array | None:
        if not self.momentum_attention:
            return None
        exclude_self, normalised = self.momentum_exclude_self, self.momentum_normalised
        return attention.momentum(self._count(slots), self.momentum, exclude_self=exclude_self, normalised=normalised)


def _stacked(params: Params) -> Params:
    """With the parameters of all blocks in one, `[depth, ...]`."""
    blocks = [params["blocks"][str(number)] for number in range(len(params["blocks"]))]
    return {**params, "blocks": jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}


def _unstacked(params: Params, depth: int) -> Params:
    blocks = {str(number): jax.tree.map(lambda leaf, i=number: leaf[i], params["blocks"]) for number in range(depth)}
    return {**params, "blocks": blocks}
