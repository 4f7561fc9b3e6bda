"""What accelerators can do at most, as their makers say."""

from __future__ import annotations

import dataclasses
import re

from icl_sim import names

MOST = 100_000


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """One chip.

    Attributes:
      peak: floating-point operations per second of dense products, of float32 matrices in the fast mode, which is jax's
        default and not ours (`icl_sim/precision.py`): in one pass of bfloat16 on TPUs, in TF32 on GPUs.
      memory: bytes.
      source: of both numbers.
    """

    name: str
    peak: float
    memory: float
    source: str


ACCELERATORS = {
    "v4": Accelerator("TPU v4", 275e12, 32e9, "cloud.google.com/tpu/docs/v4"),
    "v5e": Accelerator("TPU v5e", 197e12, 16e9, "cloud.google.com/tpu/docs/v5e"),
    "v5p": Accelerator("TPU v5p", 459e12, 95e9, "cloud.google.com/tpu/docs/v5p"),
    "v6e": Accelerator("TPU v6e", 918e12, 32e9, "cloud.google.com/tpu/docs/v6e"),
    "a100": Accelerator("NVIDIA A100", 156e12, 80e9, "NVIDIA A100 data sheet, TF32 without sparsity"),
    "h100": Accelerator("NVIDIA H100", 495e12, 80e9, "NVIDIA H100 data sheet (SXM), TF32 without sparsity"),
}


def parse(text: str) -> tuple[Accelerator, int]:
    """An accelerator and how many of it, from "NAME" or "NAME-COUNT" as in v5e-256. Raises ValueError in a sentence."""
    found = re.fullmatch(r"\s*([A-Za-z]\w*?)(?:-(\d{1,9}))?\s*", text)
    if not found or not 1 <= int(found[2] or 1) <= MOST:
        raise ValueError(f"The accelerator is {text!r}; it must be NAME or NAME-COUNT with 1 to {MOST:,}, as v5e-256.")
    names.require("The accelerator", found[1].lower(), ACCELERATORS)
    return ACCELERATORS[found[1].lower()], int(found[2] or 1)
