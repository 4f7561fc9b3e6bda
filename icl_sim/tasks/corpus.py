"""Text as bytes, each of which asks for the next: small language models from scratch, without a download."""

from __future__ import annotations

import functools
import hashlib
import os
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim import draws
from icl_sim.names import expanded
from icl_sim.types import CONTEXT, QUERY, Batch, Key, Leaf, Task, setting, static

BYTES = 256
HELD_OUT = 0.1  # the share of the text that is not trained on
_MOST = 2**24  # places that a number in single precision can tell apart
_NOT_TEXT = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "pydoc_data"}


@setting
class Corpus(Task):
    """A stretch of a text from a random place; every slot shows a byte and asks for the next one.

    The text is that of all files of a folder below one another, in an order that depends on their names alone; the
    last tenth of it is held out. Without a folder it is the source of Python's standard library, tests left out.

    Attributes:
      held_out: whether stretches are of the text held out.
      length: S, the bytes shown.
      folder: where the text is; empty for the standard library's source.
      suffix: how the names of its files end.
      max_bytes: how much of the text to take.
      text: `[N]` uint8, bound by `prepare`.
    """

    held_out: Leaf = False
    length: int = static(128)
    folder: str = static("")
    suffix: str = static(".py")
    max_bytes: int = static(2**23)
    text: Any = None

    def load(self) -> np.ndarray:
        return _read(self.folder, self.suffix, self.max_bytes)

    def prepare(self, shared: Any = None) -> Corpus:
        return self.replace(text=self.load() if shared is None else shared)

    def sample(self, key: Key, batch_size: int) -> Batch:
        if self.text is None:
            raise ValueError("The text has not been read yet; call prepare first.")
        text_N, S = jnp.asarray(self.text), self.length
        first_held = _first_held(len(self.text))
        begin, end = jnp.where(
            jnp.asarray(self.held_out), jnp.array([first_held, len(text_N)]), jnp.array([0, first_held])
        )
        start_B = begin + draws.number_below(draws.uniform(key, (batch_size,)), end - begin - S)
        byte_BN = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(text_N, start, S + 1))(start_B).astype(jnp.int32)
        return Batch(
            inputs=byte_BN[:, :-1],
            targets=byte_BN[:, 1:],
            kinds=jnp.full((batch_size, S), CONTEXT, jnp.int8).at[:, -1].set(QUERY),
            latents={"start": start_B},
            weights=jnp.ones((batch_size, S)),
            num_classes=BYTES,
        )

    def evaluation_sets(self) -> Mapping[str, Task]:
        """ "default", "half" and "quarter": text held out, at this length and at parts of it; "trained": text seen."""
        default = self.replace(held_out=True)
        shorter = {
            "half": default.replace(length=self.length // 2),
            "quarter": default.replace(length=self.length // 4),
        }
        return {"default": default, **shorter, "trained": self.replace(held_out=False)}

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        return {"loss": ("default", "cross_entropy"), "error": ("default", "error")}

    def positions(self) -> Mapping[int, Leaf]:
        """After 1, 2, 4, ... bytes, as far as the shortest evaluation set goes."""
        return {2**k: 2**k - 1 for k in range((self.length // 4).bit_length())}

    def check(self) -> None:
        if self.length < 4:
            raise ValueError(f"task.length is {self.length}; it must be at least 4.")
        least = int((self.length + 2) / HELD_OUT) + 1  # so that the part held out holds one stretch
        if not least <= self.max_bytes <= _MOST:
            raise ValueError(
                f"task.max_bytes is {self.max_bytes}; for a length of {self.length} it must be from {least:,} to "
                f"{_MOST:,}."
            )
        if (found := len(self.load())) < least:
            raise ValueError(
                f"The text of {self.folder or 'the standard library'} has {found:,} bytes; for a task.length of "
                f"{self.length} it takes {least:,}."
            )


def _first_held(size: int) -> int:
    return size - round(HELD_OUT * size)


@functools.lru_cache(maxsize=2)
def _read(folder: str, suffix: str, max_bytes: int) -> np.ndarray:
    root = expanded(folder or sysconfig.get_paths()["stdlib"])
    if not root.is_dir():
        raise ValueError(
            f"task.folder is {folder!r}, which is no folder; it must hold files whose names end in {suffix!r}."
        )
    left_out = set() if folder else _NOT_TEXT
    files: list[Path] = []
    for above, folders, names in os.walk(root):
        folders[:] = set(folders) - left_out
        files += [Path(above, name) for name in names if name.endswith(suffix)]
    if not files:
        raise ValueError(
            f"There are no files in {str(root)!r} whose names end in {suffix!r} (task.folder, task.suffix)."
        )
    text, size = [], 0
    # Neighbours in the alphabet are of one package: by a hash of its name, what is held out is of all kinds.
    for path in sorted(files, key=lambda path: hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()):
        try:
            text.append(path.read_bytes() + b"\n")
        except OSError as error:
            raise ValueError(f"{str(path)!r} of task.folder cannot be read: {error.strerror}.") from error
        size += len(text[-1])
        if size >= max_bytes:
            break
    return np.frombuffer(b"".join(text), np.uint8)[:max_bytes]
