"""Probes: what a trained network knows inside, layer by layer (Akyurek et al. 2023, section 5).

A probe reads one residual stream h, `[T, D]`, and says what a learner would have computed from the first n pairs. Its
attention over tokens, alpha = softmax(s), is learned and the same for every prompt:

    v = FF( sum_t alpha_t W h_t ),

with FF affine, or affine, GELU, affine. Each layer, target and n has a probe of its own, and none moves the network.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim import names
from icl_sim.predictors.learners.least_squares import weights
from icl_sim.predictors.networks.transformer import Transformer
from icl_sim.types import Array, Batch, Key, Outputs, Params, Phase, Predictor, setting, static

TARGETS = ("moment", "mean_moment", "weights", "w")
HEADS = ("linear", "mlp")


@setting
class Probed(Predictor):
    """A network and the probes of its residual streams; it answers what the network does.

    Training is first that of the network, then that of the probes on what the predictor is evaluated on, by the sum of
    all their squared errors. So probes of a network trained on a task of its own tell what it computes on the ordinary
    one, as the paper's control does, w fixed in training. A network without training is probed throughout.

    Its measures, for every layer l from 0, the tokens themselves:
    - `probe_moment_error/l`: squared error, mean over coordinates and prefixes;
    - `probe_moment_error/l/n`: that of each prefix, if `by_prefix`;
    - `probe_moment_attention_y/l`: the attention to the token that holds y_n, mean over prefixes.

    Attributes:
      network: a predictor that records "residual/0" to "residual/L", each `[B, T, D]`.
      targets: what probes say after n pairs: "moment", X^T y; "mean_moment", X^T y / n; "weights", the least squares
        fit of minimal norm; "w", the true weights, from `latents`.
      prefixes: the numbers n of pairs, each with probes of its own; empty for 1 to L.
      head: FF, "linear" or "mlp".
      hidden: width of W h and of the hidden layer. The paper has 512.
      network_share: the share of training that is the network's.
      by_prefix: whether to measure every prefix by itself, too.
    """

    network: Predictor = Transformer()
    targets: tuple[str, ...] = static(("moment", "weights"))
    prefixes: tuple[int, ...] = static(())
    head: str = static("mlp")
    hidden: int = static(128)
    network_share: float = static(0.5)
    by_prefix: bool = static(False)

    @property
    def phases(self) -> tuple[Phase, ...]:
        share = self.network_share if self.network.phases else 0.0
        probing = Phase(share=1 - share, trains=("probes",), scores=("probe_loss",), on_evaluated=True)
        return (Phase(share=share, trains=("network",)), probing) if share else (probing,)

    def check(self) -> None:
        self.network.check()
        if self.network.online or self.network.phases not in ((), (Phase(),)):
            raise ValueError(
                f"Probed trains its network in one phase by gradients, and {type(self.network).__name__} is trained "
                "otherwise."
            )
        for target in self.targets:
            names.require("A target of the probes", target, TARGETS)
        names.require("The head of the probes", self.head, HEADS)
        for name, given in (("targets", self.targets), ("prefixes", self.prefixes)):
            if len(set(given)) < len(given):
                raise ValueError(f"The {name} of the probes are {given}; none may be given twice.")
        if not self.targets:
            raise ValueError("The probes have no targets; name at least one.")
        if any(n < 1 for n in self.prefixes):
            raise ValueError(f"The prefixes of the probes are {self.prefixes}; each must be at least 1 pair.")
        if self.hidden < 1:
            raise ValueError(f"The width hidden of the probes is {self.hidden}; it must be at least 1.")
        if not 0 < self.network_share < 1:
            raise ValueError(
                f"network_share is {self.network_share}; it must lie between 0 and 1, ends excluded: both the network "
                "and the probes must be trained."
            )

    def init(self, key: Key, batch: Batch) -> Params:
        network, value, up, out = jax.random.split(key, 4)
        params = self.network.init(network, batch)
        told = jax.eval_shape(lambda: streams(self.network.apply(params, batch, record=True).record))
        R, _, T, D = told.shape
        Q, F = len(self.targets) * len(self._prefixes(batch)), self.hidden
        probes = {
            "attention": jnp.zeros((R, Q, T), jnp.float32),
            "value": {"kernel": _kernels(value, R, Q, D, F)},
            "out": _layers(out, R, Q, F, batch.inputs.shape[-1]),
        }
        if self.head == "mlp":
            probes["up"] = _layers(up, R, Q, F, F)
        return {"network": params, "probes": probes}

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        answer = self.network.apply(params["network"], batch, record=record)
        if not record:
            return answer
        # Axes: R layers, Q probes of a layer, one for each target and prefix, targets first.
        residual_RBTD = jax.lax.stop_gradient(streams(answer.record))
        alpha_RQT, said_RBQX = _read(params["probes"], residual_RBTD)
        true_BQX = jnp.concatenate([self._true(target, batch) for target in self.targets], axis=1)
        error_RBQ = jnp.mean(jnp.square(said_RBQX - true_BQX[None]), axis=-1)
        kept = {
            "probe_loss": jnp.sum(error_RBQ, axis=(0, 2)),
            "probe_errors": jnp.swapaxes(error_RBQ, 0, 1),
            "probe_attention": alpha_RQT,
            **{f"probe/{layer}": said_BQX for layer, said_BQX in enumerate(said_RBQX)},
        }
        return Outputs(values=answer.values, record={**answer.record, **kept})

    def account(self, params: Params) -> Mapping[str, Array]:
        return self.network.account(params["network"])

    def report(self, outputs: Outputs, batch: Batch) -> Mapping[str, Array]:
        told = dict(self.network.report(outputs, batch))
        pairs = self._prefixes(batch)
        shape = (len(self.targets), len(pairs))
        error_BRQ, alpha_RQT = outputs.record["probe_errors"], outputs.record["probe_attention"]
        B, R, _ = error_BRQ.shape
        error_BRVN = jnp.reshape(error_BRQ, (B, R, *shape))
        token_N = y_tokens(pairs, batch.inputs.shape[1], alpha_RQT.shape[-1])
        alpha_RVNT = jnp.reshape(alpha_RQT, (R, *shape, -1))
        attention_RV = jnp.mean(alpha_RVNT[:, :, jnp.arange(len(pairs)), token_N], axis=-1)
        for v, target in enumerate(self.targets):
            for layer in range(R):
                told[f"probe_{target}_error/{layer}"] = jnp.mean(error_BRVN[:, layer, v], axis=-1)
                told[f"probe_{target}_attention_y/{layer}"] = jnp.full(B, attention_RV[layer, v])
                if self.by_prefix:
                    for number, n in enumerate(pairs):
                        told[f"probe_{target}_error/{layer}/{n}"] = error_BRVN[:, layer, v, number]
        return told

    def _prefixes(self, batch: Batch) -> tuple[int, ...]:
        L = batch.inputs.shape[1] - 1
        if any(n > L for n in self.prefixes):
            raise ValueError(f"The prefixes of the probes are {self.prefixes}, but a prompt has {L} pairs.")
        return self.prefixes or tuple(range(1, L + 1))

    def _true(self, target: str, batch: Batch) -> Array:
        """What the probes of this target should say, `[B, N, X]`."""
        if batch.num_classes or batch.inputs.ndim != 3:
            raise ValueError(
                f"The batch has {batch.num_classes} classes and inputs of shape {batch.inputs.shape}; probes need real "
                "targets (num_classes 0) and vectors, [B, S, d]."
            )
        n_N = jnp.array(self._prefixes(batch))
        x_BLX, y_BL = batch.inputs[:, :-1], batch.targets[:, :-1]
        if target == "w":
            if "w" not in batch.latents:
                raise ValueError("The probes' target w is no latent of the batch: its task is no linear function.")
            w_BX = batch.latents["w"]
            return jnp.broadcast_to(w_BX[:, None], (len(w_BX), len(n_N), w_BX.shape[1]))
        if target == "weights":
            return jax.vmap(weights, in_axes=(0, 0, None))(x_BLX, y_BL, 0.0)[:, n_N]
        moment_BNX = jnp.cumsum(x_BLX * y_BL[..., None], axis=1)[:, n_N - 1]
        return moment_BNX / n_N[None, :, None] if target == "mean_moment" else moment_BNX


def streams(record: Mapping[str, Array]) -> Array:
    """The residual streams of all layers, `[R, B, T, D]`.

    Raises:
      ValueError: where there are none, or of the last block the last token alone.
    """
    count = 0
    while f"residual/{count}" in record:
        count += 1
    if not count:
        raise ValueError("Probes read residual streams, and the network records none ('residual/0', ...).")
    kept = [record[f"residual/{number}"] for number in range(count)]
    if len({stream.shape for stream in kept}) > 1:
        raise ValueError(
            f"Probes read the whole residual stream of every layer, and this network's are of different shapes, "
            f"{kept[0].shape} and {kept[-1].shape}: where only the query is asked, it keeps the last token alone. Take "
            "a task that asks at every slot (with weights)."
        )
    return jnp.stack(kept)


def y_tokens(pairs: tuple[int, ...], slots: int, tokens: int) -> Array:
    """The tokens that hold y_n: x and y share a token where there is one for each slot, or have one each in turn."""
    if tokens not in (slots, 2 * slots - 1, 2 * slots):
        raise ValueError(
            f"The network makes {tokens} tokens of {slots} slots, and which of them holds y_n is known only for one or "
            "two tokens a slot."
        )
    return jnp.array([n - 1 if tokens == slots else 2 * n - 1 for n in pairs])


def _read(probes: Params, residual_RBTD: Array) -> tuple[Array, Array]:
    """The probes' attention, `[R, Q, T]`, and what they say, `[R, B, Q, X]`."""
    alpha_RQT = jax.nn.softmax(probes["attention"])
    mixed_RQBD = jnp.einsum("RQT,RBTD->RQBD", alpha_RQT, residual_RBTD)  # before W, which does not mind
    hidden_RQBF = jnp.einsum("RQBD,RQDF->RQBF", mixed_RQBD, probes["value"]["kernel"])
    if "up" in probes:
        hidden_RQBF = jax.nn.gelu(_affine(probes["up"], hidden_RQBF))
    return alpha_RQT, jnp.swapaxes(_affine(probes["out"], hidden_RQBF), 1, 2)


def _affine(layer: Params, hidden_RQBF: Array) -> Array:
    return jnp.einsum("RQBF,RQFX->RQBX", hidden_RQBF, layer["kernel"]) + layer["bias"][:, :, None]


def _layers(key: Key, R: int, Q: int, inputs: int, outputs: int) -> Params:
    return {"kernel": _kernels(key, R, Q, inputs, outputs), "bias": jnp.zeros((R, Q, outputs), jnp.float32)}


def _kernels(key: Key, R: int, Q: int, inputs: int, outputs: int) -> Array:
    """Kernels of all probes, of variance 1 / inputs."""
    return jax.nn.initializers.lecun_normal(batch_axis=(0, 1))(key, (R, Q, inputs, outputs), jnp.float32)
