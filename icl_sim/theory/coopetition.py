"""Two toys of phase changes: an induction head as a product of three parts, and two mechanisms that share some.

Induction (Singh et al. 2024, arXiv 2404.07129): vectors a, b, c, one for each subcircuit, learn a product by gradient
descent,

    loss = mean((a* x b* x c* - a x b x c)^2) / 2        (x: the outer product),

and each moves no faster than the others let it: a plateau, and then a drop. With one or two of them clamped to the
truth there is none.

Coopetition (Singh et al. 2025, arXiv 2503.05631): a mechanism (a, b, c) and another (d, b, c) share b and c. Either
explains the data, and both together cost,

    loss = (loss_1 + mu_1) (loss_2 + mu_2) + alpha mean((a x d)^2) / 2.

The mechanism that learns fast is there first and helps the slow one, which is the better in the end (mu_1 > mu_2), and
which then pushes it out: the first is transient.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.types import Array, Key, Leaf

Vectors = Mapping[str, Array]
FIRST, SECOND = ("a", "b", "c"), ("d", "b", "c")  # what each mechanism is a product of


def start(key: Key, sizes: Mapping[str, int]) -> tuple[Vectors, Vectors]:
    """The truth and where descent from it begins: vectors of these sizes, all N(0, 1), by name."""
    truth, vectors = {}, {}
    for name, size in sizes.items():  # one split after the other, as in the papers, so that the same key starts alike
        key, own = jax.random.split(key)
        key_truth, key_vector = jax.random.split(own)
        truth[name], vectors[name] = jax.random.normal(key_truth, (size,)), jax.random.normal(key_vector, (size,))
    return truth, vectors


def product_loss(vectors: Vectors, truth: Vectors, parts: Collection[str] = FIRST) -> Array:
    """mean((x truth - x vectors)^2) / 2 over all coordinates of the outer product of these parts, `[]`.

    Without the product itself, and without differences of large numbers: with v = s t + r and r orthogonal to t, and
    rho = |r|^2 / |t|^2, it is prod |t|^2 times

        (1 - prod s)^2 + prod (s^2 + rho) - prod s^2,

    whose last two terms are a sum of positive ones, by the first part that is not along the truth.
    """
    along, squared, beside, scale = jnp.ones(()), jnp.ones(()), jnp.zeros(()), jnp.ones(())
    for name in parts:
        t, v = truth[name], vectors[name]
        length = jnp.vdot(t, t)
        s = jnp.vdot(t, v) / length
        rho = jnp.sum(jnp.square(v - s * t)) / length
        beside = beside * (s**2 + rho) + squared * rho
        along, squared, scale = along * s, squared * s**2, scale * length / t.size
    return scale * (jnp.square(1 - along) + beside) / 2


def coopetition_loss(
    vectors: Vectors, truth: Vectors, mu_first: Leaf = 0.1, mu_second: Leaf = 0.0, alpha: Leaf = 0.1
) -> Array:
    """(loss_1 + mu_1) (loss_2 + mu_2) + alpha mean((a x d)^2) / 2, `[]`, by default with the constants of the paper."""
    first, second = (product_loss(vectors, truth, parts) for parts in (FIRST, SECOND))
    both = jnp.mean(jnp.square(vectors["a"])) * jnp.mean(jnp.square(vectors["d"]))
    return (first + mu_first) * (second + mu_second) + alpha * both / 2


def descend(
    loss: Callable[[Vectors, Vectors], Array],
    truth: Vectors,
    vectors: Vectors,
    steps: int,
    learning_rate: Leaf = 1.0,
    clamped: Collection[str] = (),
) -> tuple[Array, Vectors]:
    """Gradient descent: losses before each step `[steps]`, and the vectors then, each `[steps, size]`.

    Args:
      clamped: names of vectors that are the truth throughout, while gradients flow through the rest.

    Raises:
      ValueError: for a name that there is not.
    """
    for name in clamped:
        names.require("A clamped vector", name, vectors)
    loss_and_gradient = jax.value_and_grad(loss)

    def step(vectors: Vectors, _: None) -> tuple[Vectors, tuple[Array, Vectors]]:
        value, gradient = loss_and_gradient(vectors, truth)
        moved = {
            name: vector if name in clamped else vector - learning_rate * gradient[name]
            for name, vector in vectors.items()
        }
        return moved, (value, vectors)

    begin = {name: truth[name] if name in clamped else vector for name, vector in vectors.items()}
    _, (loss_I, vectors_I) = jax.lax.scan(step, begin, length=steps)
    return loss_I, vectors_I
