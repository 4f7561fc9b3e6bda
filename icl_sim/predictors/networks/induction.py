"""The two attention layers of Reddy 2023 (arXiv 2312.03002), which are what an induction head takes and little more.

Tokens are [position one-hot | item or label vector], W = P + D numbers, P positions being T tokens and the batch's
largest offset; and with one head of its own width, without scale, bias or norm, layer l is

    x_j <- x_j + V_l sum_{i <= j} a_ij x_i,        a_ij = softmax_i(<K_l x_i, Q_l x_j>).

The query's token goes through ReLU layers and a linear one, without bias, to the labels. Label vectors are random and
stay so.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from icl_sim.predictors.networks.classifier import classified, classifier
from icl_sim.predictors.networks.intermediates import Clamps, Intermediates
from icl_sim.predictors.networks.tokens import interleave
from icl_sim.types import Array, Batch, Key, Outputs, Params, Phase, Predictor, setting, static

LAYERS = 2


@setting
class InductionNetwork(Predictor):
    """Two single-head attention layers and a classifier on the query (Reddy 2023, section 3).

    Record: "attention/0" `[B, 1, T, T]`, from tokens (second axis) to tokens, and "attention/1" `[B, 1, 1, T]`, of the
    query.

    Attributes:
      hidden: widths of the classifier's ReLU layers.
    """

    hidden: tuple[int, ...] = static((128, 128, 128))

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase(trains=("attention", "classifier")),)

    def check(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"The induction network's hidden widths are {self.hidden}; each must be at least 1.")

    def init(self, key: Key, batch: Batch) -> Params:
        """Attention N(0, 1/D), ReLU layers N(0, 2/inputs), the last layer N(0, 1/inputs), label vectors N(0, 1/D)."""
        self._refuse(batch)
        (_, S, D), C = batch.inputs.shape, batch.num_classes
        width = 2 * S - 1 + batch.max_offset + D
        key_attention, key_classifier, key_labels = jax.random.split(key, 3)
        names = [f"{part}{layer}" for layer in range(LAYERS) for part in ("key", "query", "value")]
        keys = jax.random.split(key_attention, len(names))
        drawn = jax.vmap(lambda one: jax.random.normal(one, (width, width)))(keys) / math.sqrt(D)
        attention = dict(zip(names, drawn, strict=True))
        layers = classifier(key_classifier, (width, *self.hidden, C))
        labels_CD = jax.random.normal(key_labels, (C, D)) / math.sqrt(D)
        return {"attention": attention, "classifier": layers, "labels": {"vectors": labels_CD}}

    def apply(self, params: Params, batch: Batch, *, record: bool = False, clamps: Clamps | None = None) -> Outputs:
        """Predicts the query.

        Args:
          clamps: intermediates to overwrite, as those of a transformer (`Transformer.apply`): "residual/0" `[B, T, W]`
            and, after layer l, "residual/l+1"; "queries/l", "keys/l" and "values/l" `[B, 1, T, W]`, "scores/l" and
            "attention/l" `[B, 1, T, T]` and "heads/l" `[B, 1, T, W]`; "logits" `[B, C]`. With clamps, and be it none
            (`{}`), a record holds them all, of all tokens.
        """
        self._refuse(batch)
        x_BTW = self._tokens(params, batch)
        if clamps is not None:
            return self._step_by_step(params, x_BTW, clamps, record)
        seen_TT = jnp.tri(x_BTW.shape[1], dtype=bool)
        added_BTW, first_BTT = _attended(params["attention"], 0, x_BTW, x_BTW, seen_TT)
        x_BTW = x_BTW + added_BTW
        added_B1W, second_B1T = _attended(params["attention"], 1, x_BTW, x_BTW[:, -1:], None)
        values_BC = classified(params["classifier"], (x_BTW[:, -1:] + added_B1W)[:, 0])
        kept = {"attention/0": first_BTT[:, None], "attention/1": second_B1T[:, None]}
        return Outputs(values=values_BC, record=kept if record else {})

    def _step_by_step(self, params: Params, x_BTW: Array, clamps: Clamps, record: bool) -> Outputs:
        """The answer, each intermediate made for itself and shown to the clamps on the way."""
        seen, seen_TT = Intermediates(clamps), jnp.tri(x_BTW.shape[1], dtype=bool)
        x_BTW = seen("residual/0", x_BTW)
        for layer in range(LAYERS):
            q_BHTW, k_BHTW, v_BHTW = (
                seen(f"{name}/{layer}", (x_BTW @ params["attention"][f"{part}{layer}"])[:, None])
                for name, part in (("queries", "query"), ("keys", "key"), ("values", "value"))
            )
            score_BHTT = seen(f"scores/{layer}", jnp.einsum("BHQW,BHTW->BHQT", q_BHTW, k_BHTW))
            score_BHTT = jnp.where(seen_TT[None, None], score_BHTT, -jnp.inf)
            map_BHTT = seen(f"attention/{layer}", jax.nn.softmax(score_BHTT))
            mix_BHTW = seen(f"heads/{layer}", jnp.einsum("BHQT,BHTW->BHQW", map_BHTT, v_BHTW))
            x_BTW = seen(f"residual/{layer + 1}", x_BTW + mix_BHTW[:, 0])
        values_BC = seen("logits", classified(params["classifier"], x_BTW[:, -1]))
        seen.check()
        return Outputs(values=values_BC, record=seen.record if record else {})

    def _tokens(self, params: Params, batch: Batch) -> Array:
        label_BLD = params["labels"]["vectors"][batch.targets[:, :-1]]
        content_BTD = interleave(batch.inputs, label_BLD)
        B, T, _ = content_BTD.shape
        position_BT = jnp.broadcast_to(jnp.arange(T)[None], (B, T))
        if batch.first_position is not None:
            position_BT = position_BT + batch.first_position[:, None]
        position_BTP = jax.nn.one_hot(position_BT, T + batch.max_offset, dtype=content_BTD.dtype)
        return jnp.concatenate([position_BTP, content_BTD], axis=-1)

    def _refuse(self, batch: Batch) -> None:
        if not batch.num_classes or batch.weights is not None or batch.inputs.ndim != 3:
            raise ValueError(
                "The induction network answers the query of sequences of vectors [B, S, X] with a class, but the batch "
                f"has inputs {list(batch.inputs.shape)} and num_classes={batch.num_classes}"
                + (", and asks every slot." if batch.weights is not None else ".")
            )


def _attended(
    params: Params, layer: int, x_BTW: Array, asking_BQW: Array, seen_QT: Array | None
) -> tuple[Array, Array]:
    """What a layer adds to the tokens that ask, `[B, Q, W]`, and its map, `[B, Q, T]`."""
    # <K x_i, Q x_j> as <x_i, K^T Q x_j>: of the two products only the one with the fewer tokens is taken twice.
    asked_BQW = (asking_BQW @ params[f"query{layer}"]) @ params[f"key{layer}"].T
    logits_BQT = jnp.einsum("BQW,BTW->BQT", asked_BQW, x_BTW)
    if seen_QT is not None:
        logits_BQT = jnp.where(seen_QT[None], logits_BQT, -jnp.inf)
    map_BQT = jax.nn.softmax(logits_BQT)
    return jnp.einsum("BQT,BTW->BQW", map_BQT, x_BTW) @ params[f"value{layer}"], map_BQT
