"""A study as plain nested data and back: what configs override, what `study.json` holds, what tells studies
apart.

A setting is a dict of its fields and a `kind`: its name in a registry, or `module:Class` for a setting of
your own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from icl_sim import kernels, metrics, predictors, tasks, theory
from icl_sim.engine.settings import Evaluation, Training
from icl_sim.names import suggestion
from icl_sim.studies import fields
from icl_sim.studies.grafted import Grafted
from icl_sim.studies.study import Study
from icl_sim.studies.sweep import Sweep
from icl_sim.types import Comparison, Predictor, Task

TASKS = {**tasks.TASKS, **theory.TASKS}
PREDICTORS = {**predictors.PREDICTORS, **theory.PREDICTORS, "grafted": Grafted}
REGISTRIES: tuple[Mapping[str, type], ...] = (
    TASKS,
    tasks.INPUTS,
    tasks.SEQUENCE_INPUTS,
    tasks.REGRESSION_PARTS,
    kernels.KERNELS,
    PREDICTORS,
    predictors.CLAMPS,
    theory.LEARNERS,
    metrics.COMPARISONS,
)
_NAMED: Mapping[str, tuple[Mapping[str, type], type]] = {  # parts of a study that hold settings by name
    "predictors": (PREDICTORS, Predictor),
    "references": (PREDICTORS, Predictor),
    "comparisons": (metrics.COMPARISONS, Comparison),
}
_TEXTS = ("name", "description")
_OMNIGLOT_DIR = "omniglot_dir"  # in a task's config: shorthand for the folder of its Omniglot inputs
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def encode(study: Study) -> dict[str, Any]:
    """The study as plain data: everything that determines its numbers, and its name and description."""
    return {
        "name": study.name,
        "description": study.description,
        "task": encode_setting(study.task),
        **{root: {name: encode_setting(part) for name, part in getattr(study, root).items()} for root in _NAMED},
        "training": _encode_fields(study.training),
        "evaluation": _encode_fields(study.evaluation),
        "trained_on": {name: _nested(changes) for name, changes in study.trained_on.items()},
        "seed": study.seed,
        "sweep": tuple(dict(point) for point in study.sweep),
        "headline": tuple(study.headline),
    }


def decode(plain: Mapping[str, Any]) -> Study:
    """Undoes `encode`. Fields that are left out take their defaults; unknown ones are errors."""
    known = [field.name for field in dataclasses.fields(Study)]
    for name in plain:
        if name not in known:
            raise ValueError(f"A study has no field {name!r}; {suggestion(name, known)}")
    for name in ("task", "predictors"):
        if name not in plain:
            raise ValueError(f"The study has no {name}; every study needs a task and predictors.")
    for name in ("sweep", "headline"):
        if name in plain and not isinstance(plain[name], tuple | list):
            raise ValueError(f"The study's {name} is {plain[name]!r}; it must be a list.")
    parts = dict(plain)
    parts["task"] = decode_setting(plain["task"], "task", TASKS, Task)
    for root, (registry, protocol) in _NAMED.items():
        parts[root] = {
            name: decode_setting(part, f"{root}.{name}", registry, protocol)
            for name, part in plain.get(root, {}).items()
        }
    for name, kind in (("training", Training), ("evaluation", Evaluation)):
        if name in plain:
            parts[name] = _decode_fields(plain[name], name, kind)
    if "trained_on" in plain:
        for name, changes in plain["trained_on"].items():
            if not isinstance(changes, Mapping):
                raise ValueError(f"trained_on gives {name} {changes!r}; it must map fields of the task to values.")
        parts["trained_on"] = {name: _flat(changes) for name, changes in plain["trained_on"].items()}
    if "sweep" in plain:
        if not all(isinstance(point, Mapping) for point in plain["sweep"]):
            raise ValueError(f"The study's sweep is {plain['sweep']!r}; each of its points must map names to values.")
        parts["sweep"] = Sweep(tuple(plain["sweep"]))
    return Study(**parts)


def config_of(study: Study) -> ConfigDict:
    """The study as a config whose every value `--config.NAME=VALUE` can override; what `get_config` returns."""
    plain = encode(study)
    if plain["task"].get("inputs", {}).get("kind") == "omniglot":
        plain["task"][_OMNIGLOT_DIR] = None
    return _config({**plain, "claims": study.claims, "figures": study.figures}, study)


def study_of(config: ConfigDict) -> Study:
    """The study that a config describes, overrides included.

    Raises:
      ValueError: in a sentence, whatever is wrong with the config.
    """
    try:
        plain = config.to_dict()
        folder = plain["task"].pop(_OMNIGLOT_DIR, None)
        if folder is not None:
            plain["task"]["inputs"]["dir"] = folder
        return decode(plain)
    except (TypeError, AttributeError, KeyError, ImportError, OverflowError) as error:
        raise ValueError(f"The config does not describe a study: {type(error).__name__}: {error}.") from error


def fingerprint(study: Study) -> str:
    """A hash of everything that determines the study's numbers."""
    plain = {name: value for name, value in encode(study).items() if name not in (*_TEXTS, "headline")}
    return hashlib.sha256(json.dumps(jsonable(plain), sort_keys=True).encode()).hexdigest()[:16]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted names whose values differ between two encoded studies, names and descriptions aside."""
    one, other = (_flat({n: v for n, v in side.items() if n not in (*_TEXTS, "headline")}) for side in (ours, theirs))
    missing = object()
    return tuple(name for name in {**one, **other} if one.get(name, missing) != other.get(name, missing))


def encode_setting(setting: Any) -> dict[str, Any]:
    """A setting as its kind and its fields."""
    return {"kind": _kind_of(type(setting)), **_encode_fields(setting)}


def decode_setting(plain: Any, path: str, registry: Mapping[str, type], protocol: type = object) -> Any:
    """Undoes `encode_setting`; errors name `path`."""
    if not isinstance(plain, Mapping) or "kind" not in plain:
        raise ValueError(f"{path} is {plain!r}; it must name its kind, {suggestion('', registry)}")
    kind = _class_of(plain["kind"], path, registry)
    if not issubclass(kind, protocol):
        raise ValueError(
            f"{path}.kind is {plain['kind']!r}, which is no {protocol.__name__}; " + suggestion("", registry)
        )
    return _decode_fields({name: value for name, value in plain.items() if name != "kind"}, path, kind)


def jsonable(plain: Any) -> Any:
    """Plain data as strict JSON: numbers that JSON lacks become words."""
    if isinstance(plain, Mapping):
        return {name: jsonable(value) for name, value in plain.items()}
    if isinstance(plain, tuple | list):
        return [jsonable(value) for value in plain]
    if isinstance(plain, float) and not math.isfinite(plain):
        return repr(plain)
    return plain


def from_json(plain: Any) -> Any:
    """Undoes `jsonable`; lists come back as tuples."""
    if isinstance(plain, Mapping):
        return {name: from_json(value) for name, value in plain.items()}
    if isinstance(plain, list):
        return tuple(from_json(value) for value in plain)
    return _FLOATS.get(plain, plain) if isinstance(plain, str) else plain


def _encode_fields(setting: Any) -> dict[str, Any]:
    values = {name: getattr(setting, name) for name in fields.declared(type(setting))}
    return {name: _encode_value(value) for name, value in values.items()}


def _encode_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_encode_value, value))
    return encode_setting(value) if dataclasses.is_dataclass(value) else value


def _decode_fields(plain: Mapping[str, Any], path: str, kind: type) -> Any:
    values = {}
    for name, value in plain.items():
        if name not in fields.declared(kind):
            raise ValueError(
                f"{path} ({_kind_of(kind)}) has no field {name!r}; "
                f"{suggestion(name, fields.declared(kind))} "
                "To choose another kind, give all of it, as in "
                f"--config.{path}=\"{{'kind': '{_kind_of(kind)}'}}\"."
            )
        if isinstance(value, Mapping):
            value = decode_setting(value, f"{path}.{name}", _registry_of(fields.declared(kind)[name]))
        elif isinstance(value, tuple | list) and any(isinstance(item, Mapping) for item in value):
            registry = _registry_of(fields.of_items(kind, name))
            value = tuple(decode_setting(v, f"{path}.{name}.{i}", registry) for i, v in enumerate(value))
        values[name] = value
    missing = [f.name for f in dataclasses.fields(kind) if f.init and not _has_default(f) and f.name not in values]
    if missing:
        raise ValueError(f"{path} ({_kind_of(kind)}) needs a value for {', '.join(missing)}.")
    return fields.normalized(kind(**values), path)


def _kind_of(kind: type) -> str:
    for registry in REGISTRIES:
        for name, registered in registry.items():
            if registered is kind:
                return name
    return f"{kind.__module__}:{kind.__qualname__}"


def _class_of(name: str, path: str, registry: Mapping[str, type]) -> type:
    if name in registry:
        return registry[name]
    module, colon, attribute = str(name).partition(":")
    if not colon:
        raise ValueError(f"{path}.kind is {name!r}; {suggestion(name, registry)}")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}.kind is {name!r}, which cannot be imported: {error}.") from error
    if not dataclasses.is_dataclass(kind):
        raise ValueError(f"{path}.kind is {name!r}, which is no setting.")
    return kind


def _registry_of(admitted: Collection[type]) -> Mapping[str, type]:
    """The kinds that a field which holds such settings can take."""
    bases = tuple(k for k in admitted if k is not type(None))
    allowed = {n: k for registry in REGISTRIES for n, k in registry.items() if issubclass(k, bases)}
    return allowed or {_kind_of(k): k for k in bases if dataclasses.is_dataclass(k)}


def _has_default(field: dataclasses.Field) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _config(plain: Mapping[str, Any], of: Any) -> ConfigDict:
    """A config that keeps the order of names. What is None, or can be a number or a tuple, any value can replace.

    `of` is what the plain data was encoded from: a setting, or settings by name.
    """
    config = ConfigDict(sort_keys=False)
    for name, value in plain.items():
        if isinstance(value, Mapping):
            value = _config(value, of.get(name) if isinstance(of, Mapping) else getattr(of, name))
        admitted = fields.declared(type(of)).get(name, frozenset()) if dataclasses.is_dataclass(of) else frozenset()
        free = value is None or {float, tuple} <= admitted
        config[name] = config_dict.FieldReference(value, field_type=object) if free else value
    return config


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """{"inputs.noise": 0.0} as {"inputs": {"noise": 0.0}}; a config's names hold no dots."""
    nested: dict[str, Any] = {}
    for name, value in changes.items():
        *path, last = name.split(".")
        inner = nested
        for head in path:
            inner = inner.setdefault(head, {})
        inner[last] = value
    return nested


def _flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        inner = (
            {f"{name}.{rest}": v for rest, v in _flat(value).items()} if isinstance(value, Mapping) else {name: value}
        )
        flat |= inner
    return flat
