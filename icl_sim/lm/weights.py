"""Parameters from the tensors of a checkpoint, and back."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from icl_sim.lm import decoder
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.extras import needed
from icl_sim.lm.families import Family, Part
from icl_sim.lm.files import plain_name, read_json
from icl_sim.types import Array, Params

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = {"F64", "F32", "F16", "BF16"}
LISTED = 12  # tensors that a sentence names one by one

Place = Callable[[tuple[str, ...], np.ndarray], Array]


class Source(Protocol):
    """Named tensors in files: their shapes at once, their numbers one by one."""

    @property
    def where(self) -> str:
        """The file, for sentences about it."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of all tensors, by name."""
        ...

    def read(self, name: str) -> np.ndarray:
        """One tensor."""
        ...


class SafeTensors:
    """The tensors of one safetensors file or several, mapped into memory, so that each is read when it is asked for."""

    def __init__(self, paths: list[Path], stack: contextlib.ExitStack):
        safetensors = needed("safetensors")
        self.where = str(paths[0].parent if len(paths) > 1 else paths[0])
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, Any] = {}
        for path in paths:
            try:
                file = stack.enter_context(safetensors.safe_open(path, framework="numpy"))
                for name in file.keys():  # noqa: SIM118, it is no dict
                    tensor = file.get_slice(name)
                    if tensor.get_dtype() not in FLOATS:
                        self._refuse_type(path, name, tensor.get_dtype())
                    if name in self.shapes:
                        raise ValueError(f"{self.where} has the tensor {name!r} in two files.")
                    self.shapes[name], self._files[name] = tuple(tensor.get_shape()), file
            except (OSError, safetensors.SafetensorError) as error:
                raise ValueError(f"{path} is not a whole safetensors file: {error}.") from None

    def read(self, name: str) -> np.ndarray:
        return self._files[name].get_tensor(name)

    def _refuse_type(self, path: Path, name: str, kind: str) -> None:
        if re.search(r"(^|\.)(masked_)?bias$", name) and kind in ("BOOL", "U8"):
            return  # causal masks that old files keep; dropped by name
        raise ValueError(f"{path} has the tensor {name!r} of type {kind}; supported: {', '.join(sorted(FLOATS))}.")


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[SafeTensors]:
    """The safetensors files of a checkpoint folder: `model.safetensors`, or the shards that its index names.

    Raises:
      ValueError: if there are none, with how to convert where there are pickled ones, or if they are broken.
    """
    if (folder / SINGLE).is_file():
        paths = [folder / SINGLE]
    elif (folder / INDEX).is_file():
        paths = shards(folder)
    elif pickled := sorted(path.name for path in folder.glob("*.bin")):
        raise ValueError(
            f"{folder} has its weights in {pickled[0]}, a pickle, which may run any code when it is read. Convert it "
            f'where you trust it: python -c "from transformers import AutoModelForCausalLM as A; '
            f"A.from_pretrained('{folder}').save_pretrained('{folder}')\""
        )
    else:
        raise ValueError(f"{folder} has no weights: neither {SINGLE} nor {INDEX}.")
    with contextlib.ExitStack() as stack:
        yield SafeTensors(paths, stack)


def shards(folder: Path) -> list[Path]:
    """The files that the index of a checkpoint names, all of them in its folder."""
    index = read_json(folder / INDEX)
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{folder / INDEX} has no weight_map from tensors to files.")
    named = list(dict.fromkeys(str(name) for name in files.values()))
    for name in named:
        if not plain_name(name):
            raise ValueError(f"{folder / INDEX} names the file {name[:80]!r}, which is not one in its folder.")
        if not (folder / name).is_file():
            raise ValueError(f"{folder / INDEX} names the file {name[:80]!r}, which is not there.")
    return [folder / name for name in named]


def read_params(
    architecture: Architecture, family: Family, source: Source, dtype: Any, place: Place | None = None
) -> Params:
    """The parameters of an architecture, from tensors that go by the names of a family.

    Args:
      dtype: of the parameters, whatever the files have.
      place: puts the array of a path on devices; by default on the first.

    Raises:
      ValueError: as `matched`.
    """
    stored, wanted = matched(architecture, family, source), wanted_tensors(architecture, family)
    place = place or (lambda path, array: jnp.asarray(array))
    params = {}
    for path, leaf in flat(decoder.shapes(architecture)).items():
        array = np.empty(leaf.shape, dtype)
        for number, name, _ in wanted[path]:
            tensor = _piece(architecture, family, path, source.read(stored[name]))
            array[... if number is None else number] = tensor
        params[path] = place(path, array)
    return traverse_util.unflatten_dict(params)


def matched(architecture: Architecture, family: Family, source: Source) -> dict[str, str]:
    """The name in the files of every tensor that the architecture wants, by its canonical name.

    Raises:
      ValueError: naming every tensor that is missing, is not part of the model, or has another shape than it should.
    """
    wanted = wanted_tensors(architecture, family)
    stored = _canonical(architecture, family, source)
    shapes = {name: shape for pieces in wanted.values() for _, name, shape in pieces}
    missing = [name for name in shapes if name not in stored]
    extra = [stored[name] for name in stored if name not in shapes]
    other = [
        f"{stored[name]} {list(source.shapes[stored[name]])} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name in stored and source.shapes[stored[name]] != shape
    ]
    faults = {"missing": missing, "not part of the model": extra, "of another shape than the config says": other}
    if any(faults.values()):
        told = "; ".join(f"{what}: {_listed(tensors)}" for what, tensors in faults.items() if tensors)
        raise ValueError(f"{source.where} does not hold the model that its config describes. Tensors {told}.")
    return stored


def wanted_tensors(
    architecture: Architecture, family: Family
) -> dict[tuple[str, ...], list[tuple[int | None, str, tuple[int, ...]]]]:
    """For each of our paths the tensors that it is made of: (layer or None, canonical name, shape in the file)."""
    wanted = {}
    for path, leaf in flat(decoder.shapes(architecture)).items():
        entry = family.tensors["/".join(path)]
        layered = path[0] == "layers"
        shape = leaf.shape[1:] if layered else leaf.shape
        if isinstance(entry, Part):
            shape = (*shape[:-1], 3 * shape[-1])
        if path[-1] == "kernel" and family.transposed:
            shape = shape[::-1]
        name = entry.name if isinstance(entry, Part) else entry
        numbers = range(architecture.depth) if layered else [None]
        wanted[path] = [(i, name if i is None else name.replace("{i}", str(i)), tuple(shape)) for i in numbers]
    return wanted


def tensors_of(architecture: Architecture, family: Family, params: Params) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, by their full names; tied heads are left out, as is usual."""
    tensors: dict[str, np.ndarray] = {}
    fused: dict[str, dict[int, tuple[Part, np.ndarray]]] = {}
    for path, leaf in flat(params).items():
        entry = family.tensors["/".join(path)]
        template = entry.name if isinstance(entry, Part) else entry
        for number in range(architecture.depth) if path[0] == "layers" else [None]:
            array = np.asarray(leaf if number is None else leaf[number])
            name = template if number is None else template.replace("{i}", str(number))
            if isinstance(entry, Part):
                fused.setdefault(name, {})[entry.number] = (entry, array)
            else:
                tensors[name] = array.T if path[-1] == "kernel" and family.transposed else array
    for name, parts in fused.items():
        arrays, part = [parts[number][1] for number in range(3)], parts[0][0]
        if part.by_head:
            split = [np.reshape(x, (*x.shape[:-1], architecture.heads, 1, -1)) for x in arrays]
            whole = np.reshape(np.concatenate(split, axis=-2), (*arrays[0].shape[:-1], -1))
        else:
            whole = np.concatenate(arrays, axis=-1)
        tensors[name] = whole.T if family.transposed and whole.ndim == 2 else whole
    named = {}
    for name, array in tensors.items():
        if name == "lm_head.weight":
            full = family.head_names[0]
        else:
            full = name if name.startswith("lm_head.") else family.prefix + name
        named[full] = np.ascontiguousarray(array)
    return named


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes `config.json` and `model.safetensors`, as transformers does."""
    folder.mkdir(parents=True, exist_ok=True)
    needed("safetensors.numpy").save_file(dict(tensors), folder / SINGLE, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _canonical(architecture: Architecture, family: Family, source: Source) -> dict[str, str]:
    """The tensors of a source by their names without prefix; without those that hold nothing of their own."""
    ends = family.prefix.split(".")[:-1]
    prefixes = [".".join(ends[start:]) + "." for start in range(len(ends))]
    stored: dict[str, str] = {}
    for full in source.shapes:
        name = "lm_head.weight" if full in family.head_names else full
        name = next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), name)
        if any(re.fullmatch(pattern, name) for pattern in family.dropped):
            continue
        if architecture.tied and name == "lm_head.weight":
            continue
        if name in stored:
            raise ValueError(f"{source.where} has the tensor {name!r} twice, as {stored[name]!r} and {full!r}.")
        stored[name] = full
    return stored


def _piece(architecture: Architecture, family: Family, path: tuple[str, ...], tensor: np.ndarray) -> np.ndarray:
    """What of a stored tensor goes to a path, as our kernels are laid out."""
    if path[-1] == "kernel" and family.transposed:
        tensor = tensor.T
    entry = family.tensors["/".join(path)]
    if not isinstance(entry, Part):
        return tensor
    if not entry.by_head:
        return np.split(tensor, 3, axis=-1)[entry.number]
    by_head = np.reshape(tensor, (*tensor.shape[:-1], architecture.heads, 3, -1))
    return np.reshape(by_head[..., entry.number, :], (*tensor.shape[:-1], -1))


def _listed(tensors: list[str]) -> str:
    more = f" and {len(tensors) - LISTED} more" if len(tensors) > LISTED else ""
    return ", ".join(tensor[:160] for tensor in sorted(tensors)[:LISTED]) + more


def flat(params: Params) -> dict[tuple[str, ...], Any]:
    """The leaves by their paths."""
    leaves: dict[Any, Any] = traverse_util.flatten_dict(params)
    return leaves
