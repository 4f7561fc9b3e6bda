"""Class sequences with bursts and a long tail, and their inputs by the names that configs use."""

from icl_sim.tasks.sequences.bursty import BurstySequences
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.features import Features
from icl_sim.tasks.sequences.presets import PRESETS
from icl_sim.tasks.sequences.separated import Separated

INPUTS = {"clusters": Clusters, "features": Features, "separated": Separated}

__all__ = ["INPUTS", "PRESETS", "BurstySequences", "Clusters", "Features", "Separated"]
