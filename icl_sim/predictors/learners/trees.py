"""Decision trees on the context of each question, grown by scikit-learn on the host."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.buffer_callback import buffer_callback

from icl_sim.predictors.learners.prefixes import prefixes
from icl_sim.predictors.learners.thinned import thinned
from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting, static


@setting
class Tree(Predictor):
    """A regression tree grown greedily by squared error (CART, Breiman et al. 1984; Garg et al. 2022, appendix A).

    Attributes:
      max_depth: the paper takes 2, and 4 on signs.
      signs: whether it sees the signs of the inputs alone, which is all that the tests x_c > 0 of a task of trees need.
      every: only the prefixes of 0, every, 2 every, ... pairs are fitted, and each fit answers until the next.
    """

    max_depth: int = static(2)
    signs: bool = static(False)
    every: int = static(1)

    def check(self) -> None:
        _check(self, "max_depth", "every")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params, record
        grow, _ = _regressors()
        return _fitted(lambda: grow(max_depth=self.max_depth, random_state=0), batch, self.signs, self.every)


@setting
class Boosting(Predictor):
    """A sum of small trees, each grown on what those before it leave over (gradient boosting, Friedman 2001).

    It stands for XGBoost of Garg et al. 2022, appendix A: 50 trees of depth 4 at rate 0.1, without its penalties.

    Attributes:
      rate: how much of each tree is added.
      trees: how many.
      depth: of each.
      signs, every: as in `Tree`.
    """

    rate: Leaf = 0.1
    trees: int = static(50)
    depth: int = static(4)
    signs: bool = static(False)
    every: int = static(1)

    def check(self) -> None:
        _check(self, "trees", "depth", "every")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"The rate is {self.rate}; it must be above 0 and finite.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params, record
        _, boost = _regressors()
        sizes = {"n_estimators": self.trees, "max_depth": self.depth, "random_state": 0}
        return _fitted(
            lambda rate: boost(learning_rate=float(rate), **sizes), batch, self.signs, self.every, self.rate
        )


def _check(trees: Tree | Boosting, *counts: str) -> None:
    for name in counts:
        if (value := getattr(trees, name)) < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    _regressors()


def _regressors() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The trees and the boosting of scikit-learn."""
    try:
        from sklearn.ensemble import GradientBoostingRegressor
        from sklearn.tree import DecisionTreeRegressor
    except ImportError as error:
        raise ValueError(
            "Tree and Boosting need scikit-learn, which is missing: pip install 'icl_sim[learners]'."
        ) from error
    return DecisionTreeRegressor, GradientBoostingRegressor


def _fitted(untrained: Callable[..., Any], batch: Batch, signs: bool, every: int, *options: Leaf) -> Outputs:
    """Predictions of what `untrained(*options)` makes of each prefix, 0 before any pair."""
    asked = prefixes(batch)
    trained_T, which_P = thinned(asked, every)

    def fit(x_BLX: Any, y_BL: Any, query_BPX: Any, *options: Any) -> np.ndarray:
        values_BP = np.zeros(query_BPX.shape[:2], y_BL.dtype)
        for number, count in enumerate(trained_T):
            (slots,) = np.nonzero(which_P == number)
            for b in range(len(x_BLX)) if count else ():
                fitted = untrained(*options).fit(x_BLX[b, :count], y_BL[b, :count])
                values_BP[b, slots] = fitted.predict(query_BPX[b, slots])
        return values_BP

    x_BLX, query_BPX = asked.x_BLX, asked.query_BPX
    if signs:
        x_BLX, query_BPX = jnp.sign(x_BLX), jnp.sign(query_BPX)
    # Trees are steps: their derivative by the inputs is 0 wherever it exists.
    x_BLX, query_BPX = jax.lax.stop_gradient((x_BLX, query_BPX))
    shape = jax.ShapeDtypeStruct(query_BPX.shape[:2], asked.y_BL.dtype)
    return Outputs(values=_on_host(fit, shape, x_BLX, asked.y_BL, query_BPX, *options))


def _on_host(function: Callable[..., np.ndarray], shape: jax.ShapeDtypeStruct, *args: Any) -> Array:
    """What a function of arrays gives on the host, one call at a time under `vmap`.

    On CPUs not by `pure_callback`: it hands its arguments to a device, which for more than some thousand numbers waits
    for a thread of the pool that runs the callbacks, and when every device calls, for ever (jax 0.10.2, 2 devices).
    """

    def call(*args: Any) -> np.ndarray:
        return function(*map(np.asarray, args))

    def in_place(context: Any, out: Any, *args: Any) -> None:
        del context
        np.asarray(out)[...] = call(*args)

    if jax.default_backend() != "cpu":
        return jax.pure_callback(call, shape, *args, vmap_method="sequential")

    return buffer_callback(in_place, shape, vmap_method="sequential")(*args)
