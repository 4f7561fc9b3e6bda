"""Packages that only pretrained models need, imported when they are."""

from __future__ import annotations

import importlib
from typing import Any


def needed(module: str) -> Any:
    """The module of an optional package.

    Raises:
      ImportError: where it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ImportError(
            f"Pretrained models need the package {package}, which is not installed: pip install icl_sim[lm]"
        ) from None
