"""What single heads are worth: networks without them, or with one alone (Singh et al. 2024, section 4).

A head is ablated by values of 0 at all tokens. That may cost an answer for what the head adds to the stream by itself,
and for what later layers then read from it; keeping some of these as they were without the ablation tells which:

    nothing          the ablation and all that follows from it
    patterns         later attention maps are kept, so that only what is carried is lost, not where heads look
    values           later values are kept, so that only where heads look is lost
    both             maps and values are kept, so that only the direct way to the answer is lost (and that through MLPs)
    all_but_queries  later keys and values are kept: only what is read as queries is lost, and the direct way
    all_but_keys     later queries and values are kept
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from icl_sim import heads, names
from icl_sim.predictors.frozen import Wrapped
from icl_sim.predictors.networks.intermediates import Clamps
from icl_sim.types import Array, Batch, Outputs, Params, Predictor, setting, static

PRESERVED: Mapping[str, tuple[str, ...]] = {  # intermediates of later layers
    "nothing": (),
    "patterns": ("attention",),
    "values": ("values",),
    "both": ("attention", "values"),
    "all_but_queries": ("keys", "values"),
    "all_but_keys": ("queries", "values"),
}
_MAP = "attention/"


def ablated(
    network: Predictor, params: Params, batch: Batch, layer: int, head: Any, preserve: str = "nothing"
) -> Outputs:
    """What the network answers without a head.

    Args:
      layer, head: counted from 0; `head` may be several.
      preserve: what later layers keep, a key of `PRESERVED`.

    Raises:
      ValueError: for a layer or head that there is not, an unknown `preserve`, or a network that takes no clamps.
    """
    record, gone_H = _told(network, params, batch, layer, head)
    return without(network, params, batch, layer, gone_H, record, preserve)


def only_head(network: Predictor, params: Params, batch: Batch, layer: int, head: Any) -> Outputs:
    """What the network answers with all other heads of the layer ablated. `head` may be several."""
    record, kept_H = _told(network, params, batch, layer, head)
    return without(network, params, batch, layer, ~kept_H, record)


def without(
    network: Predictor,
    params: Params,
    batch: Batch,
    layer: int,
    gone_H: Array,
    record: Mapping[str, Array],
    preserve: str = "nothing",
) -> Outputs:
    """What the network answers without the heads of a layer that `gone_H` is true of, given its record of clamps {}."""
    names.require("What an ablation is to preserve", preserve, PRESERVED)
    clamps: dict[str, tuple[Any, Any]] = {f"values/{layer}": (0.0, gone_H[None, :, None, None])}
    for later in (number for number in layers(record) if number > layer):
        clamps |= {f"{name}/{later}": (record[f"{name}/{later}"], True) for name in PRESERVED[preserve]}
    return run(network, params, batch, clamps)


def run(network: Predictor, params: Params, batch: Batch, clamps: Clamps, **how: Any) -> Outputs:
    """What a network that takes clamps answers under some, with its record."""
    return cast(Any, network).apply(params, batch, record=True, clamps=clamps, **how)


def layers(record: Mapping[str, Array]) -> list[int]:
    """The layers with an attention map on record."""
    return sorted(int(name[len(_MAP) :]) for name in record if name.startswith(_MAP))


def require_clamps(network: Predictor, what: str) -> None:
    """Raises ValueError unless a network, within all that wraps it, has intermediates that can be clamped."""
    inner = network
    while isinstance(inner, Wrapped) and "clamps" not in inspect.signature(inner.apply).parameters:
        inner = inner.network
    if "clamps" not in inspect.signature(inner.apply).parameters:
        raise ValueError(
            f"{what} overwrites intermediates of a network, and {type(inner).__name__} does not let it; take a "
            "Transformer or an InductionNetwork."
        )


def _told(network: Predictor, params: Params, batch: Batch, layer: int, head: Any) -> tuple[Mapping[str, Array], Array]:
    """The network's record, and which heads of the layer are meant, `[H]`."""
    require_clamps(network, "An ablation")
    record = run(network, params, batch, {}).record
    count = len(layers(record))
    if not 0 <= layer < count:
        raise ValueError(f"layer is {layer}; the network has {count} layers, counted from 0.")
    H = record[f"{_MAP}{layer}"].shape[1]
    meant = [head] if isinstance(head, int) else list(head)
    if any(not 0 <= number < H for number in meant):
        raise ValueError(f"head is {head}; layer {layer} has {H} heads, counted from 0.")
    return record, jnp.asarray([number in meant for number in range(H)])


@setting
class Ablated(Wrapped):
    """A network and what each of its heads is worth to it. It trains and answers as the network does.

    Its measures, where 1.3 is head 3 of layer 1, counted from 0, and "1.all" all heads of layer 1:
    - `error_without/1.3`: the error without it; with `preserve`, `error_without_keeping_patterns/1.3` etc.;
    - `error_only/1.3`: the error with all others of its layer ablated;
    - `induction_strength/1.3`, `previous_token/1.3`: where it looks (`icl_sim.heads`).

    Attributes:
      network: one that takes clamps.
      preserve: what is kept of later layers, each an ablation of its own: keys of `PRESERVED`.
      alone: whether to measure heads alone, too.
    """

    preserve: tuple[str, ...] = static(("nothing",))
    alone: bool = static(True)

    def check(self) -> None:
        self.network.check()
        require_clamps(self.network, "Ablated")
        for preserve in self.preserve:
            names.require("What an ablation is to preserve", preserve, PRESERVED)

    def apply(self, params: Params, batch: Batch, *, record: bool = False, **how: Any) -> Outputs:
        """Record: that of the network under clamps of nothing, and the answers under each ablation by its name."""
        answer = self.network.apply(params, batch, record=record, **how)
        if not record or how:
            return answer
        told = run(self.network, params, batch, {}).record
        kept = dict(told)
        for layer in layers(told):
            H = told[f"{_MAP}{layer}"].shape[1]
            single_GH = jnp.concatenate([jnp.eye(H, dtype=bool), jnp.ones((1, H), bool)])
            of_heads = [*map(str, range(H)), "all"]
            alone = self.alone and H > 1
            for preserve in dict.fromkeys((*self.preserve, *(("nothing",) if alone else ()))):
                with_others = alone and preserve == "nothing"
                gone_GH = jnp.concatenate([single_GH, ~single_GH[:H]]) if with_others else single_GH

                def answers(gone_H: Array, layer: int = layer, preserve: str = preserve) -> Array:
                    return without(self.network, params, batch, layer, gone_H, told, preserve).values

                values_G = jax.lax.map(answers, gone_GH)
                what = "without" if preserve == "nothing" else f"without_keeping_{preserve}"
                kept |= {f"{what}/{layer}.{head}": value for head, value in zip(of_heads, values_G, strict=False)}
                kept |= {f"only/{layer}.{head}": value for head, value in enumerate(values_G[H + 1 :])}
        return Outputs(values=answer.values, record=kept)

    def report(self, outputs: Outputs, batch: Batch) -> Mapping[str, Array]:
        told = dict(self.network.report(outputs, batch))
        for name, values in outputs.record.items():
            if name.startswith(("without", "only/")):
                told[f"error_{name}"] = error(values, batch)
        for layer in layers(outputs.record):
            map_BHTT = outputs.record[f"{_MAP}{layer}"]
            if map_BHTT.shape[-1] != 2 * batch.targets.shape[1] - 1:
                continue
            scores = {"previous_token": heads.previous_token(map_BHTT)}
            if batch.num_classes:
                scores["induction_strength"] = heads.induction_strength(map_BHTT, batch)
            for name, score_BH in scores.items():
                told |= {f"{name}/{layer}.{head}": score_B for head, score_B in enumerate(score_BH.T)}
        return told


def error(values: Array, batch: Batch) -> Array:
    """The error of answers, `[B]`: 0-1, or squared and divided by the batch's scale; the weighted mean over slots."""
    if batch.num_classes:
        answer_BP = jnp.atleast_2d(jnp.argmax(values, axis=-1).T).T
        target_BP = batch.targets[:, -answer_BP.shape[1] :]
        error_BP = (answer_BP != target_BP).astype(jnp.float32)
    else:
        error_BP = jnp.square(values - batch.targets[:, -values.shape[1] :]) / batch.scale
    if batch.weights is None:
        return error_BP[:, -1]
    weight_BP = batch.weights[:, -error_BP.shape[1] :]
    return jnp.sum(error_BP * weight_BP, axis=1) / jnp.sum(weight_BP, axis=1)
