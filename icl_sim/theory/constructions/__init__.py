"""Weights set by hand: networks that are learning algorithms by construction."""

from icl_sim.theory.constructions.attention import CONSTRUCTIONS, Constructed, construct, hessian_map
from icl_sim.theory.constructions.chains import sgd_chain, sherman_morrison, sherman_morrison_chain
from icl_sim.theory.constructions.layers import HandSet, gelu_identity, gelu_product, norm_quotient
from icl_sim.theory.constructions.primitives import aff, div, mov, mul

__all__ = [
    "CONSTRUCTIONS",
    "Constructed",
    "HandSet",
    "aff",
    "construct",
    "div",
    "gelu_identity",
    "gelu_product",
    "hessian_map",
    "mov",
    "mul",
    "norm_quotient",
    "sgd_chain",
    "sherman_morrison",
    "sherman_morrison_chain",
]
