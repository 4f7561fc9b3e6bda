"""Probes of networks whose insides the tests know: what they say, what they find, and when they are trained."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from icl_sim.engine.simulate import simulate
from icl_sim.metrics import linear_probe
from icl_sim.predictors import KernelCopy, Probed
from icl_sim.predictors.probed import y_tokens
from icl_sim.types import CONTEXT, QUERY, Batch, Leaf, Outputs, Phase, Predictor, Task, setting, static
from tests.engine.toys import group, member

L, D = 3, 2  # pairs of a prompt, coordinates of an input


@setting
class Linear(Task):
    """y = w.x + offset with w ~ N(mean, spread^2 I), every slot asked."""

    mean: Leaf = 0.0
    spread: Leaf = 1.0
    offset: Leaf = 0.0
    every: bool = static(True)

    def sample(self, key, batch_size):
        inputs, law, blur = jax.random.split(key, 3)
        x_BSX = jax.random.normal(inputs, (batch_size, L + 1, D))
        w_BX = self.mean + self.spread * jax.random.normal(law, (batch_size, D))
        y_BS = jnp.sum(x_BSX * w_BX[:, None], axis=-1) + self.offset
        kinds_BS = jnp.tile(jnp.asarray([[CONTEXT] * L + [QUERY]], jnp.int8), (batch_size, 1))
        weights_BS = jnp.ones(y_BS.shape) if self.every else None
        latents = {"w": w_BX, "blur": jax.random.normal(blur, (batch_size, 2 * L + 1, D))}
        return Batch(inputs=x_BSX, targets=y_BS, kinds=kinds_BS, latents=latents, weights=weights_BS)


@setting
class Holds(Predictor):
    """A network of two streams: zeros, and one that holds X_{1:n}^T Y_{1:n} at the token of y_n, and noise elsewhere.

    It answers its one parameter, trained unless not `trains`.
    """

    noise: Leaf = 0.0
    trains: bool = static(True)
    tokens: str = static("interleaved")
    last_only: bool = static(False)

    @property
    def phases(self):
        return (Phase(),) if self.trains else ()

    def init(self, key, batch):
        return {"level": jnp.zeros(())}

    def account(self, params):
        return {"level": params["level"]}

    def report(self, outputs, batch):
        return {"own": outputs.values[:, 0]}

    def apply(self, params, batch, *, record=False):
        B, S, _ = batch.inputs.shape
        values_BS = params["level"] + jnp.zeros((B, S))
        if not record:
            return Outputs(values=values_BS)
        moment_BLX = jnp.cumsum(batch.inputs * batch.targets[..., None], axis=1)[:, :-1]
        pairs_BTX = moment_BLX
        if self.tokens == "interleaved":
            pairs_BTX = jnp.reshape(jnp.stack([batch.inputs[:, :-1], moment_BLX], axis=2), (B, 2 * L, D))
        told_BTX = jnp.concatenate([pairs_BTX, batch.inputs[:, -1:]], axis=1)
        blur_BTX = self.noise * batch.latents["blur"][:, : told_BTX.shape[1]]
        kept = {"residual/0": jnp.zeros_like(told_BTX), "residual/1": told_BTX + blur_BTX + params["level"]}
        if self.last_only:
            kept["residual/1"] = kept["residual/1"][:, -1:]
        return Outputs(values=values_BS, record=kept)


# Compiled once for all tests.
sample = jax.jit(Linear().sample, static_argnums=1)
init = jax.jit(lambda probed, key, batch: probed.init(key, batch))
apply = jax.jit(lambda probed, params, batch: probed.apply(params, batch, record=True))
report = jax.jit(lambda probed, outputs, batch: probed.report(outputs, batch))


def truth(target, batch):
    """In numpy, `[B, N, X]`."""
    x, y = (np.asarray(part, np.float64) for part in (batch.inputs, batch.targets))
    by_prefix = {
        "moment": lambda b, n: x[b, :n].T @ y[b, :n],
        "mean_moment": lambda b, n: x[b, :n].T @ y[b, :n] / n,
        "weights": lambda b, n: np.linalg.pinv(x[b, :n]) @ y[b, :n],
        "w": lambda b, n: np.asarray(batch.latents["w"][b], np.float64),
    }[target]
    return np.array([[by_prefix(b, n) for n in range(1, L + 1)] for b in range(len(x))])


def train_probes(probed, steps, rate=0.02, size=64):
    """Parameters after Adam on the probes' loss, the network left as it starts; with the loss of fresh sequences."""
    params = init(probed, jax.random.key(3), sample(jax.random.key(4), 2))
    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def loss(probes, batch):
        outputs = probed.apply({**params, "probes": probes}, batch, record=True)
        return jnp.mean(outputs.record["probe_loss"])

    @jax.jit
    def run(probes):
        def update(step, carry):
            probes, moments = carry
            batch = Linear().sample(jax.random.fold_in(jax.random.key(5), step), size)
            direction, moments = adam.update(jax.grad(loss)(probes, batch), moments)
            return optax.apply_updates(probes, direction), moments

        return jax.lax.fori_loop(0, steps, update, (probes, adam.init(probes)))[0]

    return {**params, "probes": run(params["probes"])}


def measured(probed, params, sequences=2000):
    batch = sample(jax.random.key(6), sequences)
    told = report(probed, apply(probed, params, batch), batch)
    return batch, {name: float(np.mean(value)) for name, value in told.items()}


# ------------------------------------------------------------------------------- what they say


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_is_the_formula_for_every_layer_target_and_prefix(head, random_params):
    probed = Probed(network=Holds(), targets=("moment", "w"), prefixes=(2, 3), head=head, hidden=5, by_prefix=True)
    batch = sample(jax.random.key(0), 4)
    params = random_params(probed.init, batch)
    outputs = apply(probed, params, batch)
    told = report(probed, outputs, batch)
    probes = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["probes"])
    total_B = np.zeros(4)
    for layer in range(2):
        h_BTD = np.asarray(outputs.record[f"residual/{layer}"], np.float64)
        for v, target in enumerate(("moment", "w")):
            errors, attention = [], []
            for number, n in enumerate((2, 3)):
                at = layer, 2 * v + number
                alpha_T = np.exp(probes["attention"][at]) / np.exp(probes["attention"][at]).sum()
                said_BX = sum(alpha_T[t] * h_BTD[:, t] @ probes["value"]["kernel"][at] for t in range(2 * L + 1))
                if head == "mlp":
                    said_BX = said_BX @ probes["up"]["kernel"][at] + probes["up"]["bias"][at]
                    said_BX = np.asarray(jax.nn.gelu(jnp.asarray(said_BX)), np.float64)
                said_BX = said_BX @ probes["out"]["kernel"][at] + probes["out"]["bias"][at]
                np.testing.assert_allclose(outputs.record[f"probe/{layer}"][:, at[1]], said_BX, rtol=1e-4, atol=1e-5)
                errors.append(np.mean((said_BX - truth(target, batch)[:, n - 1]) ** 2, axis=1))
                attention.append(alpha_T[2 * n - 1])
                np.testing.assert_allclose(told[f"probe_{target}_error/{layer}/{n}"], errors[-1], rtol=1e-3)
            np.testing.assert_allclose(told[f"probe_{target}_error/{layer}"], np.mean(errors, axis=0), rtol=1e-3)
            np.testing.assert_allclose(told[f"probe_{target}_attention_y/{layer}"], [np.mean(attention)] * 4, rtol=1e-5)
            total_B += np.sum(errors, axis=0)
    np.testing.assert_allclose(outputs.record["probe_loss"], total_B, rtol=1e-3)


def test_targets_are_what_learners_compute_from_the_pairs_before():
    """Probes that say nothing are as wrong as the targets are large."""
    probed = Probed(network=Holds(), targets=("moment", "mean_moment", "weights", "w"), by_prefix=True)
    batch = sample(jax.random.key(0), 5)
    params = init(probed, jax.random.key(1), batch)
    nothing = {**params, "probes": jax.tree.map(jnp.zeros_like, params["probes"])}
    told = report(probed, apply(probed, nothing, batch), batch)
    for target in probed.targets:
        square_BN = np.mean(truth(target, batch) ** 2, axis=-1)
        for n in range(1, L + 1):
            np.testing.assert_allclose(told[f"probe_{target}_error/0/{n}"], square_BN[:, n - 1], rtol=1e-4)
    hidden = dataclasses.replace(batch, targets=batch.targets.at[:, -1].set(jnp.nan))
    assert np.isfinite(apply(probed, nothing, hidden).record["probe_loss"]).all()


def test_answers_what_the_network_does_and_keeps_its_measures():
    probed, batch = Probed(network=Holds()), sample(jax.random.key(0), 3)
    params = {**init(probed, jax.random.key(1), batch), "network": {"level": jnp.asarray(7.0)}}
    recorded = apply(probed, params, batch)
    plain = jax.jit(probed.apply)(params, batch)
    assert not plain.record and (plain.values == 7).all() and (recorded.values == 7).all()
    assert (report(probed, recorded, batch)["own"] == 7).all()
    assert probed.account(params) == {"level": 7}


# ------------------------------------------------------------------------------- what they find


def test_find_what_is_there_and_where():
    """X^T y of n pairs stands at the token of y_n of the second stream; least squares stands nowhere.

    Of three pairs and two coordinates the moments' squares are n (n + 3) per coordinate: 4, 10 and 18.
    """
    probed = Probed(network=Holds(), targets=("moment",), head="linear", hidden=4, by_prefix=True)
    params = train_probes(probed, 1500)
    _, found = measured(probed, params)
    for n in range(1, L + 1):
        assert found[f"probe_moment_error/1/{n}"] < 0.05
        assert found[f"probe_moment_error/0/{n}"] == pytest.approx(n * (n + 3), rel=0.2)  # as without a probe
    assert found["probe_moment_attention_y/1"] > 0.8
    assert found["probe_moment_attention_y/0"] == pytest.approx(1 / (2 * L + 1), abs=1e-3)


def test_with_its_attention_at_one_token_it_is_the_probe_in_closed_form():
    """X^T y of two pairs under noise of variance 1; trained, it may look at the other tokens, too, and is no worse."""
    network = Holds(noise=1.0, tokens="concatenated")
    probed = Probed(network=network, targets=("moment",), prefixes=(2,), head="linear", hidden=D)
    params = train_probes(probed, 1500)
    fitted, held_out = (sample(jax.random.key(seed), 4000) for seed in (8, 9))

    def stream(batch):
        return apply(network, params["network"], batch).record["residual/1"][:, 1]

    kernel_XX, bias_X = linear_probe(stream(fitted), jnp.asarray(truth("moment", fitted)[:, 1], jnp.float32))
    said_BX = np.asarray(stream(held_out) @ kernel_XX + bias_X[None])
    closed = np.mean((said_BX - truth("moment", held_out)[:, 1]) ** 2)
    assert 0.6 < closed < 1  # less than the noise itself
    by_hand = {
        "attention": jnp.full((2, 1, L + 1), -50.0).at[:, :, 1].set(0.0),
        "value": {"kernel": jnp.tile(jnp.eye(D), (2, 1, 1, 1))},
        "out": {"kernel": jnp.tile(kernel_XX, (2, 1, 1, 1)), "bias": jnp.tile(bias_X, (2, 1, 1))},
    }
    found = {}
    for name, probes in (("by hand", by_hand), ("trained", params["probes"])):
        outputs = apply(probed, {**params, "probes": probes}, held_out)
        found[name] = np.mean(report(probed, outputs, held_out)["probe_moment_error/1"])
    assert found["by hand"] == pytest.approx(closed, rel=1e-4)
    assert found["trained"] < 1.03 * closed


def test_probes_do_not_move_the_network_nor_each_other():
    probed = Probed(network=Holds(), targets=("moment", "w"), head="linear", hidden=3)
    batch = sample(jax.random.key(0), 8)
    params = init(probed, jax.random.key(1), batch)

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: jnp.sum(probed.apply(p, batch, record=True).record["probe_loss"]))(params)

    before = gradient(params)
    assert before["network"]["level"] == 0
    changed = jax.tree.map(lambda leaf: leaf.at[1, 4].add(1.0), params["probes"])
    after = gradient({**params, "probes": changed})
    for old, new in zip(*(jax.tree.leaves(g["probes"]) for g in (before, after)), strict=True):
        same_RQ = np.array([[np.array_equal(old[r, q], new[r, q]) for q in range(6)] for r in range(2)])
        assert same_RQ.sum() == 11 and not same_RQ[1, 4]


def test_which_token_holds_y():
    np.testing.assert_array_equal(y_tokens((1, 3), 4, 7), [1, 5])  # x_1 y_1 x_2 y_2 x_3 y_3 x_4
    np.testing.assert_array_equal(y_tokens((1, 3), 4, 8), [1, 5])
    np.testing.assert_array_equal(y_tokens((1, 3), 4, 4), [0, 2])
    with pytest.raises(ValueError, match="makes 5 tokens of 4 slots"):
        y_tokens((1,), 4, 5)


# ------------------------------------------------------------------------------- when they are trained


def test_the_network_is_trained_first_and_its_probes_on_what_is_evaluated():
    """The control: w = 1 in training, and there y has the mean 1, which the network comes to answer.

    Probes of streams that hold nothing say the mean of w on the ordinary task, 0, and are as wrong as w varies.
    """
    control = Linear(mean=1.0, spread=0.0, offset=1.0)
    probed = Probed(network=Holds(), targets=("w",), prefixes=(1,), head="linear", hidden=2)
    training = dict(steps=600, batch_size=32, learning_rate=0.02)
    chunks = simulate(group(member(probed, control, eval_task=Linear(), sequences=400, points=2, **training)))
    last = [chunk for chunk in chunks if chunk.measures is not None][-1].measures
    assert last["parameters", "level"] == pytest.approx(1.0, abs=0.15)
    assert last["default", "probe_w_error/0"] == pytest.approx(1.0, abs=0.2)
    assert last["pretraining", "probe_w_error/0"] == pytest.approx(1.0, abs=0.2)  # 0 said, where w is 1


def test_phases():
    first, second = Probed(network=Holds(), network_share=0.8).phases
    assert first == Phase(share=0.8, trains=("network",))
    assert second.trains == ("probes",) and second.scores == ("probe_loss",) and second.on_evaluated
    assert second.share == pytest.approx(0.2)
    (only,) = Probed(network=Holds(trains=False)).phases
    assert only.trains == ("probes",) and only.share == 1


# ------------------------------------------------------------------------------- what they refuse


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(targets=("moments",)), "Did you mean 'moment'"),
        (dict(targets=()), "no targets"),
        (dict(targets=("w", "w")), "none may be given twice"),
        (dict(prefixes=(1, 1)), "none may be given twice"),
        (dict(prefixes=(0,)), "at least 1 pair"),
        (dict(head="quadratic"), "allowed: linear, mlp"),
        (dict(hidden=0), "is 0; it must be at least 1"),
        (dict(network_share=1.0), "network_share is 1.0"),
        (dict(network=Probed(network=Holds())), "Probed is trained otherwise"),
    ],
)
def test_refuses_with_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Probed(**({"network": Holds()} | changes)).check()


@pytest.mark.parametrize(
    ("changes", "batch_changes", "sentence"),
    [
        (dict(network=Holds(last_only=True)), {}, "Take a task that asks at every slot"),
        (dict(network=KernelCopy()), dict(num_classes=2, targets=jnp.zeros((3, L + 1), int)), "records none"),
        (dict(prefixes=(4,)), {}, r"\(4,\), but a prompt has 3 pairs"),
        (dict(targets=("w",)), dict(latents={"blur": jnp.zeros((3, 2 * L + 1, D))}), "w is no latent"),
        (dict(), dict(num_classes=2), "has 2 classes"),
    ],
)
def test_refuses_batches_with_a_sentence(changes, batch_changes, sentence):
    probed = Probed(**({"network": Holds()} | changes))
    batch = dataclasses.replace(sample(jax.random.key(0), 3), **batch_changes)
    with pytest.raises(ValueError, match=sentence):
        probed.apply(probed.init(jax.random.key(1), batch), batch, record=True)
