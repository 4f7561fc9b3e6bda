"""The class prior of the class-mixture task: common classes share p_high, rare classes share the rest."""

from __future__ import annotations

import jax.numpy as jnp

from icl_sim.draws import number_below
from icl_sim.types import Array, Leaf, setting, static


@setting
class TwoGroupPrior:
    """P(c) = p_high / n_H for the common classes 0..n_H-1, (1 - p_high) / n_L for the rare ones after them.

    Every draw is a closed form of one uniform number in [0, 1): no table over classes, no rejection.
    """

    p_high: Leaf
    num_high: int = static()
    num_low: int = static()

    def mass(self, classes: Array) -> Array:
        """P(c), any shape."""
        return jnp.where(classes < self.num_high, self.p_high / self.num_high, (1 - self.p_high) / self.num_low)

    def draw(self, u: Array) -> Array:
        """Class ids with law P from uniforms, any shape."""
        return self._invert(u, self.p_high, 1 - self.p_high, self.num_high, self.num_low)

    def draw_excluding(self, u: Array, excluded: Leaf) -> Array:
        """Class ids with law P( . | c != excluded) from uniforms; the shapes of `u` and `excluded` broadcast."""
        in_high = jnp.asarray(excluded) < self.num_high
        num_high = self.num_high - in_high.astype(jnp.int32)
        num_low = self.num_low - 1 + in_high.astype(jnp.int32)
        mass_high = self.p_high * num_high / self.num_high
        mass_low = (1 - self.p_high) * num_low / self.num_low
        classes = self._invert(u * (mass_high + mass_low), mass_high, mass_low, num_high, num_low)
        # `classes` numbers the remaining ones group by group; step over the gap that `excluded` leaves.
        rare = classes >= num_high
        classes = jnp.where(rare, classes - num_high + self.num_high, classes)
        skip = (rare != in_high) & (classes >= excluded)
        return classes + skip.astype(jnp.int32)

    def draw_within(self, u: Array, group: Leaf) -> Array:
        """Class ids: law P for group 0, uniform over the common classes for group 1, over the rare ones for group 2."""
        common = jnp.floor(u * self.num_high).astype(jnp.int32)
        rare = self.num_high + jnp.floor(u * self.num_low).astype(jnp.int32)
        return jnp.where(group == 1, common, jnp.where(group == 2, rare, self.draw(u)))

    @staticmethod
    def _invert(v: Array, mass_high: Leaf | Array, mass_low: Leaf | Array, n_high: int | Array, n_low: int | Array):
        """Inverse CDF of `mass_high` spread over n_high ids followed by `mass_low` over n_low ids, v in [0, total)."""

        # An empty group is never chosen; its denominator only has to be finite.
        is_high = (v < mass_high) | (jnp.asarray(mass_low) <= 0)
        high_id = number_below(v / jnp.where(mass_high > 0, mass_high, 1.0), n_high)
        low_id = number_below((v - mass_high) / jnp.where(mass_low > 0, mass_low, 1.0), n_low)
        return jnp.where(is_high, high_id, n_high + low_id)
