"""The seam to flax NNX: the only file that knows how a module is taken apart and put together again.

Everything outside sees two pure functions on a plain nested dict of arrays, which `jit`, `grad`, `vmap`,
`lax.map` and a checkpoint treat like any other data. Used so, NNX costs nothing at run time. None of its own
transforms (`nnx.jit`, `nnx.grad`, ...) and no `sow` are used: what a module has to say, it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx, traverse_util

from icl_sim import precision
from icl_sim.predictors.networks import drawing
from icl_sim.types import Key, Params


class Functional(NamedTuple):
    """A network as pure functions: `init(key) -> params` and `apply(params, *args, **kwargs)`."""

    init: Callable[[Key], Params]
    apply: Callable[..., Any]


def functional(build: Callable[[Any], nnx.Module], *, together: bool = False) -> Functional:
    """Splits the module that `build(rngs)` makes into structure, kept here, and parameters, kept by the caller.

    The structure comes from an abstract evaluation, so no array is made but by `init`. The keys of the
    parameters are strings throughout (NNX numbers the items of a list), as pytrees and checkpoints want them.

    Args:
      together: whether the module draws by the initialisers of `drawing` alone. Then all is drawn at once.
    """
    keys = drawing.Keys()
    graphdef, abstract = nnx.split(nnx.eval_shape(lambda: build(keys if together else nnx.Rngs(0))))
    paths = {tuple(map(str, path)): path for path in traverse_util.flatten_dict(nnx.to_pure_dict(abstract))}

    @jax.jit  # traced once a network, which takes NNX some time
    def init(key: Key) -> Params:
        module = build(drawing.Keys(drawing.together(key, keys.wanted)) if together else nnx.Rngs(key))
        state = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(module)))
        return traverse_util.unflatten_dict({name: state[path] for name, path in paths.items()})

    def apply(params: Params, *args: Any, **kwargs: Any) -> Any:
        state = traverse_util.flatten_dict(params)
        state = traverse_util.unflatten_dict({path: state[name] for name, path in paths.items()})
        with precision.full():
            return nnx.merge(graphdef, state)(*args, **kwargs)  # type: ignore[operator]

    return Functional(init, apply)
