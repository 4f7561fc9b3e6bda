"""Initial parameters of a transformer as its sources draw them, in place of flax's defaults."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from icl_sim.predictors.networks.drawing import Draw, together
from icl_sim.types import Array, Key, Params

INITIAL = ("lecun", "gpt2", "gpt2_core", "uniform")
GPT2_STD = 0.02
RESIDUAL = ("out", "down")  # the layers that write to the stream
ENDS = ("input_token", "label_token", "token", "head")


def draw(scheme: str, key: Key, shapes: Params, depth: int) -> Params:
    """Parameters of these shapes, `[..., fan_in, fan_out]` for kernels, by one of the schemes of `Transformer`.

    Blocks are drawn as they come: stacked ones all at once. The scales of norms are 1 and their biases 0.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    laws = [_law(scheme, [entry.key for entry in path], leaf, shapes, depth) for path, leaf in leaves]
    drawn = together(
        key, [Draw(law, leaf.shape, float) if law else None for (law, _), (_, leaf) in zip(laws, leaves, strict=True)]
    )
    return jax.tree.unflatten(
        structure,
        [
            jnp.full(leaf.shape, scale, float) if array is None else array * scale
            for array, (_, scale), (_, leaf) in zip(drawn, laws, leaves, strict=True)
        ],
    )


def _law(
    scheme: str, names: list[str], leaf: Array, shapes: Params, depth: int
) -> tuple[Callable[..., Array] | None, float]:
    """What numbers a parameter is of, and by what they are multiplied; or None, and what all of it is."""
    layer = shapes
    for name in names[:-1]:
        layer = layer[name]
    if "scale" in layer:
        return None, float(names[-1] == "scale")
    if scheme == "uniform" or (scheme == "gpt2_core" and names[0] in ENDS):
        # Of positions it is the width: they are the kernel of a one-hot, but its fan-in is no measure of their sum.
        fan_in = layer["kernel"].shape[-2] if "kernel" in layer else leaf.shape[-1]
        return _around_0, 1 / math.sqrt(fan_in)
    if names[-1] == "bias":
        return None, 0.0
    writes = len(names) > 1 and names[-2] in RESIDUAL
    return jax.random.normal, GPT2_STD / math.sqrt(2 * depth) if writes else GPT2_STD


def _around_0(key: Key, shape: tuple[int, ...], dtype: type) -> Array:
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)
