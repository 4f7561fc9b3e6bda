"""A checkpoint's config.json, read so that what is missing, of a wrong kind or not supported is said in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from icl_sim import names
from icl_sim.lm.architecture import MAX_SIZE, Rope

ACTS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_REQUIRED = object()


class Config:
    """The values of a config, by key. Keys have several names across versions: the first that is there counts."""

    def __init__(self, values: Mapping[str, Any]):
        if not isinstance(values, Mapping):
            raise ValueError(f"A model's config must be a JSON object, not {type(values).__name__}.")
        self.values = values

    def get(self, *keys: str, default: Any = _REQUIRED) -> Any:
        """The value of the first key that is there and not null."""
        for key in keys:
            if self.values.get(key) is not None:
                return self.values[key]
        if default is _REQUIRED:
            wanted = " or ".join(map(repr, keys))
            raise ValueError(f"The model's config has no {wanted}, which this kind of model needs.")
        return default

    def whole(self, *keys: str, default: Any = _REQUIRED) -> Any:
        """A whole number from 1."""
        value = self.get(*keys, default=default)
        if value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
            self._refuse(keys, value, f"a whole number from 1 to {MAX_SIZE}")
        return value

    def number(self, *keys: str, default: Any = _REQUIRED) -> Any:
        """A positive number."""
        value = self.get(*keys, default=default)
        if value is default:
            return value
        # Whole numbers may be larger than any float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
            self._refuse(keys, value, "a positive number")
        return float(value)

    def flag(self, *keys: str, default: bool) -> bool:
        """True or false."""
        value = self.get(*keys, default=default)
        if not isinstance(value, bool):
            self._refuse(keys, value, "true or false")
        return value

    def act(self, *keys: str, default: str) -> str:
        """An activation by its published name, as one of ours."""
        value = self.get(*keys, default=default)
        if not isinstance(value, str) or value not in ACTS:
            raise ValueError(f"The model's config has {keys[0]} {value!r}; {names.suggestion(value, ACTS)}")
        return ACTS[value]

    def layer_types(self, depth: int, default: list[str]) -> list[str]:
        """What every layer attends to: "full_attention" or "sliding_attention"."""
        types = self.get("layer_types", default=default)
        if not isinstance(types, list) or len(types) != depth:
            self._refuse(("layer_types",), types, f"a list of {depth}, one a layer")
        for kind in types:
            if kind not in ("full_attention", "sliding_attention"):
                self._refuse(("layer_types",), kind, "full_attention or sliding_attention for every layer")
        return types

    def must_be(self, key: str, *allowed: Any) -> None:
        """Raises ValueError unless the key is missing, null, or one of the values that are supported."""
        value = self.values.get(key)
        if value is not None and not any(value == known and type(value) is type(known) for known in allowed):
            self._refuse((key,), value, " or ".join(map(str, allowed)) if allowed else "left out")

    def rope(self, *, theta: float, kind: str | None = None, theta_keys: tuple[str, ...] = ("rope_theta",)) -> Rope:
        """The frequencies of a layer, from `rope_parameters` (one for all, or one for each kind of layer) or the
        older keys beside it.

        Args:
          theta: the family's default.
          kind: of the layer, for configs that tell them apart.
          theta_keys: the older names of theta.
        """
        parameters = self._rope_parameters(kind)
        inner = Config(parameters)
        base = inner.number("rope_theta", default=self.number(*theta_keys, default=theta))
        name = inner.get("rope_type", "type", default="default")
        if name == "default":
            return Rope(theta=base)
        if name == "linear":
            return Rope(theta=base, factor=inner.number("factor"))
        if name == "llama3":
            keys = ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
            low, high, original = (inner.number(key) for key in keys)
            return Rope(theta=base, factor=inner.number("factor"), llama3=(low, high, original))
        raise ValueError(f"The model's config scales rotary positions by {name!r}; supported: default, linear, llama3.")

    def partial_rotary(self, *keys: str, default: float) -> float:
        """The share of a head's coordinates that are rotated."""
        share = Config(self._rope_parameters(None)).number(
            "partial_rotary_factor", default=self.number(*keys, default=default)
        )
        if share > 1:
            self._refuse(keys, share, "at most 1")
        return share

    def _rope_parameters(self, kind: str | None) -> Mapping[str, Any]:
        parameters = self.get("rope_parameters", "rope_scaling", default={})
        if isinstance(parameters, Mapping) and kind is not None and kind in parameters:
            parameters = parameters[kind]
        if not isinstance(parameters, Mapping):
            self._refuse(("rope_parameters",), parameters, "an object")
        return parameters

    def _refuse(self, keys: tuple[str, ...], value: Any, allowed: str) -> None:
        raise ValueError(f"The model's config has {keys[0]} {_short(value)}; supported: {allowed}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
