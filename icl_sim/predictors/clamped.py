"""Training with some of a network's activations clamped (Singh et al. 2024, "artificial optogenetics").

A clamp overwrites intermediates by a (cache, mask) pair, in training too, and gradients flow through the rest. What a
part of the network would have to learn is so given to it: what is left of a plateau tells which part was waited for.

Tokens are x_1, y_1, ..., x_L, y_L and the query. Layers, heads and tokens are counted from 0; label tokens are the odd
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.predictors.ablation import error, require_clamps, run
from icl_sim.predictors.frozen import Wrapped
from icl_sim.predictors.networks.intermediates import Clamps
from icl_sim.types import SUPPORT, Array, Batch, Leaf, Outputs, Params, setting, static

ROWS = ("all", "labels")
ABSENT = -1e9  # of logits: finite, so that where the right label is absent the loss is large and not lost
_ALL = "all"


@setting
class Clamp:
    """What is clamped. Subclasses are decorated with `setting`.

    Attributes:
      layer: where.
    """

    layer: int = static(0)

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        """Which intermediates are overwritten, by what and where: name -> (cache, mask).

        Args:
          told: the record of a pass under the clamps of earlier layers and these.
        """
        raise NotImplementedError(f"{type(self).__name__} must define pairs(told, batch).")

    def check(self) -> None:
        """Raises ValueError, in a sentence that names the value and what is allowed."""
        if self.layer < 0:
            raise ValueError(f"The layer of {type(self).__name__} is {self.layer}; layers are counted from 0.")


@setting
class OfHeads(Clamp):
    """A clamp of some heads of a layer.

    Attributes:
      heads: which; empty for all.
    """

    heads: tuple[int, ...] = static(())

    def meant(self, H: int) -> Array:
        """Which heads are clamped, `[1, H, 1, 1]`."""
        for head in self.heads:
            _require_head(self, head, H)
        return jnp.asarray([not self.heads or head in self.heads for head in range(H)])[None, :, None, None]

    def check(self) -> None:
        super().check()
        if any(head < 0 for head in self.heads):
            raise ValueError(f"The heads of {type(self).__name__} are {self.heads}; they are counted from 0.")


@setting
class PreviousToken(OfHeads):
    """Heads that look at the token before with weight s and at their own with 1 - s, the first at its own alone.

    Attributes:
      layer, heads: where; of no heads, all.
      rows: tokens that look so, "all" or "labels" alone.
      strength: s.
    """

    rows: str = static(_ALL)
    strength: Leaf = 1.0

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        H, T = _sizes(told, self.layer, batch)
        s, self_TT = jnp.asarray(self.strength), jnp.eye(T)
        before_TT = jnp.eye(T, k=-1).at[0, 0].set(1.0)
        map_TT = s * before_TT + (1 - s) * self_TT
        mask_1HT1 = self.meant(H) & _rows(self.rows, T)[None, None, :, None]
        return {f"attention/{self.layer}": (map_TT[None, None], mask_1HT1)}

    def check(self) -> None:
        super().check()
        names.require("The rows of PreviousToken", self.rows, ROWS)
        _check_strength(self)


@setting
class NoPreviousToken(OfHeads):
    """Heads that cannot look at the token before: its score is -inf, and other tokens share its weight.

    Attributes:
      layer, heads: where; of no heads, all.
      rows: tokens that cannot, "all" or "labels" alone.
    """

    rows: str = static(_ALL)

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        H, T = _sizes(told, self.layer, batch)
        before_TT = jnp.eye(T, k=-1, dtype=bool) & _rows(self.rows, T)[:, None]
        return {f"scores/{self.layer}": (jnp.asarray(-jnp.inf), self.meant(H) & before_TT[None, None])}

    def check(self) -> None:
        super().check()
        names.require("The rows of NoPreviousToken", self.rows, ROWS)


@setting
class InductionPattern(OfHeads):
    """Heads by which the query looks at the labels of its own class with weight s, and at all other labels with 1 - s.

    Slots of its class share s evenly, and others the rest; where there are only the ones or the others, they have all.
    It is an oracle: which slots are of the query's class it takes from the batch's `kinds`.

    Attributes:
      layer, heads: where; of no heads, all.
      strength: s.
    """

    layer: int = static(1)
    strength: Leaf = 1.0

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        H, T = _sizes(told, self.layer, batch)
        right_BL = batch.kinds[:, :-1] == SUPPORT
        count_B1, L = jnp.sum(right_BL, axis=1, keepdims=True), right_BL.shape[1]
        s_B1 = jnp.where(count_B1 == L, 1.0, jnp.where(count_B1 == 0, 0.0, jnp.asarray(self.strength)))
        weight_BL = jnp.where(right_BL, s_B1 / jnp.maximum(count_B1, 1), (1 - s_B1) / jnp.maximum(L - count_B1, 1))
        map_BT = jnp.zeros((len(right_BL), T)).at[:, 1::2].set(weight_BL)
        return {f"attention/{self.layer}": (map_BT[:, None, None], self.meant(H) & _query(T))}

    def check(self) -> None:
        super().check()
        _check_strength(self)


@setting
class Match(OfHeads):
    """Heads by which the query looks at labels by how alike their items are to its own: softmax(cosine / temperature).

    Items are compared as they are given, coordinates of images in a row.

    Attributes:
      layer, heads: where; of no heads, all.
      temperature: of the softmax; the lower, the sharper.
    """

    layer: int = static(1)
    temperature: Leaf = 0.1

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        H, T = _sizes(told, self.layer, batch)
        x_BSX = jnp.reshape(batch.inputs, (*batch.inputs.shape[:2], -1))
        x_BSX = x_BSX / jnp.maximum(jnp.linalg.norm(x_BSX, axis=-1, keepdims=True), 1e-12)
        cosine_BL = jnp.einsum("BLX,BX->BL", x_BSX[:, :-1], x_BSX[:, -1])
        score_BT = jnp.full((len(x_BSX), T), -jnp.inf).at[:, 1::2].set(cosine_BL / jnp.asarray(self.temperature))
        return {f"scores/{self.layer}": (score_BT[:, None, None], self.meant(H) & _query(T))}

    def check(self) -> None:
        super().check()
        _check_temperature(self)


@setting
class LabelsOnly(OfHeads):
    """Heads by which the query can look at label tokens alone: the scores of all others are -inf.

    Attributes:
      layer, heads: where; of no heads, all.
    """

    layer: int = static(1)

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        H, T = _sizes(told, self.layer, batch)
        item_T = jnp.arange(T) % 2 == 0
        return {f"scores/{self.layer}": (jnp.asarray(-jnp.inf), self.meant(H) & _query(T) & item_T[None, None, None])}


@setting
class Temperature(OfHeads):
    """Heads whose scores are divided by a temperature.

    Attributes:
      layer, heads: where; of no heads, all.
      temperature: below 1 for sharper maps.
    """

    layer: int = static(1)
    temperature: Leaf = 1.0

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        H, _ = _sizes(told, self.layer, batch)
        score_BHTT = told({})[f"scores/{self.layer}"]
        return {f"scores/{self.layer}": (score_BHTT / jnp.asarray(self.temperature), self.meant(H))}

    def check(self) -> None:
        super().check()
        _check_temperature(self)


@setting
class CopiedItems(Clamp):
    """A layer after which every label token is what the one below copies in an induction head, and nothing else.

    To the next layer's queries and keys, a label token is the item before as it came into this layer; to its values it
    is itself, as it came in. (Singh et al. 2024 clamp the first layer so.) Layers beyond the next read the latter.

    Attributes:
      layer: the layer that is replaced.
    """

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        _, T = _sizes(told, self.layer, batch)
        residual, following = f"residual/{self.layer + 1}", self.layer + 1
        label_1T1 = _rows("labels", T)[None, :, None]
        raw_BTD = told({})[f"residual/{self.layer}"]
        matched = told({residual: (jnp.roll(raw_BTD, 1, axis=1), label_1T1)})
        if f"queries/{following}" not in matched:
            raise ValueError(f"CopiedItems clamps layer {self.layer} for the next to read, and the network has none.")
        kept = {
            f"{name}/{following}": (matched[f"{name}/{following}"], jnp.asarray(True)) for name in ("queries", "keys")
        }
        return {residual: (raw_BTD, label_1T1), **kept}


@setting
class CopiedLabels(Clamp):
    """Answers that are a head's scores of label tokens, by label, and nothing else.

    The logit of a label in the context is the log of the sum of exp(score of the query) over its tokens, so that their
    softmax is the head's attention to label tokens, summed by label; with each label once, as in the paper, it is the
    score itself. Labels that are not there have a logit of -1e9.

    Attributes:
      layer, head: whose scores.
    """

    layer: int = static(1)
    head: int = static(0)

    def pairs(self, told: Callable[[Clamps], Mapping[str, Array]], batch: Batch) -> Clamps:
        H, _ = _sizes(told, self.layer, batch)
        _require_head(self, self.head, H)
        if not batch.num_classes or batch.weights is not None:
            raise ValueError(
                "CopiedLabels answers the query alone, with a class, and the batch has num_classes="
                f"{batch.num_classes}" + (" and asks every slot." if batch.weights is not None else ".")
            )
        score_BL = told({})[f"scores/{self.layer}"][:, self.head, -1, 1::2]
        is_label_BLC = batch.targets[:, :-1, None] == jnp.arange(batch.num_classes)[None, None]
        logit_BC = jax.nn.logsumexp(jnp.where(is_label_BLC, score_BL[..., None], ABSENT), axis=1)
        return {"logits": (logit_BC, jnp.asarray(True))}

    def check(self) -> None:
        super().check()
        if self.head < 0:
            raise ValueError(f"The head of CopiedLabels is {self.head}; heads are counted from 0.")


CLAMPS: dict[str, type[Clamp]] = {
    "previous_token": PreviousToken,
    "no_previous_token": NoPreviousToken,
    "induction_pattern": InductionPattern,
    "match": Match,
    "labels_only": LabelsOnly,
    "temperature": Temperature,
    "copied_items": CopiedItems,
    "copied_labels": CopiedLabels,
}


@setting
class Clamped(Wrapped):
    """A network that trains, and answers, with some of its activations clamped.

    What its clamps compute with a network's own activations, gradients flow through, too.

    Its measures `unclamped_error` and `unclamped_cross_entropy` are of what it answers without, on the same sequences.

    Attributes:
      network: one that takes clamps.
      clamps: what is clamped, in the order of layers, and of two clamps of one activation the later as it is given.
    """

    clamps: tuple[Clamp, ...] = (PreviousToken(),)

    def check(self) -> None:
        self.network.check()
        require_clamps(self.network, "Clamped")
        if not self.clamps:
            raise ValueError("Clamped has no clamps; give it at least one, as in (PreviousToken(layer=0),).")
        for clamp in self.clamps:
            clamp.check()

    def apply(
        self, params: Params, batch: Batch, *, record: bool = False, clamps: Clamps | None = None, **how: Any
    ) -> Outputs:
        """What the network answers; record: its own under the clamps, and "unclamped", the answers without any.

        Args:
          clamps: more of them, which win over its own.
        """
        pairs: dict[str, tuple[Array, Array]] = {}
        for clamp in sorted(self.clamps, key=lambda clamp: (isinstance(clamp, CopiedLabels), clamp.layer)):
            before = dict(pairs)

            def told(more: Clamps, before: Clamps = before) -> Mapping[str, Array]:
                return run(self.network, params, batch, _joined(before, more), **how).record

            pairs = _joined(pairs, clamp.pairs(told, batch))
        outputs = run(self.network, params, batch, _joined(pairs, clamps or {}), **how)
        if not record:
            return Outputs(values=outputs.values)
        free = self.network.apply(params, batch, **how).values
        return Outputs(values=outputs.values, record={**outputs.record, "unclamped": free})

    def report(self, outputs: Outputs, batch: Batch) -> Mapping[str, Array]:
        told = dict(self.network.report(outputs, batch))
        free = outputs.record["unclamped"]
        told["unclamped_error"] = error(free, batch)
        if free.ndim == 2 and batch.num_classes:
            log_p_BC = jax.nn.log_softmax(free)
            told["unclamped_cross_entropy"] = -jnp.take_along_axis(log_p_BC, batch.targets[:, -1:], axis=1)[:, 0]
        return told


def _joined(first: Clamps, second: Clamps) -> dict[str, tuple[Any, Any]]:
    """Both clamps in one; where they overwrite the same, it is by the second."""
    joined = dict(first)
    for name, (cache, mask) in second.items():
        if name in joined:
            other, where = joined[name]
            cache, mask = jnp.where(mask, cache, other), jnp.asarray(where) | mask
        joined[name] = (cache, mask)
    return joined


def _sizes(told: Callable[[Clamps], Mapping[str, Array]], layer: int, batch: Batch) -> tuple[int, int]:
    """How many heads a layer has, and how many tokens there are."""
    shapes = jax.eval_shape(lambda: told({}))
    if f"attention/{layer}" not in shapes:
        count = sum(name.startswith("attention/") for name in shapes)
        raise ValueError(f"A clamp is of layer {layer}; the network has {count} layers, counted from 0.")
    _, H, T, _ = shapes[f"attention/{layer}"].shape
    if T != 2 * batch.targets.shape[1] - 1:
        raise ValueError(
            f"Clamps are of tokens that are items and labels in turn, here {2 * batch.targets.shape[1] - 1}, and the "
            f"network makes {T}."
        )
    return H, T


def _require_head(clamp: Any, head: int, H: int) -> None:
    if head >= H:
        raise ValueError(
            f"{type(clamp).__name__} clamps head {head} of layer {clamp.layer}, which has {H} heads, counted from 0."
        )


def _rows(rows: str, T: int) -> Array:
    return (jnp.arange(T) % 2 == 1) | (rows == _ALL)


def _query(T: int) -> Array:
    """The last token as one that looks, `[1, 1, T, 1]`."""
    return (jnp.arange(T) == T - 1)[None, None, :, None]


def _check_strength(clamp: Any) -> None:
    if not 0 <= clamp.strength <= 1:
        raise ValueError(f"The strength of {type(clamp).__name__} is {clamp.strength}; it must be between 0 and 1.")


def _check_temperature(clamp: Any) -> None:
    if not clamp.temperature > 0:
        raise ValueError(f"The temperature of {type(clamp).__name__} is {clamp.temperature}; it must be positive.")
