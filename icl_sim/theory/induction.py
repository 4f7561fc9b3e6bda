"""The phenomenological loss of Reddy 2023 (arXiv 2312.03002): an induction head as three nested logits.

A label token attends to its own item with probability p, the query to the right label with probability q, and the
answer is that label's by a logit xi:

    p = e^beta / (e^beta + c),   q = e^(alpha p) / (e^(alpha p) + N - 1),
    loss = -xi q + log(e^(xi q) + (N - 1) e^(xi (1 - q) / (N - 1)) + (L - N)).

Each of the three gates the gradient of the one before, so that the loss stays on a plateau and then drops at once; and
from 0 it sets out only where L > N, the gradient there being (0, 0, -(1/N - 1/L)). The form is a reconstruction that
has every property stated in the paper; the paper's own constants were not verified.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.types import Array, Leaf


def nested_loss(parameters_3: Array, context: int, labels: int, competitors: Leaf | None = None) -> Array:
    """The loss in nats of (beta, alpha, xi), `[]`.

    Args:
      context: N, labels in the context, one of them right.
      labels: L, of all.
      competitors: c, tokens that a label token could attend to besides its item; None for N.

    Raises:
      ValueError: unless 2 <= N <= L.
    """
    if not 2 <= context <= labels:
        raise ValueError(f"context is {context} and labels is {labels}; it must be 2 <= context <= labels.")
    beta, alpha, xi = parameters_3
    rest = context - 1
    p = jax.nn.sigmoid(beta - jnp.log(context if competitors is None else competitors))
    q = jax.nn.sigmoid(alpha * p - jnp.log(rest))
    absent = jnp.log(labels - context) if labels > context else -jnp.inf
    logits_3 = jnp.stack([xi * q, jnp.log(rest) + xi * (1 - q) / rest, jnp.asarray(absent)])
    return jax.nn.logsumexp(logits_3) - xi * q


def descend(steps: int, context: int, labels: int, learning_rate: Leaf = 0.05) -> tuple[Array, Array]:
    """Gradient descent from 0: losses before each step `[steps]` and parameters `[steps, 3]`."""
    loss_and_gradient = jax.value_and_grad(lambda parameters_3: nested_loss(parameters_3, context, labels))

    def step(parameters_3: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        loss, gradient_3 = loss_and_gradient(parameters_3)
        return parameters_3 - learning_rate * gradient_3, (loss, parameters_3)

    _, (loss_I, parameters_I3) = jax.lax.scan(step, jnp.zeros(3), length=steps)
    return loss_I, parameters_I3
