"""Classes of functions f that map inputs to targets: one function is drawn for every sequence.

Everything here is about one sequence; the task maps it over a batch. Products of matrices ask for full precision, since
an accelerator's default would add noise of its own to the targets.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, Self

import jax
import jax.numpy as jnp

from icl_sim import draws, names, pools
from icl_sim.decompositions import cholesky
from icl_sim.kernels import Kernel, SquaredExponential
from icl_sim.keys import stream
from icl_sim.tasks.regression.laws import check_at_least, check_finite, check_share
from icl_sim.types import Array, Key, Leaf, Params, setting, static


class Function:
    """A class of functions. One of your own needs `draw` and `__call__`. Subclasses are decorated with `setting`.

    Attributes:
      num_classes: 0 for real targets; 2 where the targets say on which side of 0 the (noisy) value of the function is.
    """

    num_classes: ClassVar[int] = 0

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> Params:
        """A function: arrays. `active_X` says which coordinates of the inputs are not 0, `seed` is that of the pool."""
        raise NotImplementedError(f"{type(self).__name__} must define draw(key, active_X, seed).")

    def __call__(self, params: Params, x_SX: Array) -> Array:
        """f of every input, `[S]`."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(params, x_SX).")

    def error_scale(self, dim: int) -> float:
        """The squared error that counts as 1: that of answering 0 where inputs are N(0, I).

        Numbers of the class, as a scale of weights, are those of its source, whatever they are set to.
        """
        del dim
        return 1.0

    def weights(self, params: Params) -> Array | None:
        """w of f(x) = w.x, `[X]`, or None where there is none."""
        del params

    def prior(self) -> Mapping[str, Leaf]:
        """What an oracle may know of the law of the functions, as numbers: latents of the task."""
        return {"pool": math.inf}

    @property
    def pool_law(self) -> str | None:
        """The law of the rows of its pool, or None where it has none."""

    def off_pool(self) -> Function:
        """The same class without its pool: every function is new. What an oracle is told does not change."""
        return self

    def scaled(self, factor: Leaf) -> Function:
        """The same class with weights times `factor`."""
        raise ValueError(f"{type(self).__name__} has no weights that a shift could scale; Linear and Sparse have.")

    def moved(self, offset: Leaf) -> Function:
        """The same class with `offset` added to every weight."""
        raise ValueError(f"{type(self).__name__} has no weights that a shift could move; Linear has.")

    def check(self, path: str, dim: int) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed; `path` is what it calls itself."""

    def replace(self, **changes) -> Self:
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


@setting
class Linear(Function):
    """f(x) = w.x with w = mean + scale * z, z of independent coordinates of mean 0 and variance 1.

    With mean 1 and scale 0 it is the control task of the probes of Akyurek et al. 2023, w = (1, ..., 1), which needs no
    context.

    Attributes:
      scale: tau, the standard deviation of a weight.
      mean: of a weight.
      pool: M, how many distinct w there are, drawn uniformly (Raventos et al. 2023: pretraining tasks; Garg et al.
        2022: the ablation over n_w); row i of the pool is `pools.rows(seed, i)`, so none is stored. inf: all are new.
      fresh: draw new w although there is a pool; what an evaluation set varies.
      law: of z, `"normal"` or `"laplace"`.
    """

    scale: Leaf = 1.0
    mean: Leaf = 0.0
    pool: Leaf = math.inf
    fresh: Leaf = False
    law: str = static("normal")

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> Array:
        key_index, key_fresh = jax.random.split(key)
        return self.row(index_below(key_index, self.pool), key_fresh, len(active_X), seed)

    def row(self, index: Array, key: Key, dim: int, seed: Leaf) -> Array:
        """w number `index` of the pool, or the one of the key where there is no pool, `[X]`."""
        pooled = jnp.isfinite(self.pool) & ~jnp.asarray(self.fresh, bool)
        return self.mean + self.scale * pools.draw(jnp.where(pooled, pools.key(seed, index), key), dim, self.law)

    def __call__(self, params: Array, x_SX: Array) -> Array:
        return jnp.matmul(x_SX, params, precision="highest")

    def error_scale(self, dim: int) -> float:
        return float(dim)

    def weights(self, params: Array) -> Array:
        return params

    def prior(self) -> Mapping[str, Leaf]:
        return {"pool": self.pool, "w_scale": self.scale, "w_mean": self.mean}

    @property
    def pool_law(self) -> str:
        return self.law

    def off_pool(self) -> Linear:
        return self.replace(fresh=True)

    def scaled(self, factor: Leaf) -> Linear:
        return self.replace(scale=self.scale * factor, mean=self.mean * factor)

    def moved(self, offset: Leaf) -> Linear:
        return self.replace(mean=self.mean + offset)

    def check(self, path: str, dim: int) -> None:
        check_at_least(0, f"{path}.scale", self.scale)
        check_finite(f"{path}.mean", self.mean)
        check_size(f"{path}.pool", self.pool)
        names.require(f"{path}.law", self.law, pools.LAWS)


@setting
class Interpolated(Function):
    """w between two distinct functions of a pool, of the mean of their lengths (Raventos et al. 2023, section 4.2):

    w = (|w_i| + |w_j|) / 2 * u / |u| with u = alpha w_i + (1 - alpha) w_j.
    """

    ends: Linear = Linear()
    alpha: Leaf = 0.5

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> Array:
        key_i, key_j, fresh_i, fresh_j = jax.random.split(key, 4)
        pool = jnp.asarray(self.ends.pool)
        i = index_below(key_i, pool)
        others = index_below(key_j, jnp.maximum(pool - 1, 1))
        size = jnp.where(jnp.isfinite(pool), pool, 1).astype(jnp.uint32)
        w_i = self.ends.row(i, fresh_i, len(active_X), seed)
        w_j = self.ends.row((i + 1 + others) % size, fresh_j, len(active_X), seed)
        u_X = self.alpha * w_i + (1 - self.alpha) * w_j
        length = (jnp.linalg.norm(w_i) + jnp.linalg.norm(w_j)) / 2
        return u_X * (length / jnp.maximum(jnp.linalg.norm(u_X), jnp.finfo(u_X.dtype).tiny))

    def __call__(self, params: Array, x_SX: Array) -> Array:
        return self.ends(params, x_SX)

    def error_scale(self, dim: int) -> float:
        return self.ends.error_scale(dim)

    def weights(self, params: Array) -> Array:
        return params

    def prior(self) -> Mapping[str, Leaf]:
        return self.ends.prior()

    @property
    def pool_law(self) -> str:
        return self.ends.law

    def check(self, path: str, dim: int) -> None:
        check_share(f"{path}.alpha", self.alpha)
        self.ends.check(f"{path}.ends", dim)


@setting
class Sparse(Function):
    """f(x) = w.x where all but `nonzero` coordinates of w ~ N(0, scale^2 I) are 0, those kept being uniform among the
    active ones (Garg et al. 2022, section 4)."""

    scale: Leaf = 1.0
    nonzero: int = static(3)

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> Array:
        del seed
        key_kept, key_w = jax.random.split(key)
        ticket_X = jnp.where(active_X, jax.random.uniform(key_kept, active_X.shape), 2.0)
        kept_X = active_X & (jnp.argsort(jnp.argsort(ticket_X)) < self.nonzero)
        return jnp.where(kept_X, self.scale * draws.normal(key_w, active_X.shape), 0.0)

    def __call__(self, params: Array, x_SX: Array) -> Array:
        return jnp.matmul(x_SX, params, precision="highest")

    def error_scale(self, dim: int) -> float:
        return float(self.nonzero)

    def weights(self, params: Array) -> Array:
        return params

    def prior(self) -> Mapping[str, Leaf]:
        return {"pool": math.inf}  # no normal law of weights, for which ridge regression would be the oracle

    def scaled(self, factor: Leaf) -> Sparse:
        return self.replace(scale=self.scale * factor)

    def check(self, path: str, dim: int) -> None:
        check_at_least(0, f"{path}.scale", self.scale)
        if not 1 <= self.nonzero <= dim:
            raise ValueError(f"{path}.nonzero is {self.nonzero}; it must be from 1 to task.dim, {dim}.")


@setting
class Quadratic(Function):
    """f(x) = sum_c w_c x_c^2 / sqrt(3), w ~ N(0, I): E f^2 = d where x ~ N(0, I) (code of Garg et al. 2022)."""

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> Array:
        del seed
        return draws.normal(key, active_X.shape)

    def __call__(self, params: Array, x_SX: Array) -> Array:
        return jnp.matmul(jnp.square(x_SX), params, precision="highest") / math.sqrt(3)

    def error_scale(self, dim: int) -> float:
        return float(dim)


@setting
class ReluNetwork(Function):
    """f(x) = sum_i a_i max(0, w_i.x), i = 1..width, w_i ~ N(0, I), a_i ~ N(0, 2 / width): E f^2 = d where x ~ N(0, I)
    (Garg et al. 2022, section 5)."""

    width: int = static(100)

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> tuple[Array, Array]:
        del seed
        key_w, key_a = jax.random.split(key)
        w_WX = draws.normal(key_w, (self.width, len(active_X)))
        return w_WX, math.sqrt(2 / self.width) * jax.random.normal(key_a, (self.width,))

    def __call__(self, params: tuple[Array, Array], x_SX: Array) -> Array:
        w_WX, a_W = params
        hidden_SW = jax.nn.relu(jnp.matmul(x_SX, w_WX.T, precision="highest"))
        return jnp.matmul(hidden_SW, a_W, precision="highest")

    def error_scale(self, dim: int) -> float:
        return float(dim)

    def check(self, path: str, dim: int) -> None:
        if self.width < 1:
            raise ValueError(f"{path}.width is {self.width}; it must be at least 1.")


@setting
class DecisionTree(Function):
    """A full binary tree: node n asks whether x[c_n] > 0 and goes to node 2n + 2 if so, else to 2n + 1; c_n is uniform
    over all coordinates, the value of a leaf is N(0, 1) (Garg et al. 2022, section 5)."""

    depth: int = static(4)

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> tuple[Array, Array]:
        del seed
        key_tests, key_leaves = jax.random.split(key)
        tests_N = jax.random.randint(key_tests, (2**self.depth - 1,), 0, len(active_X))
        return tests_N, jax.random.normal(key_leaves, (2**self.depth,))

    def __call__(self, params: tuple[Array, Array], x_SX: Array) -> Array:
        tests_N, leaves = params
        right_SN = (x_SX[:, tests_N] > 0).astype(jnp.int32)
        node_S = jnp.zeros(len(x_SX), jnp.int32)
        for _ in range(self.depth):
            node_S = 2 * node_S + 1 + jnp.take_along_axis(right_SN, node_S[:, None], axis=1)[:, 0]
        return leaves[node_S - len(tests_N)]

    def check(self, path: str, dim: int) -> None:
        if not 1 <= self.depth <= 16:
            raise ValueError(f"{path}.depth is {self.depth}; it must be from 1 to 16.")


@setting
class Sine(Function):
    """f(x) = a sin(x + rho) of one coordinate, a ~ U(amplitude_low, amplitude_high), rho ~ U(0, phase_high)
    independent of it (von Oswald et al. 2023, section 4; in their code one random number decides both)."""

    amplitude_low: Leaf = 0.1
    amplitude_high: Leaf = 5.0
    phase_high: Leaf = math.pi

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> tuple[Array, Array]:
        del active_X, seed
        u_amplitude, u_phase = jax.random.uniform(key, (2,))
        amplitude = self.amplitude_low + (self.amplitude_high - self.amplitude_low) * u_amplitude
        return amplitude, self.phase_high * u_phase

    def __call__(self, params: tuple[Array, Array], x_SX: Array) -> Array:
        amplitude, phase = params
        return amplitude * jnp.sin(x_SX[:, 0] + phase)

    def error_scale(self, dim: int) -> float:
        del dim
        return (0.1**2 + 0.1 * 5 + 5**2) / 3 / 2  # E a^2 E sin^2 of the paper, of inputs of any law

    def check(self, path: str, dim: int) -> None:
        if dim != 1:
            raise ValueError(f"task.dim is {dim}; the inputs of {path}, a sine, must have 1 coordinate.")
        for name in ("amplitude_low", "amplitude_high", "phase_high"):
            check_finite(f"{path}.{name}", getattr(self, name))
        if self.amplitude_low > self.amplitude_high:
            raise ValueError(
                f"{path}.amplitude_low is {self.amplitude_low}; it must be at most amplitude_high, "
                f"{self.amplitude_high}."
            )


@setting
class LinearClassification(Function):
    """Whether w.x > 0, w ~ N(0, I): classes 0 and 1; label noise is added before the sign is taken (code of Garg et
    al. 2022, without noise)."""

    num_classes: ClassVar[int] = 2

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> Array:
        del seed
        return draws.normal(key, active_X.shape)

    def __call__(self, params: Array, x_SX: Array) -> Array:
        return jnp.matmul(x_SX, params, precision="highest")

    def weights(self, params: Array) -> Array:
        return params


@setting
class GaussianProcess(Function):
    """f ~ GP(0, kernel), drawn at the inputs of the sequence jointly: L z with L L^T = K + jitter.

    The jitter, 4 eps tr K, is what rounding needs: in float32 a noise of variance 2e-5 at 41 slots of variance 1.
    """

    kernel: Kernel = SquaredExponential()

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> Key:
        del active_X, seed
        return key

    def __call__(self, params: Key, x_SX: Array) -> Array:
        K_SS = self.kernel(x_SX, x_SX)
        info = jnp.finfo(K_SS.dtype)
        jitter = 4 * info.eps * jnp.trace(K_SS) + info.tiny
        root_SS = cholesky(K_SS + jitter * jnp.eye(len(x_SX)))
        return jnp.matmul(root_SS, jax.random.normal(params, (len(x_SX),)), precision="highest")

    def check(self, path: str, dim: int) -> None:
        self.kernel.check()


@setting
class Mixture(Function):
    """Each sequence draws its function from `a` with probability `share`, else from `b`; either may be a mixture.

    Errors are by the scale of `a`. Pools have seeds of their own, so that two pools of one mixture differ.
    """

    a: Function = Linear()
    b: Function = Sparse()
    share: Leaf = 0.5

    def draw(self, key: Key, active_X: Array, seed: Leaf) -> tuple[Array, Params, Params]:
        key_a, key_b, key_choice = jax.random.split(key, 3)
        from_a = jax.random.uniform(key_choice) < self.share
        seed_a, seed_b = jax.random.bits(stream(seed, "data", 2), (2,), jnp.uint32)
        return from_a, self.a.draw(key_a, active_X, seed_a), self.b.draw(key_b, active_X, seed_b)

    def __call__(self, params: tuple[Array, Params, Params], x_SX: Array) -> Array:
        from_a, of_a, of_b = params
        return jnp.where(from_a, self.a(of_a, x_SX), self.b(of_b, x_SX))

    def error_scale(self, dim: int) -> float:
        return self.a.error_scale(dim)

    def weights(self, params: tuple[Array, Params, Params]) -> Array | None:
        from_a, of_a, of_b = params
        w_a, w_b = self.a.weights(of_a), self.b.weights(of_b)
        return None if w_a is None or w_b is None else jnp.where(from_a, w_a, w_b)

    def off_pool(self) -> Mixture:
        return self.replace(a=self.a.off_pool(), b=self.b.off_pool())

    def scaled(self, factor: Leaf) -> Mixture:
        return self.replace(a=self.a.scaled(factor), b=self.b.scaled(factor))

    def moved(self, offset: Leaf) -> Mixture:
        return self.replace(a=self.a.moved(offset), b=self.b.moved(offset))

    def check(self, path: str, dim: int) -> None:
        check_share(f"{path}.share", self.share)
        for name, part in (("a", self.a), ("b", self.b)):
            if part.num_classes:
                raise ValueError(f"{path}.{name} is a {type(part).__name__}; only functions of real values are mixed.")
            part.check(f"{path}.{name}", dim)


def index_below(key: Key, size: Leaf, shape: tuple[int, ...] = ()) -> Array:
    """Numbers below `size`, uniform, uint32; 0 where the size is inf."""
    # The remainder favours some by one part in 2^32 / size: 1 in 4096 at a size of 10^6, nothing for powers of two.
    return jax.random.bits(key, shape, jnp.uint32) % jnp.where(jnp.isfinite(size), size, 1).astype(jnp.uint32)


def check_size(what: str, size: Leaf) -> None:
    """Raises ValueError unless the value is a size of a virtual pool, or inf."""
    if math.isinf(size) and size > 0:
        return
    if not 1 <= size <= pools.MAX_POOL or size != int(size):
        raise ValueError(f"{what} is {size}; it must be a whole number from 1 to {pools.MAX_POOL} (2^24), or inf.")


FUNCTIONS = {
    "linear": Linear,
    "interpolated": Interpolated,
    "sparse": Sparse,
    "quadratic": Quadratic,
    "relu_network": ReluNetwork,
    "decision_tree": DecisionTree,
    "sine": Sine,
    "gaussian_process": GaussianProcess,
    "linear_classification": LinearClassification,
    "mixture": Mixture,
}
