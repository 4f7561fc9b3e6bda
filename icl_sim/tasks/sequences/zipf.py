"""How often classes occur: Zipf's law over the classes of training, and even laws over parts of all classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.draws import number_below
from icl_sim.types import Array, Leaf, setting

_NONE = 2**30  # a class that there is not
_LEAST = 1e-30


@setting
class ClassLaw:
    """P(c) over classes 0..K-1 of training and, after them, those held out.

    On the classes from `first` to `end` either P(c) proportional to (K - c)^-alpha, so that the last class is the most
    frequent one (Chan et al. 2022: the rare classes come first, then the common ones), for which they must be of
    training; or even.

    Attributes:
      cumulative: `[K + 1]`, the sum of P over the classes before each, bound by `zipf`.
      first, end: the classes that there are.
      even: whether these are all alike.
    """

    cumulative: Array
    first: Leaf
    end: Leaf
    even: Leaf = False

    def where(self, chosen: Leaf, first: Leaf, end: Leaf, even: Leaf) -> ClassLaw:
        """The law on other classes where `chosen` holds, elsewhere this one."""
        return ClassLaw(
            cumulative=self.cumulative,
            first=jnp.where(chosen, first, self.first),
            end=jnp.where(chosen, end, self.end),
            even=jnp.where(chosen, even, self.even),
        )

    def mass(self, class_: Array) -> Array:
        """P(c)."""
        evenly = jnp.where(self._has(class_), 1 / jnp.maximum(self.end - self.first, 1), 0.0)
        low, high = self._ends()
        return jnp.where(self.even, evenly, self._weight(class_) / jnp.maximum(high - low, _LEAST))

    def draw(self, u: Array, excluded_N: Array | None = None) -> Array:
        """Classes with law P( . | not one of the excluded) from uniform numbers in [0, 1).

        Args:
          u: of any shape.
          excluded_N: classes, in any order, with repetitions; negative ones exclude nothing.
        """
        if excluded_N is None:
            low, high = self._ends()
            return jnp.where(self.even, self._evenly(u, self.end - self.first), self._by_zipf(low + u * (high - low)))
        out_N, mass_N = self._gaps(excluded_N)
        number_N = jnp.arange(len(out_N))
        # What is left is numbered without gaps; a draw steps over every gap that begins at or before it.
        inside_N = self._has(out_N)
        begins_N = out_N - (jnp.cumsum(inside_N) - inside_N)
        even = self._evenly(u, self.end - self.first - jnp.sum(inside_N))
        even += jnp.sum((even[..., None] >= _alike(begins_N, u)) & _alike(inside_N, u), axis=-1)

        low, high = self._ends()
        v = low + u * jnp.maximum(high - low - jnp.sum(mass_N), 0.0)
        below_N = self.cumulative[jnp.clip(out_N, 0, len(self.cumulative) - 1)] - (jnp.cumsum(mass_N) - mass_N)
        v += jnp.sum(jnp.where(v[..., None] >= _alike(below_N, u), _alike(mass_N, u), 0.0), axis=-1)
        zipf = self._by_zipf(v)
        # Rounding can let a draw fall on the edge of a gap: the first class after the gap then, or the last before it.
        hit = zipf[..., None] == _alike(out_N, u)
        run_N = out_N - number_N  # equal in gaps that touch
        same = jnp.sum(jnp.where(hit, _alike(run_N, u), 0), axis=-1)[..., None] == _alike(run_N, u)
        after = zipf + jnp.sum(same & (_alike(out_N, u) >= zipf[..., None]), axis=-1)
        before = zipf - jnp.sum(same & (_alike(out_N, u) <= zipf[..., None]), axis=-1)
        zipf = jnp.where(jnp.any(hit, axis=-1), jnp.where(after < self._after(), after, before), zipf)
        return jnp.where(self.even, even, zipf)

    def draw_distinct(self, u_N: Array, excluded_M: Array | None = None) -> Array:
        """One class after the other, each from the law without the excluded and those before it, `[N]`."""
        count = len(u_N)
        besides_M = jnp.zeros(0, jnp.int32) if excluded_M is None else excluded_M

        def add(chosen_N: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
            number, u = step
            class_ = self.draw(u, jnp.concatenate([besides_M, chosen_N])).astype(jnp.int32)
            return jnp.where(jnp.arange(count) == number, class_, chosen_N), None

        chosen_N, _ = jax.lax.scan(add, jnp.full(count, -1, jnp.int32), (jnp.arange(count), u_N))
        return chosen_N

    def _gaps(self, excluded_N: Array) -> tuple[Array, Array]:
        """The excluded classes in order, each once, then a number above all; and the weight of each in Zipf's law."""
        sorted_N = jnp.sort(excluded_N)
        again_N = jnp.append(False, sorted_N[1:] == sorted_N[:-1]) | (sorted_N < 0)
        out_N = jnp.sort(jnp.where(again_N, _NONE, sorted_N))
        return out_N, self._weight(out_N)

    def _has(self, class_: Array) -> Array:
        return (class_ >= self.first) & (class_ < self.end)

    def _after(self) -> Array:
        """One past the last class of training that there is."""
        return jnp.minimum(self.end, len(self.cumulative) - 1)

    def _ends(self) -> tuple[Array, Array]:
        """Zipf's law up to the first class that there is, and up to and with the last."""
        last = len(self.cumulative) - 1
        return self.cumulative[jnp.minimum(self.first, last)], self.cumulative[self._after()]

    def _weight(self, class_: Array) -> Array:
        """P(c) of Zipf's law over all classes of training, 0 for those that there are not."""
        known = jnp.clip(class_, 0, len(self.cumulative) - 2)
        weight = self.cumulative[known + 1] - self.cumulative[known]
        return jnp.where(self._has(class_) & (class_ < self._after()), weight, 0.0)

    def _evenly(self, u: Array, count: Array | Leaf) -> Array:
        number = jnp.floor(u * count).astype(jnp.int32)
        return self.first + jnp.clip(number, 0, jnp.maximum(count - 1, 0))

    def _by_zipf(self, v: Array) -> Array:
        found = jnp.searchsorted(self.cumulative[1:], v, side="right", method="scan_unrolled")
        return jnp.minimum(found.astype(jnp.int32), self._after() - 1)


def distinct_numbers(u_N: Array, count: int) -> Array:
    """As many numbers of 0..count-1 as there are uniforms, all different, each choice equally likely, `[N]`.

    Fisher and Yates's shuffle without its table: step k takes what stands in a place p_k >= k, and puts there what
    stands in place k. What that is, the steps before tell, from the last one back.
    """
    # One number at a time over all sequences: twice as fast as with the numbers of a sequence as an axis.
    place_N = [step + number_below(u, count - step) for step, u in enumerate(u_N)]
    taken_N = []
    for step, taken in enumerate(place_N):
        for before in reversed(range(step)):
            taken = jnp.where(taken == place_N[before], before, taken)
        taken_N.append(taken)
    return jnp.stack(taken_N)


def _alike(x_N: Array, u: Array) -> Array:
    """A row as the last axis of arrays with one axis more than `u`."""
    return jnp.reshape(x_N, (1,) * u.ndim + x_N.shape)


def zipf(num_classes: int, alpha: Leaf) -> Array:
    """Sums of P(c) proportional to (K - c)^-alpha over the classes before each, `[K + 1]`, from 0 to 1.

    Summed from the rarest on, so that the small numbers are exact to their last digits.
    """
    weight_K = jnp.arange(num_classes, 0, -1, dtype=jnp.float32) ** -jnp.asarray(alpha, jnp.float32)
    sum_K = jnp.cumsum(weight_K)
    return jnp.append(0.0, sum_K / sum_K[-1])
