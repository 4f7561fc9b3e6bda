"""How exactly matrices are multiplied."""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax


def full() -> AbstractContextManager[None]:
    """Within it, products of single-precision matrices are traced as such, unless the user has told jax otherwise.

    By default GPUs round the factors to 10 bits (TF32) and TPUs to 7 (bfloat16). The small networks that this is about
    gain next to nothing from it, and answers that are compared with those of exact algorithms lose their digits.
    `JAX_DEFAULT_MATMUL_PRECISION=tensorfloat32` (or `bfloat16`) has it back.
    """
    return jax.default_matmul_precision(jax.config.jax_default_matmul_precision or "float32")  # type: ignore[attr-defined]
