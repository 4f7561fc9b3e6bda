"""Class sequences with bursts and a long tail, and their inputs by the names that configs use."""

from icl_sim.tasks.sequences.bursty import BurstySequences
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.features import Features
from icl_sim.tasks.sequences.presets import PRESETS

INPUTS = {"clusters": Clusters, "features": Features}

__all__ = ["INPUTS", "PRESETS", "BurstySequences", "Clusters", "Features"]
