"""Explicit learners: each a formula on the context, in a file of its own."""

from icl_sim.predictors.learners.averaging import Averaging, Preconditioned
from icl_sim.predictors.learners.discrete import DiscreteMMSE, SmoothedMMSE
from icl_sim.predictors.learners.gaussian_process import GaussianProcessPosterior
from icl_sim.predictors.learners.gradient_descent import GradientDescent
from icl_sim.predictors.learners.kernel_copy import KernelCopy
from icl_sim.predictors.learners.lasso import Lasso
from icl_sim.predictors.learners.least_squares import LeastSquares, Ridge
from icl_sim.predictors.learners.logistic import LogisticRegression
from icl_sim.predictors.learners.nearest import Nearest
from icl_sim.predictors.learners.plus_plus import GradientDescentPlusPlus
from icl_sim.predictors.learners.sgd import GrowingSGD, OnePassSGD
from icl_sim.predictors.learners.smoothing import KernelSmoothing
from icl_sim.predictors.learners.trees import Boosting, Tree
from icl_sim.predictors.learners.tuned import Tuned
from icl_sim.predictors.learners.two_layer import TwoLayerNet

__all__ = [
    "Averaging",
    "Boosting",
    "DiscreteMMSE",
    "GaussianProcessPosterior",
    "GradientDescent",
    "GradientDescentPlusPlus",
    "GrowingSGD",
    "KernelCopy",
    "KernelSmoothing",
    "Lasso",
    "LeastSquares",
    "LogisticRegression",
    "Nearest",
    "OnePassSGD",
    "Preconditioned",
    "Ridge",
    "SmoothedMMSE",
    "Tree",
    "Tuned",
    "TwoLayerNet",
]
