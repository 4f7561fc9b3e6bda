"""Kernel smoothing: targets averaged by how similar their inputs are to the query."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.predictors.learners.prefixes import contract, prefixes
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static

SIMILARITIES = ("dot", "squared_distance")


@setting
class KernelSmoothing(Predictor):
    """sum_i y_i k(x_i, x) / sum_i k(x_i, x), k = exp(s(x_i, x) / temperature)  (Nadaraya 1964, Watson 1964).

    What a head of softmax attention does whose keys and queries are inputs and whose values are targets (von Oswald et
    al. 2023, appendix). Linear attention does not normalise, and with k(x_i, x) = x_i.x it is one step of
    `GradientDescent`. 0 after no pair.

    Attributes:
      similarity: s: "dot", x_i.x, which is attention; or "squared_distance", -|x_i - x|^2 / 2, a Gaussian kernel of
        variance `temperature`.
      temperature: above 0; where it is learned, its start.
      learned: whether it is a parameter, exp("log_temperature"), which training, or `Tuned`, fits.
    """

    temperature: Leaf = 1.0
    similarity: str = static("dot")
    learned: bool = static(False)

    def check(self) -> None:
        names.require("The similarity", self.similarity, SIMILARITIES)
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"The temperature is {self.temperature}; it must be a positive number.")

    def init(self, key: Key, batch: Batch) -> Params:
        del key, batch
        return {"log_temperature": jnp.log(jnp.asarray(self.temperature, jnp.float32))} if self.learned else {}

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del record
        asked = prefixes(batch)
        temperature = jnp.exp(params["log_temperature"]) if self.learned else self.temperature
        seen_PL = asked.seen_PL > 0
        score_BPL = jnp.where(seen_PL[None], self._similarity(asked.query_BPX, asked.x_BLX) / temperature, -jnp.inf)
        # After no pair all scores are alike, and what they weigh is left out below.
        weight_BPL = jax.nn.softmax(jnp.where(jnp.any(seen_PL, axis=1)[None, :, None], score_BPL, 0.0))
        return Outputs(values=contract("BPL,PL,BL->BP", weight_BPL, asked.seen_PL, asked.y_BL))

    def _similarity(self, query_BPX: Array, x_BLX: Array) -> Array:
        if self.similarity == "dot":
            return contract("BPX,BLX->BPL", query_BPX, x_BLX)
        return -jnp.sum(jnp.square(query_BPX[:, :, None] - x_BLX[:, None]), axis=-1) / 2
