"""Explicit learners: each a formula on the context, in a file of its own."""

from icl_sim.predictors.learners.kernel_copy import KernelCopy
from icl_sim.predictors.learners.nearest import Nearest

__all__ = ["KernelCopy", "Nearest"]
