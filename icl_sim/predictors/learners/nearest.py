"""Nearest neighbours in the context: the example of a learner of your own."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting, static

WEIGHTINGS = ("uniform", "inverse", "inverse_square")


@setting
class Nearest(Predictor):
    """What the k context pairs nearest to the query say (Fix and Hodges, 1951): p(y) = the share of label y among them,
    or for regression the mean of their targets (Garg et al. 2022, Akyurek et al. 2023: k = 3), 0 after no pair.

    Attributes:
      neighbours: k; the whole context where it is shorter than that.
      weighting: how much each of them counts: `"uniform"`; `"inverse_square"`, 1 / |x - x_query|^2 (Akyurek et al.); or
        `"inverse"`, 1 / |x - x_query| (their code). In the last two, pairs at the query itself alone decide.
      floor: of the probabilities, so that a wrong copy costs -log(floor) nats.
    """

    neighbours: int = static(1)
    weighting: str = static("uniform")
    floor: Leaf = 1e-7

    def check(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours is {self.neighbours}; it must be at least 1.")
        names.require("weighting", self.weighting, WEIGHTINGS)
        if not 0 < self.floor < 1:
            raise ValueError(f"The floor is {self.floor}; it must lie between 0 and 1, ends excluded.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params, record
        x_BSE = jnp.reshape(batch.inputs, (*batch.inputs.shape[:2], -1))
        slots = x_BSE.shape[1]
        asked = 1 if batch.weights is None else slots
        seen_PL = jnp.arange(slots - 1)[None, :] < jnp.arange(slots - asked, slots)[:, None]
        square_BPL = jnp.sum((x_BSE[:, -asked:, None] - x_BSE[:, None, :-1]) ** 2, axis=-1)
        minus_BPK, nearest_BPK = jax.lax.top_k(
            -jnp.where(seen_PL[None], square_BPL, jnp.inf), min(self.neighbours, slots - 1)
        )
        weight_BPK = self._weights(-minus_BPK)
        said_BPK = jax.vmap(lambda target_L, slot_PK: target_L[slot_PK])(batch.targets, nearest_BPK)
        if not batch.num_classes:
            return Outputs(values=jnp.sum(weight_BPK * said_BPK, axis=-1))
        p_BPC = jnp.einsum("BPK,BPKC->BPC", weight_BPK, jax.nn.one_hot(said_BPK, batch.num_classes))
        values_BPC = jnp.log(jnp.maximum(p_BPC, self.floor))
        return Outputs(values=values_BPC[:, 0] if batch.weights is None else values_BPC)

    def _weights(self, square_BPK: Array) -> Array:
        """Weights that sum to 1 (to 0 after no pair), from squared distances in ascending order, inf for no pair."""
        is_pair_BPK = jnp.isfinite(square_BPK)
        weight_BPK = is_pair_BPK.astype(square_BPK.dtype)
        if self.weighting != "uniform":
            # Relative to the nearest, so that nothing overflows, and all but exact matches vanish beside one.
            exact_BPK = square_BPK == 0
            ratio_BPK = square_BPK[..., :1] / jnp.where(exact_BPK | ~is_pair_BPK, 1.0, square_BPK)
            if self.weighting == "inverse":
                # A root of 0 has no slope, and its NaN would outlive the `where` below.
                positive_BPK = ratio_BPK > 0
                ratio_BPK = jnp.where(positive_BPK, jnp.sqrt(jnp.where(positive_BPK, ratio_BPK, 1.0)), 0.0)
            weight_BPK = jnp.where(is_pair_BPK, jnp.where(exact_BPK, 1.0, ratio_BPK), 0.0)
        total_BP1 = jnp.sum(weight_BPK, axis=-1, keepdims=True)
        return weight_BPK / jnp.where(total_BP1 > 0, total_BP1, 1.0)
