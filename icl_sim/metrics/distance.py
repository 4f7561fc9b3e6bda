"""How far apart the predictions of two regressors are at the same position of the same prompt."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from icl_sim.types import Answerer, Array, Batch, Comparison, setting


@setting
class Distance(Comparison):
    """Squared differences of two predictions A and B of the same slot, by the task's scale, such as d.

    - `spd`, `[B, P]`: (A_k - B_k)^2 / scale. Its mean over prompts is the squared prediction difference after k
      exemplars (Akyurek et al. 2023, section 3).
    - `mspd`, `[B]`: mean of spd over the under-determined k = 1..d-1, as many as the prompt has; NaN where only the
      query is answered.
    - `delta`, `[B]`: mean of spd over all slots alike (Raventos et al. 2023, section 3).

    The slots are the last ones that both answer, and slot k is the one that k exemplars precede. Slots of weight 0 do
    not enter the means.
    """

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        require_regression(batch, "Distance")
        answers_BP, others_BP = common(a(batch), b(batch), batch)
        spd_BP = jnp.square(answers_BP - others_BP) / batch.scale
        P = spd_BP.shape[1]
        slot_P = jnp.arange(batch.inputs.shape[1] - P, batch.inputs.shape[1])
        counted_BP = jnp.ones(spd_BP.shape, bool) if batch.weights is None else batch.weights[:, -P:] > 0
        under_P = (slot_P >= 1) & (slot_P < batch.inputs.shape[-1]) & (P > 1)
        return {
            "spd": spd_BP,
            "mspd": _mean(spd_BP, counted_BP & under_P[None]),
            "delta": _mean(spd_BP, counted_BP),
        }


def common(answers_BP: Array, others_BP: Array, batch: Batch) -> tuple[Array, Array]:
    """Predictions of the last slots that both answer, the query alone where the batch has no `weights`."""
    P = 1 if batch.weights is None else min(answers_BP.shape[1], others_BP.shape[1])
    return answers_BP[:, -P:], others_BP[:, -P:]


def require_regression(batch: Batch, what: str) -> None:
    """Raises ValueError where the targets are classes."""
    if batch.num_classes:
        raise ValueError(f"{what} compares real predictions, but the batch has num_classes={batch.num_classes}.")


def _mean(value_BP: Array, of_BP: Array) -> Array:
    """Means over slots, NaN where none counts."""
    n_B = jnp.sum(of_BP, axis=1)
    return jnp.sum(jnp.where(of_BP, value_BP, 0.0), axis=1) / jnp.where(n_B > 0, n_B, jnp.nan)
