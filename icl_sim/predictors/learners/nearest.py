"""Nearest neighbours in the context: the example of a learner of your own."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.types import Batch, Leaf, Outputs, Params, Predictor, setting, static


@setting
class Nearest(Predictor):
    """p(y) = the share of label y among the k context pairs nearest to the query (Fix and Hodges, 1951).

    Attributes:
      neighbours: k; the whole context where it is shorter than that.
      floor: of the probabilities, so that a wrong copy costs -log(floor) nats.
    """

    neighbours: int = static(1)
    floor: Leaf = 1e-7

    def check(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours is {self.neighbours}; it must be at least 1.")
        if not 0 < self.floor < 1:
            raise ValueError(f"The floor is {self.floor}; it must lie between 0 and 1, ends excluded.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params, record
        x_BSE = jnp.reshape(batch.inputs, (*batch.inputs.shape[:2], -1))
        distance_BL = jnp.sum((x_BSE[:, :-1] - x_BSE[:, -1:]) ** 2, axis=-1)
        _, nearest_BK = jax.lax.top_k(-distance_BL, min(self.neighbours, distance_BL.shape[1]))
        label_BK = jnp.take_along_axis(batch.targets[:, :-1], nearest_BK, axis=1)
        p_BC = jnp.mean(jax.nn.one_hot(label_BK, batch.num_classes), axis=1)
        return Outputs(values=jnp.log(jnp.maximum(p_BC, self.floor)))
