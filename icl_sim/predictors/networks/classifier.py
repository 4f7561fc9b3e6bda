"""The ReLU layers through which Reddy 2023 reads an answer off the query's token."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from icl_sim.types import Array, Key, Params


def classifier(key: Key, sizes: tuple[int, ...]) -> Params:
    """Layers from `sizes[0]` inputs to `sizes[-1]` labels: ReLU layers N(0, 2/inputs), then a linear one N(0, 1/inputs)
    without bias."""
    last, layers = len(sizes) - 2, {}
    for number, one in enumerate(jax.random.split(key, len(sizes) - 1)):
        gain = 2 if number < last else 1
        kernel = jax.random.normal(one, sizes[number : number + 2]) * math.sqrt(gain / sizes[number])
        bias = {"bias": jnp.zeros(sizes[number + 1])} if number < last else {}
        layers[f"layer{number}"] = {"kernel": kernel, **bias}
    return layers


def classified(layers: Params, h_BF: Array) -> Array:
    """Logits of the labels, `[B, C]`."""
    for number in range(len(layers)):
        layer = layers[f"layer{number}"]
        h_BF = h_BF @ layer["kernel"]
        if "bias" in layer:
            h_BF = jax.nn.relu(h_BF + layer["bias"][None])
    return h_BF
