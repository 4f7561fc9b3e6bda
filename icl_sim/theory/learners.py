"""No-regret learners on the simplex: what Algorithm 1 of Chan et al. 2025 is made of.

A learner chooses weights w over K options, sees a loss vector l of them (for a convex loss: its gradient at w, which
bounds the loss's regret from above), pays w . l, and moves. Its whole memory is one vector, so that a table of
learners, one per input, is an array `[X, K]`. `seen` is the number of rounds that a learner has played before this one.

Every learner knows a bound of its regret against the best fixed w, as a term that grows by `cost` in every round and a
`slack` that depends on the number of rounds alone.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln

from icl_sim import names
from icl_sim.types import Array, Leaf, setting, static

EUCLIDEAN, ENTROPY = "euclidean", "entropy"


class Learner:
    """A no-regret learner over K options. A learner of your own needs `play` and `learn`, and `slack` for its bound."""

    def start(self, size: int) -> Array:
        """The memory before the first round, `[K]`."""
        return jnp.zeros(size)

    def play(self, memory_K: Array, seen: Array) -> Array:
        """The weights of the next round, `[K]`, on the simplex."""
        raise NotImplementedError(f"{type(self).__name__} must define play(memory_K, seen) -> weights.")

    def learn(self, memory_K: Array, weights_K: Array, loss_K: Array, seen: Array) -> Array:
        """The memory after a round in which `weights_K` was played and `loss_K` seen."""
        raise NotImplementedError(f"{type(self).__name__} must define learn(memory_K, weights_K, loss_K, seen).")

    def cost(self, loss_K: Array, seen: Array) -> Array:
        """What this round adds to the bound of the regret."""
        del loss_K, seen
        return jnp.zeros(())

    def slack(self, seen: Array, size: int) -> Array:
        """What the bound of the regret holds beside the sum of costs, after `seen` rounds."""
        del size
        return jnp.full(jnp.shape(seen), jnp.inf)

    def mixture_slack(self, seen: Array, size: int) -> Array:
        """A bound of sum_t -log(w_t . p_t) - min_k sum_t -log p_tk where the losses are -log p_tk; inf if none is
        known."""
        del size
        return jnp.full(jnp.shape(seen), jnp.inf)

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""


@setting
class Counts(Learner):
    """w_k = (n_k + add) / (n + K add): the add-beta rule for log loss, whose best fixed w are the frequencies n_k / n.

    It understands the gradient of log loss alone, -q / (w . q): `-loss * w` is then the posterior of the options, the
    one-hot label where the options are labels. Its regret is

        log G(n + K b) / G(K b) - sum_k log G(n_k + b) / G(b) - n H(n_1/n, ..., n_K/n),

    which for b >= 1/2 is convex in every n_k (the trigamma function at k + 1/2 is below 1/k), so that the largest is at
    n_1 = n: `slack`. It grows like (K - 1)/2 log n for b = 1/2 (Krichevsky and Trofimov 1981).
    """

    add: Leaf = 0.5

    def check(self) -> None:
        if not 0 < self.add < math.inf:
            raise ValueError(f"add is {self.add}; what counts start from must be positive and finite.")

    def play(self, memory_K: Array, seen: Array) -> Array:
        del seen
        return (memory_K + self.add) / (jnp.sum(memory_K) + memory_K.shape[-1] * self.add)

    def learn(self, memory_K: Array, weights_K: Array, loss_K: Array, seen: Array) -> Array:
        del seen
        return memory_K - weights_K * loss_K

    def slack(self, seen: Array, size: int) -> Array:
        if size == 1:
            return jnp.zeros(jnp.shape(seen))
        n, b = jnp.asarray(seen, jnp.float32), jnp.asarray(self.add, jnp.float32)
        others = (size - 1) * b
        # As a difference of log beta functions, which stays exact where n is large.
        return jnp.where(b >= 0.5, betaln(others, b) - betaln(others, n + b), jnp.inf)


@setting
class _Rated(Learner):
    """A learner with a rate.

    Attributes:
      rate: eta, or eta_1.
      anytime: eta_t = rate / sqrt(t) in round t = 1, 2, ..., for a regret of order sqrt(n) without knowing n; else
        eta_t = rate.
    """

    rate: Leaf = 1.0
    anytime: bool = static(False)

    def check(self) -> None:
        if not 0 < self.rate < math.inf:
            raise ValueError(f"rate is {self.rate}; a learner's rate must be positive and finite.")

    def rate_of(self, seen: Array) -> Array:
        """eta_t of round t = seen + 1."""
        rate = jnp.asarray(self.rate, jnp.float32)
        return rate / jnp.sqrt(1.0 + seen) if self.anytime else rate * jnp.ones(jnp.shape(seen))

    def _last_rate(self, seen: Array) -> Array:
        """eta_n after n = seen rounds."""
        return self.rate_of(jnp.maximum(jnp.asarray(seen, jnp.float32) - 1.0, 0.0))


@setting
class Hedge(_Rated):
    """w proportional to exp(-eta_t L), L the losses so far: exponential weights, or, fed gradients, exponentiated
    gradient.

    Regret <= log K / eta_n + sum_t eta_t r_t^2 / 8, r_t the range of the losses of round t (Cesa-Bianchi and Lugosi
    2006, sections 2.2 and 2.3). Where the losses are -log p_k and the mixture w . p is what predicts, the regret of its
    log loss is at most log K / eta for a constant eta <= 1; with eta = 1 the weights are Bayes' posterior.
    """

    def play(self, memory_K: Array, seen: Array) -> Array:
        return jax.nn.softmax(-self.rate_of(seen) * memory_K)

    def learn(self, memory_K: Array, weights_K: Array, loss_K: Array, seen: Array) -> Array:
        del weights_K, seen
        total_K = memory_K + loss_K
        return total_K - jnp.min(total_K)  # only differences matter

    def cost(self, loss_K: Array, seen: Array) -> Array:
        return self.rate_of(seen) * jnp.square(jnp.max(loss_K) - jnp.min(loss_K)) / 8

    def slack(self, seen: Array, size: int) -> Array:
        return jnp.log(size) / self._last_rate(seen)

    def mixture_slack(self, seen: Array, size: int) -> Array:
        rate = self._last_rate(seen)
        known = (rate <= 1) & (not self.anytime)
        return jnp.where(known, jnp.log(size) / rate, jnp.inf)


@setting
class GradientDescent(_Rated):
    """w <- the point of the simplex nearest to w - eta_t l (Zinkevich 2003).

    Regret <= D / eta_n + sum_t eta_t |l_t|^2 / 2, l_t less its mean, which moves nothing. D is half of the squared
    distance
    that w can be from another point: (1 - 1/K) / 2 from the start, for a constant eta, and 1 for one that falls.
    """

    def start(self, size: int) -> Array:
        return jnp.full(size, 1.0 / size)

    def play(self, memory_K: Array, seen: Array) -> Array:
        del seen
        return memory_K

    def learn(self, memory_K: Array, weights_K: Array, loss_K: Array, seen: Array) -> Array:
        del weights_K
        return nearest_on_simplex(memory_K - self.rate_of(seen) * loss_K)

    def cost(self, loss_K: Array, seen: Array) -> Array:
        return self.rate_of(seen) * _centred_square(loss_K) / 2

    def slack(self, seen: Array, size: int) -> Array:
        return (1.0 if self.anytime else (1 - 1 / size) / 2) / self._last_rate(seen)


@setting
class FollowTheRegularizedLeader(_Rated):
    """w = argmin w . L + R(w) / eta_t, L the losses so far.

    R is half of the squared distance to the uniform weights, so that w is the point of the simplex nearest to 1/K -
    eta_t L; or the negative entropy, for which it is `Hedge`. Regret <= max R / eta_n + sum_t eta_t |l_t|^2 / 2 with
    the dual norm (Orabona 2019, corollary 7.9).
    """

    regularizer: str = static(EUCLIDEAN)

    def check(self) -> None:
        super().check()
        names.require("The leader's regularizer", self.regularizer, (EUCLIDEAN, ENTROPY))

    @property
    def _hedge(self) -> Hedge:
        return Hedge(rate=self.rate, anytime=self.anytime)

    def play(self, memory_K: Array, seen: Array) -> Array:
        if self.regularizer == ENTROPY:
            return self._hedge.play(memory_K, seen)
        return nearest_on_simplex(1 / memory_K.shape[-1] - self.rate_of(seen) * memory_K)

    def learn(self, memory_K: Array, weights_K: Array, loss_K: Array, seen: Array) -> Array:
        return self._hedge.learn(memory_K, weights_K, loss_K, seen)  # the sum of losses, as there

    def cost(self, loss_K: Array, seen: Array) -> Array:
        if self.regularizer == ENTROPY:
            return self._hedge.cost(loss_K, seen)
        return self.rate_of(seen) * _centred_square(loss_K) / 2

    def slack(self, seen: Array, size: int) -> Array:
        if self.regularizer == ENTROPY:
            return self._hedge.slack(seen, size)
        return (1 - 1 / size) / 2 / self._last_rate(seen)

    def mixture_slack(self, seen: Array, size: int) -> Array:
        return (self._hedge if self.regularizer == ENTROPY else super()).mixture_slack(seen, size)


LEARNERS: dict[str, type[Learner]] = {
    "counts": Counts,
    "hedge": Hedge,
    "gradient_descent": GradientDescent,
    "follow_the_regularized_leader": FollowTheRegularizedLeader,
}


def nearest_on_simplex(v_K: Array) -> Array:
    """The point of the probability simplex nearest to v, `[K]`: max(v - t, 0) with the t that makes it sum to 1.

    t is the largest of (v_(1) + ... + v_(j) - 1) / j over j, v sorted from the largest down (Duchi et al. 2008).
    """
    v_K = v_K - jnp.max(v_K)  # which moves nothing, and keeps differences of large numbers
    sorted_K = -jnp.sort(-v_K)
    threshold = jnp.max((jnp.cumsum(sorted_K) - 1) / jnp.arange(1, v_K.shape[-1] + 1))
    return jnp.maximum(v_K - threshold, 0.0)


def _centred_square(loss_K: Array) -> Array:
    return jnp.sum(jnp.square(loss_K - jnp.mean(loss_K)))
