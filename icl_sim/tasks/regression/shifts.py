"""Shifts of evaluation: sequences that training never showed, or that training shows otherwise.

A shift is named by its kind, `"skewed"`, or by its kind and the number that it takes, `"x_scale:1/3"`.

Some shifts change numbers of the task and cost nothing. Others change what is sampled: those are structure, so that
training does not pay for them. Where a shift is of the query alone, every slot needs a context of its own: a sequence
then asks one slot, slots take turns along the batch, and all other slots weigh 0. A mean over sequences and slots by
weight is therefore one over slots, and of one slot one over the sequences that ask it.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp

from icl_sim.decompositions import orthonormal
from icl_sim.names import require
from icl_sim.tasks.regression.functions import Interpolated, Linear
from icl_sim.tasks.regression.laws import check_at_least, check_finite
from icl_sim.types import Array, Key, Leaf, setting

if TYPE_CHECKING:
    from icl_sim.tasks.regression.regression import Regression


class Shift:
    """What an evaluation set changes. One of your own needs one of `on`, `inputs`, `targets`. Decorate with `setting`.

    Attributes:
      headline: the metric that sums up an evaluation set of this shift.
    """

    headline: ClassVar[str] = "normalized_error"

    def on(self, task: Regression) -> Regression:
        """The shifted task."""
        return task.replace(shift=self)

    def asks(self, dim: int, slots: int) -> range | None:
        """The slots that can be the shifted query of a sequence, or None where every slot is asked as usual."""
        del dim, slots

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        """The inputs of one sequence, shifted; `asked` is the slot that it asks."""
        del key, asked
        return x_SX

    def targets(self, key: Key, y_S: Array) -> Array:
        """The targets of one sequence, noise included, shifted."""
        del key
        return y_S

    def check(self, path: str) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed; `path` is what it calls itself."""


@setting
class FreshFunctions(Shift):
    """New functions where training has a pool of them: T_true of Raventos et al. 2023; "default" is T_pretrain."""

    def on(self, task: Regression) -> Regression:
        return task.replace(function=task.function.off_pool())


@setting
class Between(Shift):
    """Functions between two of the pool, `functions.Interpolated` (Raventos et al. 2023, section 4.2)."""

    alpha: Leaf = 0.5

    def on(self, task: Regression) -> Regression:
        if not isinstance(task.function, Linear):
            raise ValueError(f"The shift between is for Linear functions, and not for {type(task.function).__name__}.")
        return task.replace(function=Interpolated(ends=task.function, alpha=self.alpha))

    def check(self, path: str) -> None:
        Interpolated(alpha=self.alpha).check(path, 1)


@setting
class WeightScale(Shift):
    """w times `factor` (Garg et al. 2022, section 4.2; Akyurek et al. 2023: 2.5; von Oswald et al. 2023: 0.5 to 5)."""

    factor: Leaf = 2.0

    def on(self, task: Regression) -> Regression:
        return task.replace(function=task.function.scaled(self.factor))

    def check(self, path: str) -> None:
        check_finite(f"{path}.factor", self.factor)


@setting
class WeightShift(Shift):
    """w plus `offset` in every coordinate (code of Akyurek et al. 2023: 2.5)."""

    offset: Leaf = 2.5

    def on(self, task: Regression) -> Regression:
        return task.replace(function=task.function.moved(self.offset))

    def check(self, path: str) -> None:
        check_finite(f"{path}.offset", self.offset)


@setting
class LabelNoise(Shift):
    """Label noise of standard deviation `sigma`, by default of variance d / 20 (Garg et al. 2022, section 4.2).

    The code of Akyurek et al. 2023 has sigma = d / 20 instead. Its headline is the error to the function itself.
    """

    headline: ClassVar[str] = "clean_error"
    sigma: Leaf | None = None

    def on(self, task: Regression) -> Regression:
        return task.replace(noise=math.sqrt(task.dim / 20) if self.sigma is None else self.sigma)

    def check(self, path: str) -> None:
        if self.sigma is not None:
            check_at_least(0, f"{path}.sigma", self.sigma)


@setting
class InputScale(Shift):
    """x times `factor` (Garg et al. 2022: 1/3 to 3; von Oswald et al. 2023: 0.5 to 2; Akyurek et al. 2023: 2.5)."""

    factor: Leaf = 2.0

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        return self.factor * x_SX

    def check(self, path: str) -> None:
        check_finite(f"{path}.factor", self.factor)


@setting
class InputShift(Shift):
    """x plus `offset` in every coordinate (code of Akyurek et al. 2023: 2.5)."""

    offset: Leaf = 2.5

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        return x_SX + self.offset

    def check(self, path: str) -> None:
        check_finite(f"{path}.offset", self.offset)


@setting
class Skewed(Shift):
    """x -> x U diag(c / i^power) U^T, i = 1..d, with c such that E |x|^2 stays, and U a random rotation, one for every
    sequence (Garg et al. 2022, section 4.2: power 1).
    """

    power: Leaf = 1.0

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        return _stretched(key, x_SX, (1.0 + jnp.arange(x_SX.shape[1])) ** -jnp.asarray(self.power))

    def check(self, path: str) -> None:
        check_at_least(0, f"{path}.power", self.power)


@setting
class HalfSubspace(Shift):
    """Inputs in a random subspace of d/2 (rounded up) dimensions, E |x|^2 as before (Garg et al. 2022, section 4.2)."""

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        dim = x_SX.shape[1]
        return _stretched(key, x_SX, (jnp.arange(dim) >= dim // 2).astype(x_SX.dtype))


@setting
class OtherLaws(Shift):
    """Every sequence has its own law of x, exponential, normal or Laplace of scale 1, equally often, divided by the
    Frobenius norm of the context and multiplied by `factor` (code of von Oswald et al. 2023: 0.5 to 5)."""

    factor: Leaf = 1.0

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        laws = (jax.random.exponential, jax.random.normal, jax.random.laplace)
        key_law, *keys = jax.random.split(key, 1 + len(laws))
        draws = [law(key, x_SX.shape, x_SX.dtype) for law, key in zip(laws, keys, strict=True)]
        other_SX = jnp.stack(draws)[jax.random.randint(key_law, (), 0, len(laws))]
        return self.factor * other_SX / jnp.linalg.norm(other_SX[:-1])

    def check(self, path: str) -> None:
        check_finite(f"{path}.factor", self.factor)


@setting
class NoisyTargets(Shift):
    """`count` targets of the context, in random slots, become N(0, 1) draws (code of von Oswald et al. 2023: 0 to 8).

    Its headline is the error to the function itself.
    """

    headline: ClassVar[str] = "clean_error"
    count: Leaf = 2

    def targets(self, key: Key, y_S: Array) -> Array:
        key_slots, key_y = jax.random.split(key)
        ticket_L = jax.random.uniform(key_slots, (len(y_S) - 1,))
        replaced_S = jnp.append(jnp.argsort(jnp.argsort(ticket_L)) < self.count, False)
        return jnp.where(replaced_S, jax.random.normal(key_y, y_S.shape, y_S.dtype), y_S)

    def check(self, path: str) -> None:
        check_at_least(0, f"{path}.count", self.count)
        if self.count != int(self.count):
            raise ValueError(f"{path}.count is {self.count}; it must be a whole number.")


@setting
class Orthants(Shift):
    """The context lies in one random orthant, x_i = s |x_i| with random signs s, the query anywhere (Garg et al. 2022,
    section 4.2)."""

    def asks(self, dim: int, slots: int) -> range:
        return range(slots)

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        sign_X = jax.random.rademacher(key, x_SX.shape[1:], x_SX.dtype)
        is_query_S1 = _is_query(x_SX, asked)[:, None]
        return jnp.where(is_query_S1, x_SX, jnp.abs(x_SX) * sign_X[None])


@setting
class OrthogonalQuery(Shift):
    """The query without its part in the span of its context, at its old length (Garg et al. 2022, section 4.2).

    Only slots with fewer than d pairs before them are asked.
    """

    def asks(self, dim: int, slots: int) -> range:
        return range(min(dim, slots))

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        most = len(self.asks(x_SX.shape[1], len(x_SX))) - 1
        query_X = x_SX[asked]
        before_N1 = (jnp.arange(most) < asked)[:, None]
        # Columns of pairs that come later are empty, and what the decomposition makes of them is arbitrary.
        basis_XN = orthonormal(jnp.where(before_N1, x_SX[:most], 0.0).T) * before_N1.T
        along_N = jnp.matmul(basis_XN.T, query_X, precision="highest")
        rest_X = query_X - jnp.matmul(basis_XN, along_N, precision="highest")
        rest_X = rest_X * (jnp.linalg.norm(query_X) / jnp.linalg.norm(rest_X))
        return jnp.where(_is_query(x_SX, asked)[:, None], rest_X[None], x_SX)


@setting
class MatchingQuery(Shift):
    """The query is an earlier input, each with equal probability (Garg et al. 2022, section 4.2)."""

    def asks(self, dim: int, slots: int) -> range:
        return range(1, slots)

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        earlier = jax.random.randint(key, (), 0, asked)
        return jnp.where(_is_query(x_SX, asked)[:, None], x_SX[earlier][None], x_SX)


@setting
class QueryScale(Shift):
    """The query times `factor`, the context as it is (Garg et al. 2022, appendix: 1/16 to 2)."""

    factor: Leaf = 2.0

    def asks(self, dim: int, slots: int) -> range:
        return range(slots)

    def inputs(self, key: Key, x_SX: Array, asked: Array) -> Array:
        return jnp.where(_is_query(x_SX, asked)[:, None], self.factor * x_SX, x_SX)

    def check(self, path: str) -> None:
        check_finite(f"{path}.factor", self.factor)


SHIFTS = {
    "true": FreshFunctions,
    "between": Between,
    "w_scale": WeightScale,
    "w_shift": WeightShift,
    "label_noise": LabelNoise,
    "x_scale": InputScale,
    "x_shift": InputShift,
    "skewed": Skewed,
    "half_subspace": HalfSubspace,
    "other_laws": OtherLaws,
    "noisy_targets": NoisyTargets,
    "orthants": Orthants,
    "orthogonal_query": OrthogonalQuery,
    "matching_query": MatchingQuery,
    "query_scale": QueryScale,
}


def named(name: str) -> Shift:
    """The shift of a name such as `"skewed"` or `"x_scale:1/3"`; without a number it has its default.

    Raises:
      ValueError: if there is no such shift, or it takes no number, or what it is given is none.
    """
    kind, colon, number = str(name).partition(":")
    require(f"The kind of the shift {name!r}", kind, SHIFTS)
    shift = SHIFTS[kind]
    if not colon:
        return shift()
    fields = dataclasses.fields(shift)
    if not fields:
        raise ValueError(f"The shift {name!r} is given a number; {kind} takes none.")
    try:
        return shift(**{fields[0].name: float(Fraction(number))})
    except (ValueError, ArithmeticError):
        raise ValueError(
            f"The shift {name!r} is given {number!r} as its {fields[0].name}; it must be a number, such as 0.5 or 1/3."
        ) from None


def _stretched(key: Key, x_SX: Array, factor_X: Array) -> Array:
    """x U diag(factor) U^T with a random rotation U, by a common factor so that the mean square factor is 1."""
    dim = len(factor_X)
    U_XX = orthonormal(jax.random.normal(key, (dim, dim), x_SX.dtype))
    factor_X = factor_X * jnp.sqrt(dim / jnp.sum(jnp.square(factor_X)))
    turned_SX = jnp.matmul(x_SX, U_XX, precision="highest") * factor_X[None]
    return jnp.matmul(turned_SX, U_XX.T, precision="highest")


def _is_query(x_SX: Array, asked: Array) -> Array:
    return jnp.arange(len(x_SX)) == asked
