"""Tasks, and what their inputs look like, by the names that configs use."""

from icl_sim.tasks.class_mixture import ClassMixture
from icl_sim.tasks.corpus import Corpus
from icl_sim.tasks.ginc import Ginc
from icl_sim.tasks.glyphs import Glyphs
from icl_sim.tasks.mixture import Mixture
from icl_sim.tasks.omniglot import Omniglot
from icl_sim.tasks.prototypes import Prototypes
from icl_sim.tasks.regression import PARTS as REGRESSION_PARTS
from icl_sim.tasks.regression import Regression
from icl_sim.tasks.repeats import Repeats
from icl_sim.tasks.sequences import INPUTS as SEQUENCE_INPUTS
from icl_sim.tasks.sequences import BurstySequences, Clusters, Features, Separated
from icl_sim.tasks.switched import Switched
from icl_sim.tasks.symbols import Symbols

TASKS = {
    "class_mixture": ClassMixture,
    "regression": Regression,
    "bursty": BurstySequences,
    "repeats": Repeats,
    "switched": Switched,
    "mixture": Mixture,
    "ginc": Ginc,
    "corpus": Corpus,
}
INPUTS = {"prototypes": Prototypes, "symbols": Symbols, "glyphs": Glyphs, "omniglot": Omniglot}

__all__ = [
    "INPUTS",
    "REGRESSION_PARTS",
    "SEQUENCE_INPUTS",
    "TASKS",
    "BurstySequences",
    "ClassMixture",
    "Clusters",
    "Corpus",
    "Features",
    "Ginc",
    "Glyphs",
    "Mixture",
    "Omniglot",
    "Prototypes",
    "Regression",
    "Repeats",
    "Separated",
    "Switched",
    "Symbols",
]
