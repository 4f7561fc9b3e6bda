"""Initial parameters of a transformer as its sources draw them, in place of flax's defaults."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

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
    drawn = []
    for number, (path, leaf) in enumerate(leaves):
        names = [entry.key for entry in path]
        layer = shapes
        for name in names[:-1]:
            layer = layer[name]
        drawn.append(_leaf(scheme, jax.random.fold_in(key, number), names, leaf, layer, depth))
    return jax.tree.unflatten(structure, drawn)


def _leaf(scheme: str, key: Key, names: list[str], leaf: Array, layer: Params, depth: int) -> Array:
    if "scale" in layer:
        return (jnp.ones if names[-1] == "scale" else jnp.zeros)(leaf.shape)
    if scheme == "uniform" or (scheme == "gpt2_core" and names[0] in ENDS):
        # Of positions it is the width: they are the kernel of a one-hot, but its fan-in is no measure of their sum.
        fan_in = layer["kernel"].shape[-2] if "kernel" in layer else leaf.shape[-1]
        return jax.random.uniform(key, leaf.shape, minval=-1.0, maxval=1.0) / math.sqrt(fan_in)
    if names[-1] == "bias":
        return jnp.zeros(leaf.shape)
    writes = len(names) > 1 and names[-2] in RESIDUAL
    return jax.random.normal(key, leaf.shape) * (GPT2_STD / math.sqrt(2 * depth) if writes else GPT2_STD)
