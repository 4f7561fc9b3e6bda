"""What can be read linearly from the activations of a network, in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim.types import Answerer, Array, Batch, Comparison, Leaf, setting, static


@setting
class Readout(Comparison):
    """How well b's weights w, a linear learner's, can be read linearly from a's hidden states, without training.

    After n pairs they are read from the token that holds y_n, which the trained attention of probes looks at (Akyurek
    et al. 2023, section 5), by `linear_probe`. Each half of a batch is told by what fits the other, so that the error
    is of sequences that the probe did not see.

    Measures: "readout_error/l" of every layer l from 0, the tokens themselves: the squared error by the variance of the
    weights, mean over prefixes. 0 is all of them, and 1 what their mean alone says.

    Attributes:
      penalty: of the ridge regression; above 0 where half a batch has no more sequences than a token has channels.
      prefixes: the numbers n of pairs; empty for 1 to L.
      references: the learners whose weights are read; empty for all.
    """

    penalty: float = static(0.0)
    prefixes: tuple[int, ...] = static(())
    references: tuple[str, ...] = static(())

    def check(self) -> None:
        if not 0 <= self.penalty < float("inf"):
            raise ValueError(f"The readout's penalty is {self.penalty}; it must be a number of at least 0.")
        if any(n < 1 for n in self.prefixes):
            raise ValueError(f"The readout's prefixes are {self.prefixes}; each must be at least 1 pair.")

    def compare(self, a: Answerer, b: Answerer, batch: Batch) -> Mapping[str, Array]:
        record = a.predictor.apply(a.params, batch, record=True).record
        if "residual/0" not in record:  # such as an explicit learner of the same study
            return {}
        known = b.predictor.apply(b.params, batch, record=True).record
        (B, slots), (T, D) = batch.targets.shape, record["residual/0"].shape[1:]
        if "w" not in known or known["w"].shape[1] != slots:
            raise ValueError(
                f"Readout reads the weights of a linear learner after every prefix, and {type(b.predictor).__name__} "
                "has none here; it needs a reference such as LeastSquares, and a task that asks at every slot."
            )
        if T not in (slots, 2 * slots - 1, 2 * slots):
            raise ValueError(
                f"Readout needs one or two tokens a slot, to know which holds y_n, but there are {T} for {slots} slots."
            )
        pairs = self.prefixes or tuple(range(1, slots))
        if max(pairs) >= slots:
            raise ValueError(f"The readout's prefixes are {pairs}; a prompt of this task has {slots - 1} pairs.")
        half = B // 2
        if half <= (0 if self.penalty else D + 1):
            raise ValueError(
                f"Readout fits {D + 1} numbers to half a batch, {half} sequences: evaluation.batch_size must be above "
                f"{2 * D + 3}, or the penalty above 0."
            )
        n_N = jnp.array(pairs)
        w_NBX = jnp.moveaxis(known["w"][:, n_N], 1, 0)
        variance_N = jnp.mean(jnp.var(w_NBX, axis=1), axis=1)
        told = {}
        for layer in range(sum(name.startswith("residual/") for name in record)):
            h_NBD = jnp.moveaxis(record[f"residual/{layer}"][:, n_N - 1 if T == slots else 2 * n_N - 1], 1, 0)
            error_NB = jax.vmap(_errors, in_axes=(0, 0, None))(h_NBD, w_NBX, self.penalty)
            told[f"readout_error/{layer}"] = jnp.mean(error_NB / variance_N[:, None], axis=0)
        return told


def _errors(h_BD: Array, v_BX: Array, penalty: Leaf) -> Array:
    """Squared errors `[B]`, mean over X, of what the half of the batch that a sequence is not in says of it."""
    half = len(h_BD) // 2

    def of(fitted: slice, told: slice) -> Array:
        kernel_DX, bias_X = linear_probe(h_BD[fitted], v_BX[fitted], penalty)
        return jnp.mean(jnp.square(h_BD[told] @ kernel_DX + bias_X[None] - v_BX[told]), axis=1)

    first, second = slice(half), slice(half, None)
    return jnp.concatenate([of(second, first), of(first, second)])


def linear_probe(h_ND: Array, v_NX: Array, penalty: Leaf = 0.0) -> tuple[Array, Array]:
    """Ridge regression of targets v on activations h: minimises sum_n |h_n W + b - v_n|^2 + penalty |W|^2.

    That is the linear probe of one token, alpha one-hot, in closed form. The intercept b is free. By singular values,
    of which those below D * eps of the largest count as 0, so that it is sound in float32 and, at penalty 0, of least
    norm.

    Returns:
      The kernel W `[D, X]` and the bias b `[X]`.
    """
    centre_D, centre_X = jnp.mean(h_ND, axis=0), jnp.mean(v_NX, axis=0)
    left_NR, size_R, right_RD = jnp.linalg.svd(h_ND - centre_D[None], full_matrices=False)
    counted_R = size_R > max(h_ND.shape) * jnp.finfo(h_ND.dtype).eps * size_R[0]
    filter_R = jnp.where(counted_R, size_R / jnp.where(counted_R, jnp.square(size_R) + penalty, 1.0), 0.0)
    kernel_DX = (right_RD.T * filter_R[None]) @ (left_NR.T @ (v_NX - centre_X[None]))
    return kernel_DX, centre_X - centre_D @ kernel_DX
