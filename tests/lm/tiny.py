"""Tiny checkpoints of every family, with weights that are a formula of the tensor's name: only logits are committed.

`make_golden.py` writes what this reads: per case the config and the names and shapes of the tensors as transformers
saves them, and the logits that transformers computes from the weights made here.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import safetensors.numpy

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))
VOCAB, TOKENS = 61, 12
IDS = [[(7 * t * t + 3 * t + 11 * b) % VOCAB for t in range(TOKENS)] for b in range(2)]


def golden(case: str) -> dict:
    """The record of a case: config, tensors (name -> shape), logits `[2, 12, 61]`."""
    return json.loads((GOLDEN / f"{case}.json").read_text())


def tensor(name: str, shape: list[int]) -> np.ndarray:
    """Numbers that look random, exact in half precision: uniform in +-1/4 for matrices and +-1/4 around 1 for norms."""
    count = int(np.prod(shape))
    mixed = np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):  # the finaliser of MurmurHash3
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor) & np.uint64(0xFFFFFFFF)
    uniform = (mixed % np.uint64(512)).astype(np.float32) / 1024 - 0.25
    centre = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
    return np.reshape(uniform + centre, shape).astype(np.float32)


def tensors(case: str) -> dict[str, np.ndarray]:
    """All tensors of a case, as the file has them."""
    return {name: tensor(name, shape) for name, shape in golden(case)["tensors"].items()}


def write(folder: Path, config: dict, arrays: dict[str, np.ndarray]) -> Path:
    """A checkpoint folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
