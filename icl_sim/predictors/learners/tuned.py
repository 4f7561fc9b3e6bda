"""A learner whose few numbers are set to their best on the batch it starts from, instead of being trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from icl_sim.predictors.learners.gradient_descent import GradientDescent
from icl_sim.types import Array, Batch, Key, Outputs, Params, Phase, Predictor, setting, static

# A step that lowers the loss by less than this share of it gains nothing.
GAIN = 1e-6


@setting
class Tuned(Predictor):
    """The parameters of a regression learner that minimise the mean squared error on a batch, by L-BFGS.

    `init` starts from the learner's own and keeps the best on the way, so that a step into nowhere does no harm. It
    says how well they do on that batch only: give it many sequences. Nothing is trained afterwards.

    Attributes:
      learner: whose `init` returns what is tuned, such as `GradientDescent(learned=True)`.
      steps: of L-BFGS, each a search along a line.
    """

    learner: Predictor = GradientDescent(learned=True)
    steps: int = static(40)

    @property
    def phases(self) -> tuple[Phase, ...]:
        return ()

    def check(self) -> None:
        if self.steps < 1:
            raise ValueError(f"The steps of the tuning are {self.steps}; it takes at least 1.")
        self.learner.check()

    def init(self, key: Key, batch: Batch) -> Params:
        if batch.num_classes:
            raise ValueError(f"The batch has {batch.num_classes} classes; a tuned learner needs real targets.")
        flat, unflatten = jax.flatten_util.ravel_pytree(self.learner.init(key, batch))
        if not flat.size:
            raise ValueError(
                f"{type(self.learner).__name__} has no parameters to tune; where it has a field `learned`, set it."
            )
        return unflatten(_minimise(lambda v: _loss(self.learner.apply(unflatten(v), batch), batch), flat, self.steps))

    def account(self, params: Params) -> Mapping[str, Array]:
        return self.learner.account(params)

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        return self.learner.apply(params, batch, record=record)


def _loss(outputs: Outputs, batch: Batch) -> Array:
    asked = outputs.values.shape[1]
    square_BP = jnp.square(outputs.values - batch.targets[:, -asked:])
    if batch.weights is None:
        return jnp.mean(square_BP[:, -1])
    weight_BP = batch.weights[:, -asked:]
    total_B = jnp.sum(weight_BP, axis=1)
    return jnp.mean(jnp.sum(weight_BP * square_BP, axis=1) / jnp.where(total_B > 0, total_B, 1.0))


def _minimise(loss: Callable[[Array], Array], start: Array, steps: int) -> Array:
    """The best of the points that L-BFGS goes through, each number in units of where it starts.

    It stops early where two steps in a row gain less than single precision tells.
    """
    unit = jnp.where(start != 0, jnp.abs(start), 1.0)
    search = optax.lbfgs()

    def loss_of(point: Array) -> Array:
        return loss(point * unit)

    value_and_slope = optax.value_and_grad_from_state(loss_of)

    def goes_on(carry: _Carry) -> Array:
        return (carry.done <= steps) & (carry.idle < 2)

    def step(carry: _Carry) -> _Carry:
        value, slope = value_and_slope(carry.point, state=carry.state)
        move, state = search.update(slope, carry.state, carry.point, value=value, grad=slope, value_fn=loss_of)
        better = value < carry.least  # never where it is NaN
        return _Carry(
            point=carry.point + cast(Array, move),
            state=state,
            best=jnp.where(better, carry.point, carry.best),
            least=jnp.where(better, value, carry.least),
            idle=jnp.where(value < (1 - GAIN) * carry.least, 0, carry.idle + 1),
            done=carry.done + 1,
        )

    point = start / unit
    first = _Carry(point, search.init(point), point, jnp.full((), jnp.inf, start.dtype), jnp.int32(0), jnp.int32(0))
    return jax.lax.while_loop(goes_on, step, first).best * unit


class _Carry(NamedTuple):
    """Of the search: where it is, the best so far, how many steps in a row gained nothing, and how many were done."""

    point: Array
    state: Any
    best: Array
    least: Array
    idle: Array
    done: Array
