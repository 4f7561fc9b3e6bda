"""What an update costs, before anything is compiled."""

from __future__ import annotations

import math
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from icl_sim.engine.group import Group
from icl_sim.engine.step import initial_state, train


def flops_per_update(group: Group) -> float:
    """Floating-point operations of one update of one member, in its first phase.

    Counted in the traced program, loops as often as they run: 2 m n k for a product of matrices, likewise for a
    convolution, and 1 for every number that any other operation makes. (XLA's own count takes the body of a loop for
    one, and a network of scanned layers for its first.)
    """
    member = group.first
    shared = jax.eval_shape(member.task.load)
    phase = member.predictor.phases[0]
    state = jax.eval_shape(initial_state, member, shared)

    def update(member: Any, state: Any, shared: Any) -> Any:
        return train(member, state, shared, 0, 1, phase)

    return flops(jax.make_jaxpr(update)(member, state, shared))


def bytes_of(tree: Any) -> int:
    """Of all arrays of a tree, or of what has their shapes and dtypes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def flops(program: ClosedJaxpr | Jaxpr) -> float:
    """Floating-point operations of a traced program. A loop of unknown length counts once, a branch as its longest."""
    equations = program.jaxpr.eqns if isinstance(program, ClosedJaxpr) else program.eqns
    return sum(map(_of_equation, equations), 0.0)


def _of_equation(equation: JaxprEqn) -> float:
    taken, made = ([tuple(getattr(v.aval, "shape", ())) for v in vs] for vs in (equation.invars, equation.outvars))
    size = sum(math.prod(shape) for shape in made)
    name, settings = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = settings["dimension_numbers"]
        return 2.0 * size * math.prod(taken[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        return 2.0 * size * math.prod(taken[1]) / taken[1][settings["dimension_numbers"].rhs_spec[0]]
    inner = [flops(program) for value in settings.values() for program in _programs(value)]
    if name == "cond":
        return max(inner)
    if inner:
        return settings.get("length", 1) * sum(inner)
    return float(size)


def _programs(value: Any) -> list[ClosedJaxpr | Jaxpr]:
    """The programs within a parameter of an operation."""
    values = value if isinstance(value, tuple | list) else (value,)
    return [v for v in values if isinstance(v, ClosedJaxpr | Jaxpr)]
