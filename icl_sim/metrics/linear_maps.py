"""Comparisons of layers of (linear) attention by what their weights do, not only by their answers.

The predictors are those whose parameters are W_Q, W_K, W_V `[layers, heads, K, D]` and P `[layers, heads, D, K]` as
"query", "key", "value" and "out" (von Oswald et al. 2023).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim.metrics.accuracy import loss
from icl_sim.types import Answerer, Array, Batch, Comparison, Leaf, Outputs, setting, static

_WEIGHTS = ("query", "key", "value", "out")


@setting
class Interpolation(Comparison):
    """The loss of a layer between a and b (von Oswald et al. 2023, section 3 and appendix A.3).

    A layer is only the products W_KQ = W_K^T W_Q and W_PV = P W_V of each head, and of those one's scale can be moved
    to the other. So W_KQ is divided, and W_PV multiplied, by the mean of the first d diagonal entries of W_KQ, d the
    coordinates of an input, before the products of a and b are averaged. Where the average has the loss of a and of b,
    they are the same solution up to scale. The averaged network is otherwise a. For deep networks of untied layers
    this correction does not suffice.

    Measures: "interpolation_loss".

    Attributes:
      share: how much b counts; 1/2 is the paper's.
      references: which constructions to average with.
    """

    share: Leaf = 0.5
    references: tuple[str, ...] = static(())

    def check(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"The interpolation's share is {self.share}; it must lie from 0 to 1.")

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        if not _has_weights(a):  # such as an explicit learner of the same study
            return {}
        ours, theirs = (_products(answerer, batch.inputs.shape[-1]) for answerer in (a, b))
        if ours["query"].shape != theirs["query"].shape:
            shapes = " and ".join(str(list(products["query"].shape)) for products in (ours, theirs))
            raise ValueError(
                f"Interpolation needs layers of equal structure, but W_KQ [layers, heads, D, D] are of shapes {shapes}."
            )
        mixed = jax.tree.map(lambda x, y: (1 - self.share) * x + self.share * y, ours, theirs)
        answers = dataclasses.replace(a, params={**a.params, **mixed})(batch)
        return {"interpolation_loss": loss(Outputs(values=answers), batch)}


@setting
class Rollout(Comparison):
    """The loss of a when its one layer is used again and again (von Oswald et al. 2023, figure 2).

    Every use writes y slots alone, and what it writes is damped. Gradient descent goes on to fall so; a layer that only
    resembles one step of it need not. b is not looked at.

    Measures: "rollout_loss/n" after n uses.

    Attributes:
      uses: after how many uses the loss is told.
      damping: lambda, by which the layer's output is multiplied.
      references: whose names the measures end in; one is enough.
    """

    uses: tuple[int, ...] = static((1, 2, 5, 10, 20, 50))
    damping: Leaf = 0.75
    references: tuple[str, ...] = static(())

    def check(self) -> None:
        if not self.uses or min(self.uses) < 1:
            raise ValueError(f"The rollout's uses are {self.uses}; it needs one, and each must be at least 1.")

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        del b
        if (network := _network(a, "rollout")) is None:
            return {}
        answer_BU = network.rollout(a.params, batch, max(self.uses), self.damping)
        return {
            f"rollout_loss/{uses}": jnp.square(answer_BU[:, uses - 1] - batch.targets[:, -1]) for uses in self.uses
        }


@setting
class CopySensitivity(Comparison):
    """How much a token after a's first layer depends on tokens before it (von Oswald et al. 2023, section 4).

    The mean, over the x tokens of the context, of the Frobenius norm of d(output_j)/d(input_i): of the token itself, of
    the next one, which is its y, and of the others. A layer that copies y to x depends on the next one. For interleaved
    tokens. b is not looked at.

    Measures: "sensitivity_own", "sensitivity_next", "sensitivity_other".
    """

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        del b
        if (network := _network(a, "layer")) is None:
            return {}
        h_BTD = network.embed(a.params, batch)
        T, pairs = h_BTD.shape[1], batch.inputs.shape[1] - 1
        if T != 2 * pairs + 1:
            raise ValueError(
                f"CopySensitivity needs interleaved tokens, {2 * pairs + 1} of them for {pairs} pairs, but there are "
                f"{T}."
            )

        def norms(h_TD: Array, j: Array) -> Array:
            """|d output_j / d input_i| of token j of one sequence, `[T]`."""

            def output(h_TD: Array) -> Array:
                asking_11D = jax.lax.dynamic_index_in_dim(h_TD[None], j, axis=1)
                return network.layer(a.params, h_TD[None], 0, asking_11D)[0, 0]

            return jnp.sqrt(jnp.sum(jnp.square(jax.jacrev(output)(h_TD)), axis=(0, 2)))

        # Token by token, since the outputs of one depend on the others through itself and what it reads alone; and
        # sequence by sequence, since a Jacobian has L T D^2 numbers.
        norm_BLT = jax.lax.map(lambda h_TD: jax.vmap(norms, (None, 0))(h_TD, jnp.arange(0, T - 1, 2)), h_BTD)
        x_L, token_T = jnp.arange(0, T - 1, 2)[:, None], jnp.arange(T)[None]
        own_LT, next_LT = token_T == x_L, token_T == x_L + 1
        parts = {"own": own_LT, "next": next_LT, "other": ~(own_LT | next_LT)}
        return {
            f"sensitivity_{name}": jnp.sum(norm_BLT * part_LT[None], axis=(1, 2)) / jnp.sum(part_LT)
            for name, part_LT in parts.items()
        }


def _products(answerer: Answerer, dim: int) -> dict[str, Array]:
    """W_KQ and W_PV on one scale, as parameters: with identities for the other two."""
    params = answerer.params
    if not _has_weights(answerer):
        raise ValueError(
            f"Interpolation needs predictors with the parameters {', '.join(_WEIGHTS)}, but "
            f"{type(answerer.predictor).__name__} has not."
        )
    read = jnp.einsum("lhkd,lhke->lhde", params["key"], params["query"])
    write = jnp.einsum("lhdk,lhke->lhde", params["out"], params["value"])
    diagonal = jnp.diagonal(read, axis1=-2, axis2=-1)[..., :dim]
    scale = jnp.mean(diagonal, axis=-1)[..., None, None]
    identity = jnp.broadcast_to(jnp.eye(read.shape[-1], dtype=read.dtype), read.shape)
    return {"query": read / scale, "key": identity, "value": write * scale, "out": identity}


def _has_weights(answerer: Answerer) -> bool:
    return isinstance(answerer.params, Mapping) and set(_WEIGHTS) <= set(answerer.params)


def _network(answerer: Answerer, method: str) -> Any:
    """The predictor, or None where it is no network of attention layers, to which the measure does not apply."""
    return answerer.predictor if hasattr(answerer.predictor, method) else None
