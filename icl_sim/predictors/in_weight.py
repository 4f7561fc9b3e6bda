"""The in-weight predictor g: what the query alone tells about its class."""

from __future__ import annotations

import functools

import jax
from flax import nnx

from icl_sim.predictors.networks.drawing import linear
from icl_sim.predictors.networks.encoder import Encoder, encode, features, with_encoder
from icl_sim.predictors.networks.seam import Functional, functional
from icl_sim.types import Array, Batch, Key, Outputs, Params, Predictor, setting, static


class MLP(nnx.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *sizes: int, rngs: nnx.Rngs):
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nnx.List([linear(inputs, outputs, rngs=rngs) for inputs, outputs in pairs])

    def __call__(self, x_BD: Array) -> Array:
        *hidden, last = self.layers
        for layer in hidden:
            x_BD = jax.nn.relu(layer(x_BD))
        return last(x_BD)


@functools.cache
def mlp(*sizes: int) -> Functional:
    """A multi-layer perceptron of these sizes, inputs first, as pure functions."""
    return functional(lambda rngs: MLP(*sizes, rngs=rngs), together=True)


@setting
class InWeightMLP(Predictor):
    """g(x) = softmax(MLP(x)) of the query x alone: what the weights know (Chan et al. 2025, section 3).

    Attributes:
      hidden: widths of the hidden layers.
      encoder: turns images into vectors, trained jointly; without one, inputs are flattened.
    """

    hidden: tuple[int, ...] = static((64, 64))
    encoder: Encoder | None = None

    def check(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"The hidden widths of g are {self.hidden}; each must be at least 1.")
        if self.encoder is not None:
            self.encoder.check()

    def _functional(self, batch: Batch) -> Functional:
        if not batch.num_classes:
            raise ValueError("g names classes, but the targets of the batch are numbers (num_classes=0).")
        return mlp(features(self.encoder, batch.inputs.shape[2:]), *self.hidden, batch.num_classes)

    def init(self, key: Key, batch: Batch) -> Params:
        own, encoder = jax.random.split(key)
        return with_encoder(self.encoder, self._functional(batch).init(own), encoder, batch.inputs.shape[2:])

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del record
        x_BE = encode(self.encoder, params, batch.inputs[:, -1:])[:, 0]
        return Outputs(values=jax.nn.log_softmax(self._functional(batch).apply(params, x_BE)))
