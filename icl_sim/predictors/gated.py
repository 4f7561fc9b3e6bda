"""The gated mixture of an in-weight and an in-context predictor."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim import names
from icl_sim.predictors.in_weight import InWeightMLP, mlp
from icl_sim.predictors.learners.kernel_copy import KernelCopy
from icl_sim.predictors.networks.encoder import Encoder, encode, features, with_encoder
from icl_sim.predictors.networks.seam import Functional
from icl_sim.types import (
    SUPPORT,
    Array,
    Batch,
    Key,
    Leaf,
    Outputs,
    Params,
    Phase,
    Predictor,
    setting,
    static,
)

PROTOCOLS = ("end_to_end", "two_phase", "simultaneous")
PARTS = ("in_weight", "in_context")
SEEN = ("sequence", "query")


@setting
class Gated(Predictor):
    """p = a g(x) + (1 - a) h(context, x) with a gate a = sigmoid(MLP(inputs)) (Chan et al. 2025, section 3).

    The gate sees the inputs of the context and of the query, or of the query alone, and no label. Training is end
    to end; or in two phases: first g and h, each on its own loss, then the gate over the parts so trained, which no
    longer move; or simultaneous, as in Algorithm 1 of the paper: in every step g and h on their own losses l(g) and
    l(h), and the gate a on a l(g) + (1 - a) l(h).

    Attributes:
      in_weight: g.
      in_context: h.
      hidden: widths of the gate's hidden layers.
      gate_sees: "sequence", or "query": then it cannot know whether the context is relevant, as in the paper's theory.
      protocol: "end_to_end", "two_phase" or "simultaneous".
      parts_share: the share of training steps that trains the parts, in two phases.
      floor: of the probabilities of the mixture.
      encoder: the gate's own, for images; without one, inputs are flattened.
    """

    in_weight: Predictor = InWeightMLP()
    in_context: Predictor = KernelCopy()
    hidden: tuple[int, ...] = static((64, 64))
    gate_sees: str = static("sequence")
    protocol: str = static("end_to_end")
    parts_share: float = static(0.5)
    floor: Leaf = 1e-8
    encoder: Encoder | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        if self.protocol == "end_to_end":
            return (Phase(),)
        if self.protocol == "simultaneous":
            return (Phase(scores=(*PARTS, "linear")),)
        return (
            Phase(share=self.parts_share, trains=PARTS, scores=PARTS),
            Phase(share=1 - self.parts_share, trains=("gate",)),
        )

    def check(self) -> None:
        names.require("The gated mixture's protocol", self.protocol, PROTOCOLS)
        names.require("What the gated mixture's gate_sees", self.gate_sees, SEEN)
        if self.protocol == "two_phase" and not 0 < self.parts_share < 1:
            raise ValueError(
                f"parts_share is {self.parts_share}; it must lie between 0 and 1, ends excluded: the gate "
                "must not be trained over untrained parts, and must itself be trained."
            )
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"The gate's hidden widths are {self.hidden}; each must be at least 1.")
        if not 0 < self.floor < 1:
            raise ValueError(f"The mixture's floor is {self.floor}; it must lie between 0 and 1, ends excluded.")
        for part in (self.in_weight, self.in_context, self.encoder):
            if part is not None:
                part.check()

    def _gate(self, batch: Batch) -> Functional:
        slots, *shape = batch.inputs.shape[1:]
        slots = slots if self.gate_sees == "sequence" else 1
        return mlp(slots * features(self.encoder, tuple(shape)), *self.hidden, 1)

    def init(self, key: Key, batch: Batch) -> Params:
        in_weight, in_context, gate, encoder = jax.random.split(key, 4)
        gate_params = self._gate(batch).init(gate)
        return {
            "in_weight": self.in_weight.init(in_weight, batch),
            "in_context": self.in_context.init(in_context, batch),
            "gate": with_encoder(self.encoder, gate_params, encoder, batch.inputs.shape[2:]),
        }

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        g_BC = jax.nn.log_softmax(self.in_weight.apply(params["in_weight"], batch).values)
        h_BC = jax.nn.log_softmax(self.in_context.apply(params["in_context"], batch).values)
        seen = batch.inputs if self.gate_sees == "sequence" else batch.inputs[:, -1:]
        x_BSE = encode(self.encoder, params["gate"], seen)
        x_BI = jnp.reshape(x_BSE, (x_BSE.shape[0], -1))
        gate_B = jax.nn.sigmoid(self._gate(batch).apply(params["gate"], x_BI)[:, 0])
        p_BC = gate_B[:, None] * jnp.exp(g_BC) + (1 - gate_B)[:, None] * jnp.exp(h_BC)
        values = jnp.log(jnp.maximum(p_BC, self.floor))
        kept = {"gate": gate_B, "in_weight": g_BC, "in_context": h_BC}
        if self.protocol == "simultaneous":  # the loss that is linear in the gate and leaves its parts where they are
            fixed_g_BC, fixed_h_BC = jax.lax.stop_gradient((g_BC, h_BC))
            kept["linear"] = gate_B[:, None] * fixed_g_BC + (1 - gate_B[:, None]) * fixed_h_BC
        return Outputs(values=values, record=kept if record else {})

    def report(self, outputs: Outputs, batch: Batch) -> Mapping[str, Array]:
        return gate_measures(outputs, batch)


def gate_measures(outputs: Outputs, batch: Batch) -> Mapping[str, Array]:
    """Measures of a mixture's gate and parts, each `[B]`, from its record (gate, in_weight, in_context).

    gate_mean is the weight of g; gate_share whether it is at least one half; gate_share_matched the same,
    NaN where the context does not hold the answer. The errors of the parts are of their most probable
    class, where the paper's code draws a class from their distribution.
    """
    gate_B, target_B = outputs.record["gate"], batch.targets[:, -1]
    share_B = (gate_B >= 0.5).astype(jnp.float32)
    matched_B = jnp.any(batch.kinds == SUPPORT, axis=1)
    errors = {
        f"{part}_error": (jnp.argmax(outputs.record[part], axis=-1) != target_B).astype(jnp.float32) for part in PARTS
    }
    return {
        "gate_mean": gate_B,
        "gate_share": share_B,
        "gate_share_matched": jnp.where(matched_B, share_B, jnp.nan),
        **errors,
    }


def with_parts(initial: Params, in_weight: Params, in_context: Params | None) -> Params:
    """Parameters of a gated mixture whose parts were trained elsewhere, for training only the gate over them.

    The released code of the paper silently trains the gate over random parts when it does not find trained
    ones; here parts that equal their initialisation are refused. Call it on concrete parameters, outside of
    jit.

    Args:
      initial: what `Gated.init` returned.
      in_weight: trained parameters of g.
      in_context: trained parameters of h. None keeps the initial ones, which is right where h has nothing to
        learn: its temperature has no gradient with one pair in the context.

    Raises:
      ValueError: where a part has other shapes, or is untrained.
    """
    trained = {"in_weight": in_weight}
    if in_context is not None:
        trained["in_context"] = in_context
    for name, params in trained.items():
        _require_trained(name, initial[name], params)
    return {**initial, **trained}


def _require_trained(name: str, initial: Params, trained: Params) -> None:
    before, after = jax.tree.leaves(initial), jax.tree.leaves(trained)
    same_keys = jax.tree.structure(initial) == jax.tree.structure(trained)
    if not same_keys or any(np.shape(x) != np.shape(y) for x, y in zip(before, after, strict=True)):
        raise ValueError(f"The parameters given for {name} do not have the shapes of the mixture's own {name}.")
    if before and all(np.array_equal(x, y) for x, y in zip(before, after, strict=True)):
        raise ValueError(
            f"The parameters given for {name} equal their initialisation, and the gate must not be trained "
            "over untrained parts. Train them first (protocol='two_phase' does both)."
        )
