"""Recurrent networks, LSTM and GRU, on the tokens x_1, y_1, ..., x_L, y_L, x_query: the baselines of Chan et al. 2022
(arXiv 2205.05055), which learn from the context less than a transformer, and of Xie et al. 2021, which do better there.

With gates s = sigmoid, from input x_t and state h of the step before:

    LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000)     GRU (Cho et al. 2014)
    i, f, o = s(W x_t + U h + b), of f: + forget                 z, r = s(W x_t + U h + b)
    g = tanh(W x_t + U h + b)                                    a = tanh(W x_t + U (r h) + b)
    c <- f c + i g,   h <- o tanh(c)                             h <- (1 - z) h + z a

A layer reads the states of the layer below; nothing is added to them and nothing normalised. One bias per gate, and
forget = 1 (Jozefowicz et al. 2015), are those of Haiku, in which Chan et al. wrote theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.predictors.networks.encoder import Encoder, encode, features, with_encoder
from icl_sim.predictors.networks.tokens import interleave
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static

GATES = {"lstm": 4, "gru": 3}  # in the order i, g, f, o and z, r, a
TOKENS = ("interleaved", "inputs")
TABLE_STD = 0.02


@setting
class Recurrent(Predictor):
    """An LSTM or GRU that answers the query, or where the batch has `weights` every slot from those before it.

    Chan et al. 2022: `Recurrent(depth=12)`, and `depth=2`, of width 64 with the residual encoder for images; of 12
    layers they count 628 thousand parameters. Kernels start from a normal of variance 1/inputs, cut at two deviations,
    biases at 0, label tokens from one of deviation .02.

    Attributes:
      cell: "lstm" or "gru".
      depth, width: how many layers, and how wide each, its tokens and its states are.
      tokens: "interleaved", an input and a label in turn; or "inputs", one token per slot, its input alone, which where
        it is an integer is looked up in a table of as many rows as there are classes: a language model, which answers
        every slot and never reads targets.
      forget: what is added to the LSTM's forget gate before its sigmoid.
      encoder: turns inputs into vectors, trained jointly. Without one, inputs are flattened and, unless they are as
        wide as the network already, projected.
    """

    cell: str = static("lstm")
    depth: int = static(2)
    width: int = static(64)
    tokens: str = static("interleaved")
    forget: Leaf = 1.0
    encoder: Encoder | None = None

    def check(self) -> None:
        names.require("The recurrent network's cell", self.cell, GATES)
        names.require("The recurrent network's tokens", self.tokens, TOKENS)
        for name in ("depth", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"The recurrent network's {name} is {getattr(self, name)}; it must be at least 1.")
        if not math.isfinite(self.forget):
            raise ValueError(f"The recurrent network's forget is {self.forget}; it must be finite.")
        if self.encoder is not None:
            self.encoder.check()

    def init(self, key: Key, batch: Batch) -> Params:
        width, answers, gates = self.width, max(batch.num_classes, 1), GATES[self.cell]
        key_input, key_label, key_below, key_state, key_head, key_encoder = jax.random.split(key, 6)

        def stacked(key: Key, share: float) -> Array:
            shape = (self.depth, width, gates * width)
            return jax.random.truncated_normal(key, -2.0, 2.0, shape) * share

        # Haiku draws one kernel for input and state together, of 2 width inputs.
        share = 1 / math.sqrt(2 * width)
        params: dict[str, Any] = {
            "layers": {
                "input": stacked(key_below, share),
                "state": stacked(key_state, share),
                "bias": jnp.zeros((self.depth, gates * width)),
            },
            "head": _linear(key_head, width, answers),
        }
        if self._reads_symbols(batch):
            params["input_token"] = _table(key_input, answers, width)
        elif (size := features(self.encoder, batch.inputs.shape[2:])) != width:
            params["input_token"] = _linear(key_input, size, width)
        if self.tokens == "interleaved":
            token = _table if batch.num_classes else _linear
            params["label_token"] = token(key_label, answers, width)
        return with_encoder(self.encoder, params, key_encoder, batch.inputs.shape[2:])

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        """Predicts the query, or every slot; with `record`, returns the last layer's states, "states" `[B, T, D]`."""
        h_TBD = jnp.swapaxes(self._tokens(params, batch), 0, 1)

        def layer(x_TBD: Array, kernels: Mapping[str, Array]) -> tuple[Array, None]:
            return self._layer(kernels, x_TBD), None

        # Layers as one loop, so that compile time does not grow with depth.
        h_TBD, _ = jax.lax.scan(layer, h_TBD, params["layers"])
        if batch.weights is None:
            h_BQD = h_TBD[-1]
        else:
            h_BQD = jnp.swapaxes(h_TBD[:: 2 if self.tokens == "interleaved" else 1], 0, 1)
        values = _projected(params["head"], h_BQD)
        values = values[..., 0] if batch.weights is not None and not batch.num_classes else values
        return Outputs(values=values, record={"states": jnp.swapaxes(h_TBD, 0, 1)} if record else {})

    def _layer(self, kernels: Mapping[str, Array], x_TBD: Array) -> Array:
        """The states of a layer, `[T, B, D]`. What inputs add to all gates is one product for all tokens."""
        added_TBG = x_TBD @ kernels["input"] + kernels["bias"][None, None]
        still_BD, state_DG, D = jnp.zeros_like(x_TBD[0]), kernels["state"], self.width

        def lstm(carry: tuple[Array, Array], added_BG: Array) -> tuple[tuple[Array, Array], Array]:
            h_BD, c_BD = carry
            i_BD, g_BD, f_BD, o_BD = jnp.split(added_BG + h_BD @ state_DG, 4, axis=-1)
            c_BD = jax.nn.sigmoid(f_BD + self.forget) * c_BD + jax.nn.sigmoid(i_BD) * jnp.tanh(g_BD)
            h_BD = jax.nn.sigmoid(o_BD) * jnp.tanh(c_BD)
            return (h_BD, c_BD), h_BD

        def gru(h_BD: Array, added_BG: Array) -> tuple[Array, Array]:
            gates_BG = jax.nn.sigmoid(added_BG[:, : 2 * D] + h_BD @ state_DG[:, : 2 * D])
            z_BD, r_BD = jnp.split(gates_BG, 2, axis=-1)
            a_BD = jnp.tanh(added_BG[:, 2 * D :] + (r_BD * h_BD) @ state_DG[:, 2 * D :])
            h_BD = (1 - z_BD) * h_BD + z_BD * a_BD
            return h_BD, h_BD

        if self.cell == "lstm":
            return jax.lax.scan(lstm, (still_BD, still_BD), added_TBG)[1]
        return jax.lax.scan(gru, still_BD, added_TBG)[1]

    def _tokens(self, params: Params, batch: Batch) -> Array:
        if self._reads_symbols(batch):
            x_BSD = params["input_token"]["table"][batch.inputs]
        else:
            x_BSD = encode(self.encoder, params, batch.inputs)
            x_BSD = _projected(params["input_token"], x_BSD) if "input_token" in params else x_BSD
        if self.tokens == "inputs":
            return x_BSD
        y_BL, token = batch.targets[:, :-1], params["label_token"]
        return interleave(x_BSD, token["table"][y_BL] if "table" in token else _projected(token, y_BL[..., None]))

    def _reads_symbols(self, batch: Batch) -> bool:
        symbols = jnp.issubdtype(batch.inputs.dtype, jnp.integer)
        if symbols and (self.tokens != "inputs" or batch.inputs.ndim != 2 or not batch.num_classes or self.encoder):
            raise ValueError(
                "The recurrent network looks up inputs that are integers, [B, S] of a batch with classes, where its "
                f"tokens are 'inputs' and it has no encoder; its tokens are {self.tokens!r}, and the inputs "
                f"{list(batch.inputs.shape)} with num_classes={batch.num_classes}."
            )
        return symbols


def _linear(key: Key, inputs: int, outputs: int) -> dict[str, Array]:
    kernel = jax.random.truncated_normal(key, -2.0, 2.0, (inputs, outputs)) / math.sqrt(inputs)
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def _table(key: Key, rows: int, width: int) -> dict[str, Array]:
    return {"table": TABLE_STD * jax.random.truncated_normal(key, -2.0, 2.0, (rows, width))}


def _projected(layer: Mapping[str, Array], x: Array) -> Array:
    y = x @ layer["kernel"]
    return y + jnp.broadcast_to(layer["bias"], y.shape)
