"""Image encoders: what turns an input of any shape into a vector, trained with the predictor that uses it."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from icl_sim import names
from icl_sim.predictors.networks.convolution import convolve
from icl_sim.predictors.networks.drawing import lecun_normal
from icl_sim.predictors.networks.seam import Functional, functional
from icl_sim.types import Array, Key, Params, setting, static

STEMS = ("paper", "small")


class Encoder:
    """Turns each input into a vector. One of your own needs `features`, `init` and `apply`.

    Subclasses are decorated with `setting` and are a field of the predictor that trains them.
    """

    @property
    def features(self) -> int:
        """The length of the vectors."""
        raise NotImplementedError(f"{type(self).__name__} must define features, the length of its vectors.")

    def init(self, key: Key, shape: tuple[int, ...]) -> Params:
        """Parameters for inputs of this shape."""
        raise NotImplementedError(f"{type(self).__name__} must define init(key, shape) -> params.")

    def apply(self, params: Params, x_BSX: Array) -> Array:
        """Encodes inputs `[B, S, ...]` as vectors `[B, S, features]`."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(params, inputs) -> vectors.")

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""


def features(encoder: Encoder | None, shape: tuple[int, ...]) -> int:
    """The length of the vectors that a predictor sees for inputs of this shape."""
    return math.prod(shape) if encoder is None else encoder.features


def encode(encoder: Encoder | None, params: Params, x_BSX: Array) -> Array:
    """Inputs `[B, S, ...]` as vectors `[B, S, E]`: encoded, or merely flattened where there is no encoder."""
    if encoder is None:
        return jnp.reshape(x_BSX, (*x_BSX.shape[:2], -1))
    return encoder.apply(params["encoder"], x_BSX)


def with_encoder(encoder: Encoder | None, params: Params, key: Key, shape: tuple[int, ...]) -> Params:
    """The parameters of a predictor together with those of its encoder, if it has one, under "encoder"."""
    return params if encoder is None else {**params, "encoder": encoder.init(key, shape)}


def _conv(inputs: int, outputs: int, size: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        strides=stride,
        use_bias=False,
        kernel_init=lecun_normal,
        conv_general_dilated=convolve,
        rngs=rngs,
    )


class Bottleneck(nnx.Module):
    """A residual block of three convolutions, 1x1, 3x3 and 1x1, the inner ones a quarter as wide."""

    def __init__(self, inputs: int, width: int, stride: int, project: bool, rngs: nnx.Rngs):
        self.reduce = _conv(inputs, width // 4, 1, 1, rngs)
        self.spatial = _conv(width // 4, width // 4, 3, stride, rngs)
        self.expand = _conv(width // 4, width, 1, 1, rngs)
        self.project = _conv(inputs, width, 1, stride, rngs) if project else None

    def __call__(self, x_NHWC: Array) -> Array:
        y_NHWC = self.expand(jax.nn.relu(self.spatial(jax.nn.relu(self.reduce(x_NHWC)))))
        return jax.nn.relu(y_NHWC + (x_NHWC if self.project is None else self.project(x_NHWC)))


class ResidualNetwork(nnx.Module):
    """Stem, groups of bottleneck blocks, mean over the image. Neither batch norm nor biases."""

    def __init__(
        self,
        *,
        channels: int,
        stem: str,
        stem_width: int,
        widths: tuple[int, ...],
        strides: tuple[int, ...],
        blocks: int,
        rngs: nnx.Rngs,
    ):
        self.pool = stem == "paper"
        size, stride = (7, 2) if stem == "paper" else (3, 1)
        self.stem = _conv(channels, stem_width, size, stride, rngs)
        layers = []
        for before, width, stride in zip((stem_width, *widths), widths, strides, strict=False):
            layers.append(Bottleneck(before, width, stride, True, rngs))
            layers += [Bottleneck(width, width, 1, False, rngs) for _ in range(blocks - 1)]
        self.blocks = nnx.List(layers)

    def __call__(self, x_NHWC: Array) -> Array:
        x_NHWC = jax.nn.relu(self.stem(x_NHWC))
        if self.pool:
            x_NHWC = nnx.max_pool(x_NHWC, (3, 3), strides=(2, 2), padding="SAME")
        for block in self.blocks:
            x_NHWC = block(x_NHWC)
        return jnp.mean(x_NHWC, axis=(1, 2))


@functools.cache
def _network(
    channels: int, stem: str, stem_width: int, widths: tuple[int, ...], strides: tuple[int, ...], blocks: int
) -> Functional:
    return functional(
        lambda rngs: ResidualNetwork(
            channels=channels,
            stem=stem,
            stem_width=stem_width,
            widths=widths,
            strides=strides,
            blocks=blocks,
            rngs=rngs,
        ),
        together=True,
    )


@setting
class ResidualEncoder(Encoder):
    """The residual network of Chan et al. 2025 for Omniglot: bottleneck blocks, no batch norm, no biases.

    Inputs are `[B, S, H, W]` or `[B, S, H, W, channels]`, of any size.

    Attributes:
      stem: "paper", a 7x7 convolution of stride 2 and a 3x3 max-pool of stride 2, made for images of 105
        pixels; or "small", a 3x3 convolution of stride 1, for images of some 28 pixels.
      widths: channels of each group; the last is the length of the vectors.
      strides: of the first block of each group.
      blocks: in each group.
    """

    stem: str = static("paper")
    stem_width: int = static(64)
    widths: tuple[int, ...] = static((12, 32, 32, 64))
    strides: tuple[int, ...] = static((1, 2, 2, 2))
    blocks: int = static(2)

    @property
    def features(self) -> int:
        return self.widths[-1]

    def check(self) -> None:
        names.require("The encoder's stem", self.stem, STEMS)
        if not self.widths or any(width < 4 or width % 4 for width in self.widths):
            raise ValueError(
                f"The encoder's widths are {self.widths}; each must be a multiple of 4, and one is needed."
            )
        if len(self.strides) != len(self.widths) or any(stride < 1 for stride in self.strides):
            raise ValueError(
                f"The encoder's strides are {self.strides}; it needs one of at least 1 for each of the "
                f"{len(self.widths)} widths."
            )
        for name in ("stem_width", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"The encoder's {name} is {getattr(self, name)}; it must be at least 1.")

    def _functional(self, channels: int) -> Functional:
        return _network(channels, self.stem, self.stem_width, self.widths, self.strides, self.blocks)

    def init(self, key: Key, shape: tuple[int, ...]) -> Params:
        if len(shape) not in (2, 3):
            raise ValueError(
                "The residual encoder reads images [H, W] or [H, W, channels], but the inputs have shape "
                f"{list(shape)}."
            )
        return self._functional(1 if len(shape) == 2 else shape[2]).init(key)

    def apply(self, params: Params, x_BSX: Array) -> Array:
        B, S, H, W = x_BSX.shape[:4]
        x_NHWC = jnp.reshape(x_BSX, (B * S, H, W, -1))
        return jnp.reshape(self._functional(x_NHWC.shape[-1]).apply(params, x_NHWC), (B, S, -1))
