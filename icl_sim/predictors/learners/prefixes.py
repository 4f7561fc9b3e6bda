"""What explicit regression learners answer from: every prefix of the context, and the input asked about after it."""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp

from icl_sim.types import Array, Batch, Leaf, Outputs

# Sums of products in full precision: an accelerator would round the factors first.
contract = functools.partial(jnp.einsum, precision="highest")


@dataclasses.dataclass(frozen=True)
class Prefixes:
    """The pairs of a batch, and the P questions about them: question p is asked after the first `count_P[p]` pairs.

    Attributes:
      x_BLX: inputs of the pairs.
      y_BL: their targets.
      query_BPX: the inputs asked about.
      count_P: k, how many pairs a question may look at.
      seen_PL: 1 where it may look at pair l, else 0.
    """

    x_BLX: Array
    y_BL: Array
    query_BPX: Array
    count_P: Array
    seen_PL: Array

    @property
    def mean_P(self) -> Array:
        """1 / k, and 0 after no pair, so that the mean of nothing is 0."""
        return jnp.where(self.count_P > 0, 1 / jnp.maximum(self.count_P, 1), 0.0).astype(self.x_BLX.dtype)

    def moment_BPX(self) -> Array:
        """X^T y of every prefix."""
        return contract("PL,BL,BLX->BPX", self.seen_PL, self.y_BL, self.x_BLX)

    def gram_BPXZ(self) -> Array:
        """X^T X of every prefix."""
        outer_BLXZ = self.x_BLX[..., :, None] * self.x_BLX[..., None, :]
        return contract("PL,BLXZ->BPXZ", self.seen_PL, outer_BLXZ)

    def around(self, mean: Leaf) -> Prefixes:
        """The same prompts of w - mean: targets without what the mean of w says of them."""
        return dataclasses.replace(self, y_BL=self.y_BL - mean * jnp.sum(self.x_BLX, axis=-1))

    def answer(self, w_BPX: Array, record: bool) -> Outputs:
        """The predictions w.x of linear learners; their record is `w` itself."""
        return Outputs(values=contract("BPX,BPX->BP", w_BPX, self.query_BPX), record={"w": w_BPX} if record else {})


def prefixes(batch: Batch) -> Prefixes:
    """Every slot is asked about where the batch has weights, P = S; else the query alone, P = 1.

    Raises:
      ValueError: for a batch of classes, or of inputs that are not vectors.
    """
    _require_regression(batch)
    slots = batch.inputs.shape[1]
    asked = 1 if batch.weights is None else slots
    count_P = jnp.arange(slots - asked, slots)
    return Prefixes(
        x_BLX=batch.inputs[:, :-1],
        y_BL=batch.targets[:, :-1],
        query_BPX=batch.inputs[:, -asked:],
        count_P=count_P,
        seen_PL=(jnp.arange(slots - 1)[None, :] < count_P[:, None]).astype(batch.inputs.dtype),
    )


def latents(batch: Batch, names: tuple[str, ...], whose: str, field: str) -> list[Array]:
    """What the sampler knows; ValueError where it does not say so, naming the learner's field that would say it."""
    _require_regression(batch)
    for name in names:
        if name not in batch.latents:
            raise ValueError(
                f"{whose} takes its {field} from the task's latent {name!r}, and this task has none (it has "
                f"{', '.join(sorted(batch.latents)) or 'no latents'}): give it a number, as in {whose}({field}=0.1)."
            )
    return [batch.latents[name] for name in names]


def law_of_w(batch: Batch, whose: str, field: str) -> tuple[Array, Array]:
    """sigma / tau and mu, from what the sampler knows of y = w.x + sigma e, w = mu + tau z.

    The ratio is inf where tau is 0, with noise or without: w is known, and no pair moves it.
    """
    sigma, tau, mu = latents(batch, ("noise", "w_scale", "w_mean"), whose, field)
    return jnp.where(tau != 0, sigma / jnp.where(tau != 0, tau, 1.0), jnp.inf), mu


def _require_regression(batch: Batch) -> None:
    if batch.num_classes or batch.inputs.ndim != 3:
        raise ValueError(
            f"The batch has {batch.num_classes} classes and inputs of shape {batch.inputs.shape}; a regression learner "
            "needs real targets (num_classes 0) and vectors, [B, S, d]."
        )
