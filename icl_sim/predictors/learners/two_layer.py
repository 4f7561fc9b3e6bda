"""A small ReLU network trained on the context of each question."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import optax

from icl_sim.keys import stream
from icl_sim.predictors.learners.prefixes import Prefixes, prefixes
from icl_sim.predictors.learners.thinned import thinned
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting, static


@setting
class TwoLayerNet(Predictor):
    """a.relu(W x + b) + c, trained by Adam on the squared error of the pairs before the question, from a network drawn
    anew (Garg et al. 2022, appendix A). Every step sees `batch_size` of the pairs, or all where there are fewer.

    It trains a network for every prefix of every sequence, which is dear: `every` thins them out. All start from the
    same weights and draw the same pairs, so that an answer depends on nothing but its context.

    Attributes:
      rate: of Adam; the paper found 5e-3 best on targets from such networks and 5e-2 on linear ones.
      seed: of the first weights and of which pairs a step sees.
      width: of the hidden layer.
      batch_size, steps: as in the paper; its code has 100 and 100.
      every: only the prefixes of 0, every, 2 every, ... pairs are trained on, and each network answers until the next.
    """

    rate: Leaf = 5e-3
    seed: Leaf = 0
    width: int = static(100)
    batch_size: int = static(10)
    steps: int = static(5000)
    every: int = static(1)

    def check(self) -> None:
        if not 0 < self.rate < math.inf:
            raise ValueError(f"The rate is {self.rate}; it must be above 0 and finite.")
        if self.seed != int(self.seed) or not 0 <= self.seed < 2**32:
            raise ValueError(f"The seed is {self.seed}; it must be a whole number from 0 to 2^32 - 1.")
        for name in ("width", "batch_size", "steps", "every"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params, record
        asked = prefixes(batch)
        trained_T, which_P = thinned(asked, self.every)
        nets_BT = self._train(asked, jnp.asarray(trained_T))
        nets_BP = jax.tree.map(lambda leaf: leaf[:, which_P], nets_BT)
        values_BP = _answers(nets_BP, asked.query_BPX[:, :, None])[..., 0]
        return Outputs(values=jnp.where(asked.count_P[None] < self.every, 0.0, values_BP))

    def _train(self, asked: Prefixes, trained_T: Array) -> Params:
        """Networks trained on the first `trained_T` pairs; their leaves are `[B, T, ...]`."""
        first = self._draw(asked.x_BLX.shape[2])
        sizes = asked.x_BLX.shape[0], len(trained_T)
        nets = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*sizes, *leaf.shape)), first)
        adam = optax.scale_by_adam()
        pairs = jnp.arange(asked.x_BLX.shape[1])
        n = min(self.batch_size, len(pairs))

        def loss(nets: Params, x_BTNX: Array, y_BTN: Array, is_pair_TN: Array) -> Array:
            error_BTN = jnp.where(is_pair_TN[None], jnp.square(_answers(nets, x_BTNX) - y_BTN), 0.0)
            # Networks share nothing, so that the gradient of the sum is that of each.
            return jnp.sum(error_BTN / jnp.maximum(jnp.sum(is_pair_TN, axis=1), 1)[None, :, None])

        def step(state: tuple[Params, optax.OptState], number: Array) -> tuple[tuple[Params, optax.OptState], None]:
            nets, moments = state
            order_L = jax.random.uniform(stream(self.seed, "train", number), pairs.shape)
            order_TL = jnp.where(pairs[None] < trained_T[:, None], order_L[None], -1.0)
            order_TN, pair_TN = jax.lax.top_k(order_TL, n)
            gradients = jax.grad(loss)(nets, asked.x_BLX[:, pair_TN], asked.y_BL[:, pair_TN], order_TN >= 0)
            direction, moments = adam.update(gradients, moments)
            return (jax.tree.map(lambda p, d: p - self.rate * d, nets, direction), moments), None

        (nets, _), _ = jax.lax.scan(step, (nets, adam.init(nets)), jnp.arange(self.steps))
        return nets

    def _draw(self, d: int) -> Params:
        """Weights and biases uniform within 1 / sqrt(fan-in)."""
        keys = jax.random.split(stream(self.seed, "init"), 4)
        shapes = {"W": ((d, self.width), d), "b": ((self.width,), d)}
        shapes |= {"a": ((self.width,), self.width), "c": ((), self.width)}
        return {
            name: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) / math.sqrt(fan_in)
            for key, (name, (shape, fan_in)) in zip(keys, shapes.items(), strict=True)
        }


def _answers(nets: Params, x_BTNX: Array) -> Array:
    """N answers of each of the networks, `[B, T, N]`."""
    hidden_BTNF = jax.nn.relu(jnp.einsum("BTNX,BTXF->BTNF", x_BTNX, nets["W"]) + nets["b"][:, :, None])
    return jnp.einsum("BTNF,BTF->BTN", hidden_BTNF, nets["a"]) + nets["c"][:, :, None]
