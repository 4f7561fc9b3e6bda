"""The primitives as weights of a real layer, the transformer's `Block` (Akyurek et al. 2023, appendix C).

What a pre-norm block with a GELU makes of them is an approximation whose error a constant decides:

    product    sqrt(pi/2) c^2 [g((u + v)/c) - g(u/c) - g(v/c)] = u v + O(1/c^2), of fourth order in u and v
    identity   g(N + x) - N = x where N + x is far above 0
    identity   LN(x, N, -N, -sum x) N sqrt(2/D) = x + O(1/N^2), for vectors of length D
    quotient   LN(y, N c, -N c, -sum y) N sqrt(2/D) = y / |c| + O(1/N^2)
    reading    a softmax over one-hot positions; a second head subtracts what stood there

A stream `[columns, D]` holds the rows of H, one-hot positions, and N, -N and minus the sum of all others at its end.
Whatever a block writes, it takes from that sum again, so that blocks can follow each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from icl_sim import names
from icl_sim.predictors.networks.block import EPSILON, Block
from icl_sim.predictors.networks.seam import functional
from icl_sim.theory.constructions.chains import Step
from icl_sim.theory.constructions.primitives import Rows
from icl_sim.types import Array, Leaf, Params

OPERATIONS = ("mov", "mul", "aff")
HEADS = 2  # one that reads and one that clears


def gelu_product(u: Array, v: Array, scale: Leaf) -> Array:
    """u v by three GELUs, within (2 u^3 v + 3 u^2 v^2 + 2 u v^3) / (6 scale^2): 7/6 / scale^2 for numbers up to 1."""
    g = jax.nn.gelu
    return math.sqrt(math.pi / 2) * scale**2 * (g((u + v) / scale) - g(u / scale) - g(v / scale))


def gelu_identity(x: Array, offset: Leaf) -> Array:
    """x through a GELU: numbers up to 1 within 1e-4 for an offset of 5, 1e-15 for 10."""
    return jax.nn.gelu(offset + x) - offset


def norm_quotient(y_BX: Array, divisor_B: Array | float, offset: float) -> Array:
    """y / |c| through the block's layer norm; for c = 1 the identity."""
    norm = nnx.LayerNorm(
        y_BX.shape[-1] + 3,
        epsilon=0.0,
        use_fast_variance=False,
        use_scale=False,
        use_bias=False,
        rngs=nnx.Rngs(0),
    )
    big_B1 = jnp.broadcast_to(offset * divisor_B, y_BX.shape[:-1])[..., None]
    balance_B1 = -jnp.sum(y_BX, axis=-1, keepdims=True)
    extended_BD = jnp.concatenate([y_BX, big_B1, -big_B1, balance_B1], axis=-1)
    return norm(extended_BD)[..., : y_BX.shape[-1]] * offset * math.sqrt(2 / extended_BD.shape[-1])


class HandSet:
    """Blocks on H of so many rows and columns, each made to do one primitive.

    Attributes:
      width: D of the stream, even; a head of D/2 has room for the positions and all rows.
      offset: N of the layer norms.
      gelu_offset: N of the GELUs that pass a number on.
      scale: c of products.
      sharpness: logit of the column that is read, over all others.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        offset: float = 1e4,
        gelu_offset: float = 12.0,
        scale: float = 300.0,
        sharpness: float = 60.0,
    ):
        self.rows, self.columns = rows, columns
        self.width = max(2 * max(rows, columns), rows + columns + 3)
        self.width += self.width % 2
        self.offset, self.gelu_offset, self.scale, self.sharpness = offset, gelu_offset, scale, sharpness

    def stream(self, h_RT: Array) -> Array:
        """The stream `[T, D]` of H `[R, T]`."""
        if h_RT.shape != (self.rows, self.columns):
            raise ValueError(f"H has shape {list(h_RT.shape)}; these blocks are for {[self.rows, self.columns]}.")
        h_TD = np.zeros((self.columns, self.width))
        h_TD[:, : self.rows] = np.asarray(h_RT).T
        h_TD[:, self.rows : self.rows + self.columns] = np.eye(self.columns)
        h_TD[:, -3:-1] = self.offset, -self.offset
        return jnp.asarray(_balanced(h_TD))

    def run(self, params: Params, h_TD: Array) -> Array:
        """The stream after a block with these parameters."""
        hidden = params["up"]["kernel"].shape[1]
        block = functional(lambda rngs: Block(self.width, HEADS, hidden, rngs))
        return block.apply(jax.tree.map(jnp.asarray, params), h_TD[None], causal=True, last_only=False)[0][0]

    def step(self, step: Step) -> Params:
        """A step of a chain. A `mov` lets the columns that it is not about read themselves.

        Raises:
          ValueError: for a `div`, which takes a layer norm without the N of these blocks, `norm_quotient`.
        """
        operation, arguments = step
        names.require("The operation of a block, which cannot divide (see norm_quotient),", operation, OPERATIONS)
        if operation == "mov":
            source, target, *rows = arguments
            return self.mov([source if column == target else column for column in range(self.columns)], *rows)
        return {"mul": self.mul, "aff": self.aff}[operation](*arguments)

    def mov(self, reads: Sequence[int], source: Rows, target: Rows) -> Params:
        """Column t reads rows of column `reads[t]`, at or before it."""
        if len(reads) != self.columns or any(not 0 <= read <= column for column, read in enumerate(reads)):
            raise ValueError(f"Columns read {list(reads)}; each of {self.columns} must read itself or one before it.")
        K = self.width // HEADS
        column, moved = np.arange(self.columns), np.arange(source[1] - source[0])
        position = self.rows + column
        # The first K columns of each kernel, and rows of "out", are the head that reads; the others clear.
        query, key, value, out = (np.zeros((self.width, self.width)) for _ in range(4))
        key[position, column] = key[position, K + column] = 1.0
        query[position, np.asarray(reads)] = query[position, K + column] = self.sharpness * math.sqrt(K)
        value[source[0] + moved, moved], value[target[0] + moved, K + moved] = 1.0, -1.0
        out[moved, target[0] + moved] = out[K + moved, target[0] + moved] = 1.0
        attention = {"qkv": _linear(np.concatenate([query, key, value], axis=1)), "out": _linear(_balanced(out))}
        idle = {"up": _linear(np.zeros((self.width, 1))), "down": _linear(np.zeros((1, self.width)))}
        return {**self._norms(), **attention, **idle}

    def mul(self, shape: tuple[int, int, int], left: Rows, right: Rows, target: Rows) -> Params:
        """The product of rows as matrices a x b and b x c, three GELUs to each of its a b c terms."""
        a, b, c = shape
        i, k, j = (index.ravel() for index in np.indices(shape))
        first, second, to = left[0] + i * b + k, right[0] + k * c + j, target[0] + i * c + j
        term = 3 * np.arange(a * b * c)
        up, down = np.zeros((self.width, 3 * len(term))), np.zeros((3 * len(term), self.width))
        up[first, term] = up[first, term + 1] = 1 / self.scale
        up[second, term] += 1 / self.scale
        up[second, term + 2] = 1 / self.scale
        down[term, to] = math.sqrt(math.pi / 2) * self.scale**2
        down[term + 1, to] = down[term + 2, to] = -down[term, to]
        # In place of what stood there: 0 of everything.
        cleared = self._pass(np.zeros((self.width, a * c)), np.zeros(a * c), target)
        products = (up, np.zeros(3 * len(term)), down)
        up, up_bias, down = (
            np.concatenate(pair, axis) for *pair, axis in zip(products, cleared[:3], (1, 0, 0), strict=True)
        )
        return self._mlp(up, up_bias, down, cleared[3])

    def aff(
        self, first: Rows, second: Rows, target: Rows, first_map: np.ndarray, second_map: np.ndarray, bias: np.ndarray
    ) -> Params:
        """W_1 h[first] + W_2 h[second] + b."""
        kernel = np.zeros((self.width, len(bias)))
        kernel[slice(*first)] += np.asarray(first_map).T
        kernel[slice(*second)] += np.asarray(second_map).T
        return self._mlp(*self._pass(kernel, np.asarray(bias), target))

    def _pass(self, kernel: np.ndarray, bias: np.ndarray, target: Rows) -> tuple[np.ndarray, ...]:
        """Kernel and bias, up and down, of an MLP that puts an affine map in place of the target rows."""
        at = np.arange(len(bias))
        up, down, down_bias = kernel.copy(), np.zeros((len(bias), self.width)), np.zeros(self.width)
        up[target[0] + at, at] -= 1.0
        down[at, target[0] + at] = 1.0
        down_bias[target[0] + at] = -self.gelu_offset
        return up, bias + self.gelu_offset, down, down_bias

    def _mlp(self, up: np.ndarray, up_bias: np.ndarray, down: np.ndarray, down_bias: np.ndarray) -> Params:
        mlp = {
            "up": {"kernel": up, "bias": up_bias},
            "down": {"kernel": _balanced(down), "bias": _balanced(down_bias)},
        }
        idle = {
            "qkv": _linear(np.zeros((self.width, 3 * self.width))),
            "out": _linear(np.zeros((self.width, self.width))),
        }
        return {**self._norms(), **mlp, **idle}

    def _norms(self) -> Params:
        # The block adds EPSILON to the variance, which is 2 N^2 / D here.
        scale = math.sqrt(2 * self.offset**2 / self.width + EPSILON)
        norm = {"scale": np.full(self.width, scale), "bias": np.zeros(self.width)}
        return {"attention_norm": norm, "mlp_norm": norm}


def _linear(kernel: np.ndarray) -> dict[str, np.ndarray]:
    return {"kernel": kernel, "bias": np.zeros(kernel.shape[1])}


def _balanced(written: np.ndarray) -> np.ndarray:
    """With minus the sum of all other channels in the last."""
    return np.concatenate([written[..., :-1], -np.sum(written[..., :-1], axis=-1, keepdims=True)], axis=-1)
