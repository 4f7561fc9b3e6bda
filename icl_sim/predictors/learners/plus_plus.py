"""GD++: gradient descent that also transforms the inputs, as deep linear self-attention learns to."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim.predictors.learners.gradient_descent import check_steps, each, first
from icl_sim.predictors.learners.prefixes import contract, prefixes
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static


@setting
class GradientDescentPlusPlus(Predictor):
    """GD++ on the k pairs (x_j, r_j) of every prefix and the query (q, p), from r = y, p = 0; it answers p.

    Each of n steps, with S = sum_j x_j x_j^T and g = (rate / k) sum_j r_j x_j of the pairs before it, does

        r_j -= g.x_j,    p += g.q,    x_j -= shrink S x_j,    q -= shrink S q

    (von Oswald et al. 2023, section 3 and appendix A.10). All tokens are transformed alike, so that after some steps
    x_j is M^T times the original, r_j = y_j - w.x_j and p = w.q in terms of the original inputs. Hence, with
    A = X^T X and b = X^T y of the originals,

        S = M^T A M,    w += (rate / k) M M^T (b - A w),    M -= shrink M S,

    and the learner is linear, at a cost that does not depend on the length. With shrink = 0 it is `GradientDescent`.

    Attributes:
      rate: eta, a number or a tuple with one for every step.
      shrink: gamma, likewise; it is useful while the eigenvalues of S lie below 1 / gamma.
      steps: n.
      learned: rate and shrink are parameters that start at the fields.
      per_step: they are one per step, starting spread around the field, as in `GradientDescent`.
    """

    rate: Leaf | tuple[Leaf, ...] = 1.0
    shrink: Leaf | tuple[Leaf, ...] = 0.1
    steps: int = static(2)
    learned: bool = static(False)
    per_step: bool = static(False)

    def check(self) -> None:
        check_steps("GD++", self.steps, self.per_step, self.learned, rate=self.rate, shrink=self.shrink)

    def init(self, key: Key, batch: Batch) -> Params:
        del key, batch
        fields = {"rate": self.rate, "shrink": self.shrink} if self.learned else {}
        return {name: first(value, self.steps, self.per_step) for name, value in fields.items()}

    def account(self, params: Params) -> Mapping[str, Array]:
        return params

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        asked = prefixes(batch)
        rate, shrink = (params["rate"], params["shrink"]) if self.learned else (self.rate, self.shrink)
        gram_BPXZ, moment_BPX = asked.gram_BPXZ(), asked.moment_BPX()

        def step(state: tuple[Array, Array], numbers: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            w_BPX, moved_BPXZ = state
            rate, shrink = numbers
            left_BPX = moment_BPX - contract("BPXZ,BPZ->BPX", gram_BPXZ, w_BPX)
            slope_BPZ = contract("BPXZ,BPX->BPZ", moved_BPXZ, left_BPX) * (rate * asked.mean_P)[None, :, None]
            w_BPX += contract("BPXZ,BPZ->BPX", moved_BPXZ, slope_BPZ)
            spread_BPXZ = contract("BPXY,BPYZ->BPXZ", gram_BPXZ, moved_BPXZ)
            spread_BPXZ = contract("BPYX,BPYZ->BPXZ", moved_BPXZ, spread_BPXZ)
            moved_BPXZ -= shrink * contract("BPXY,BPYZ->BPXZ", moved_BPXZ, spread_BPXZ)
            return (w_BPX, moved_BPXZ), None

        unmoved_BPXZ = jnp.broadcast_to(jnp.eye(gram_BPXZ.shape[-1], dtype=gram_BPXZ.dtype), gram_BPXZ.shape)
        numbers = each(rate, self.steps, gram_BPXZ), each(shrink, self.steps, gram_BPXZ)
        (w_BPX, _), _ = jax.lax.scan(step, (jnp.zeros_like(moment_BPX), unmoved_BPXZ), numbers)
        return asked.answer(w_BPX, record)
