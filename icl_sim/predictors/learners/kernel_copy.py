"""The in-context predictor h: a softmax over similarities that copies labels of the context."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.predictors.networks.encoder import Encoder, encode, with_encoder
from icl_sim.types import Batch, Key, Leaf, Outputs, Params, Predictor, setting, static


@setting
class KernelCopy(Predictor):
    """p(y) = sum_l softmax_l(-|x_l - x_query|^2 / tau) [y_l = y]  (Chan et al. 2025, section 3).

    Its one parameter is theta, with the temperature tau = exp(theta). Log-probabilities are log(max(p,
    floor)), so that a context without the answer costs exactly -log(floor), 16.1 nats. With one pair in the
    context h copies its label whatever the temperature.

    Attributes:
      temperature: tau before training, positive. Without an encoder distances are between the inputs
        themselves.
      double_exponential: the released code of the paper exponentiates twice, tau = exp(exp(theta)), and
        starts at theta = 0. There tau starts at e and can never fall to 1, which makes h weak where the
        context is long; the field `temperature` is not used then.
      floor: of the probabilities.
      encoder: turns images into vectors, trained jointly.
    """

    temperature: Leaf = 1.0
    double_exponential: bool = static(False)
    floor: Leaf = 1e-7
    encoder: Encoder | None = None

    def check(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"The temperature of h is {self.temperature}; it must be positive.")
        if not 0 < self.floor < 1:
            raise ValueError(f"The floor of h is {self.floor}; it must lie between 0 and 1, ends excluded.")
        if self.encoder is not None:
            self.encoder.check()

    def init(self, key: Key, batch: Batch) -> Params:
        if batch.num_classes < 1:
            raise ValueError("h copies labels, but the targets of the batch are numbers (num_classes=0).")
        start = 0.0 if self.double_exponential else jnp.log(self.temperature)
        theta = {"theta": jnp.asarray(start, jnp.float32)}
        return with_encoder(self.encoder, theta, key, batch.inputs.shape[2:])

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        x_BSE = encode(self.encoder, params, batch.inputs)
        tau = jnp.exp(jnp.exp(params["theta"]) if self.double_exponential else params["theta"])
        distance_BL = jnp.sum((x_BSE[:, :-1] - x_BSE[:, -1:]) ** 2, axis=-1)
        weight_BL = jax.nn.softmax(-distance_BL / tau)
        label_BLC = jax.nn.one_hot(batch.targets[:, :-1], batch.num_classes)
        p_BC = jnp.einsum("BL,BLC->BC", weight_BL, label_BLC)
        values = jnp.log(jnp.maximum(p_BC, self.floor))
        return Outputs(values=values, record={"weights": weight_BL} if record else {})
