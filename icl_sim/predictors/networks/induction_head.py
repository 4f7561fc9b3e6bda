"""The minimal induction head of Reddy 2023 (arXiv 2312.03002): two attention maps of three numbers, and a classifier.

On tokens x_1, ..., x_T, item and label vectors alone, layer 1 looks back by position and layer 2 by content:

    u_j = x_j + sum_{i <= j} a1_ij x_i,     a1_ij = softmax_i(beta1 [i = j - 1]),
    v   = u_T + sum_{i <= T} a2_i u_i,      a2_i = softmax_i(alpha <x_T, u_i> + beta2 [i is a label]),

T the query. v goes through the classifier of `InductionNetwork`. Values pass through, residual as in the full network;
how the paper adds what layers mix is a reconstruction.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from icl_sim.predictors.networks.classifier import classified, classifier
from icl_sim.predictors.networks.tokens import interleave
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Phase, Predictor, setting, static

PARTS = ("beta1", "alpha", "beta2")


@setting
class InductionHead(Predictor):
    """The induction head of three numbers, at first 0, so that attention is even.

    That is a saddle: where noise turns beta1 and alpha below 0 before they have grown, the head never forms.

    Record: "attention/0" `[B, 1, T, T]` and "attention/1" `[B, 1, 1, T]`, as of `InductionNetwork`. `account` tells the
    three numbers as "beta1", "alpha" and "beta2".

    Attributes:
      gain: the three are so many times what trains, and learn so much faster by Adam, whose steps are of one size.
      beta2: whether there is one; otherwise it is 0, the model of two numbers.
      hidden: widths of the classifier's ReLU layers.
    """

    gain: Leaf = 1.0
    beta2: bool = static(True)
    hidden: tuple[int, ...] = static((128, 128, 128))

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase(trains=("head", "classifier")),)

    def check(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"The induction head's hidden widths are {self.hidden}; each must be at least 1.")
        if not 0 < self.gain < math.inf:
            raise ValueError(f"The induction head's gain is {self.gain}; it must be positive and finite.")

    def init(self, key: Key, batch: Batch) -> Params:
        """The three numbers 0, the classifier as in `InductionNetwork`, label vectors N(0, 1/D), which stay so."""
        _refuse(batch)
        D, C = batch.inputs.shape[-1], batch.num_classes
        key_classifier, key_labels = jax.random.split(key)
        return {
            "head": {name: jnp.zeros(()) for name in (PARTS if self.beta2 else PARTS[:2])},
            "classifier": classifier(key_classifier, (D, *self.hidden, C)),
            "labels": {"vectors": jax.random.normal(key_labels, (C, D)) / math.sqrt(D)},
        }

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        _refuse(batch)
        x_BTD = interleave(batch.inputs, params["labels"]["vectors"][batch.targets[:, :-1]])
        beta1, alpha, beta2 = (self.gain * params["head"].get(name, 0.0) for name in PARTS)
        T = x_BTD.shape[1]
        before_TT = beta1 * jnp.eye(T, k=-1)
        first_TT = jax.nn.softmax(jnp.where(jnp.tri(T, dtype=bool), before_TT, -jnp.inf))
        u_BTD = x_BTD + jnp.einsum("TS,BSD->BTD", first_TT, x_BTD)
        is_label_T = jnp.arange(T) % 2 == 1
        logits_BT = alpha * jnp.einsum("BD,BTD->BT", x_BTD[:, -1], u_BTD) + (beta2 * is_label_T)[None]
        second_BT = jax.nn.softmax(logits_BT)
        v_BD = u_BTD[:, -1] + jnp.einsum("BT,BTD->BD", second_BT, u_BTD)
        first_B1TT = jnp.broadcast_to(first_TT, (len(x_BTD), 1, T, T))
        kept = {"attention/0": first_B1TT, "attention/1": second_BT[:, None, None]}
        return Outputs(values=classified(params["classifier"], v_BD), record=kept if record else {})

    def account(self, params: Params) -> dict[str, Array]:
        return {name: self.gain * number for name, number in params["head"].items()}


def _refuse(batch: Batch) -> None:
    if not batch.num_classes or batch.weights is not None or batch.inputs.ndim != 3:
        raise ValueError(
            "The induction head answers the query of sequences of vectors [B, S, X] with a class, but the batch has "
            f"inputs {list(batch.inputs.shape)} and num_classes={batch.num_classes}"
            + (", and asks every slot." if batch.weights is not None else ".")
        )
