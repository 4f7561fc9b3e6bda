"""Algorithm 1 of Chan et al. 2025: g, an in-weight predictor, and h, an in-context one, learn online, and a gate learns
which of them to trust, input by input.

For t = 1, 2, ...: receive a sequence with query x, answer with f = a(x) g(x) + (1 - a(x)) h, see the label, and let
three no-regret learners move: g(x) on its log loss, h on its own, and the gate a(x) on the linear losses

    m_t(a) = a(x) (l_t(g) - l_t(h)).

Since the log loss is convex, l_t(f) <= l_t(h) + m_t(a_t), and so the loss of f is at most that of the better of g and h
*for every input*, plus the regret of the gate. The switch of a(x) from h to g happens at a number of exposures N_x,
which rare inputs reach later.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim.predictors.gated import gate_measures
from icl_sim.theory.learners import Counts, Hedge, Learner
from icl_sim.types import Array, Batch, Key, Leaf, Outputs, Params, Predictor, setting, static

# Sums kept per input, in this order: rounds, losses of f, g and h, linear losses of the gate, costs of gate and g.
_SUMS = ("rounds", "mixture", "in_weight", "in_context", "linear", "gate_cost", "in_weight_cost")
# A table is written as a whole, masked, up to this size: for members that run together, XLA's CPU compiler turns a
# write of one row each into a loop over members.
_MASKED = 4096


@setting
class OnlineGated(Predictor):
    """Algorithm 1 with a tabular g and gate, and an h that mixes similarity softmaxes of several temperatures.

    The inputs must be one point per class (`icl_sim.tasks.Symbols`): x is the coordinate of the query that is not zero.
    An update of a study goes through the `training.batch_size` sequences of its batch one after the other, in order.

    Attributes:
      in_weight: learns g(x), a law of the label for every x.
      gate: learns a(x), the weight of g, for every x; starts at one half.
      in_context: learns the weights of the temperatures, shared by all x; of no effect with one temperature.
      temperatures: of h_j, which answers label y with sum_l softmax_l(-|x_l - x|^2 / temperature_j) [y_l = y]; inf
        weighs all slots alike.
      floor: of the probabilities of each h_j, which then sum to more than 1: an irrelevant context costs -log floor,
        and a context of right labels nothing. (Evaluation normalises answers, as for all predictors.)
      smoothing: the share of the uniform law in g, for learners other than `Counts`, which could lose infinitely.
    """

    in_weight: Learner = Counts()
    gate: Learner = Hedge()
    in_context: Learner = Hedge()
    temperatures: tuple[float, ...] = static((1.0,), unbounded=True)
    floor: Leaf = 0.01
    smoothing: Leaf = 0.0

    @property
    def online(self) -> bool:
        return True

    def check(self) -> None:
        for name in ("in_weight", "gate", "in_context"):
            learner = getattr(self, name)
            learner.check()
            if name != "in_weight" and isinstance(learner, Counts):
                raise ValueError(f"{name} is counts, which learns from log losses of labels alone; that is in_weight.")
        given = self.temperatures
        numbers = isinstance(given, tuple) and all(isinstance(t, int | float) for t in given)
        if not numbers or not given or any(not t > 0 for t in given):
            raise ValueError(
                f"temperatures are {given!r}; give a tuple of at least one number, each positive, as in (1.0,); "
                "infinity (on a command line 1e999) weighs all slots alike."
            )
        if not 0 < self.floor < 1:
            raise ValueError(f"floor is {self.floor}; it must lie between 0 and 1, ends excluded.")
        if isinstance(self.in_weight, Counts) and self.smoothing != 0:
            raise ValueError(f"smoothing is {self.smoothing}; it must be 0 where in_weight is counts, with its add.")
        if not isinstance(self.in_weight, Counts) and not 0 < self.smoothing < 1:
            raise ValueError(
                f"smoothing is {self.smoothing}; for an in_weight of kind {type(self.in_weight).__name__} it must lie "
                "between 0 and 1, ends excluded."
            )

    def init(self, key: Key, batch: Batch) -> Params:
        del key
        X, C, J = _num_inputs(batch), batch.num_classes, len(self.temperatures)
        return {
            "in_weight": jnp.tile(self.in_weight.start(C), (X, 1)),
            "gate": jnp.tile(self.gate.start(2), (X, 1)),
            "in_context": self.in_context.start(J),
            "labels": jnp.zeros((X, C)),
            "switch": jnp.zeros((X, 2)),  # exposures and time at which the gate last rose above one half
            "sums": jnp.zeros((2, X, len(_SUMS))),  # each the unrounded sum of two numbers
            "shared": jnp.zeros((2, J + 3)),  # losses of h_1 .. h_J and of h, its costs, rounds; likewise
        }

    def observe(self, params: Params, batch: Batch) -> tuple[Params, Array]:
        """Plays a round per sequence, in order; returns the parameters afterwards and the losses of f, `[B]`."""
        x_B, y_B = _query(batch), batch.targets[:, -1]
        right_BL = (batch.targets[:, :-1] == y_B[:, None]).astype(jnp.float32)
        at_label_BJ = jnp.maximum(jnp.sum(self._similarities(batch) * right_BL[:, None], axis=2), self.floor)
        start = {**params, "sums": jnp.zeros_like(params["sums"][0]), "shared": jnp.zeros_like(params["shared"][0])}
        before = params["sums"][:, :, 0], params["shared"][:, -1]

        def play(state: Params, round_: tuple[Array, Array, Array]) -> tuple[Params, Array]:
            return self._round(state, before, *round_)

        state, losses_B = jax.lax.scan(play, start, (x_B, y_B, at_label_BJ), unroll=2)
        totals = {name: _added(params[name], state[name]) for name in ("sums", "shared")}
        return {**state, **totals}, losses_B

    def _round(
        self, state: Params, before: tuple[Array, Array], x: Array, y: Array, at_label_J: Array
    ) -> tuple[Params, Array]:
        """One round of Algorithm 1. Rounds are counted in `state` since the start of the batch; `before` holds those
        that were played earlier."""
        C = state["labels"].shape[-1]
        seen = jnp.sum(before[0][:, x]) + state["sums"][x, 0]
        time = jnp.sum(before[1]) + state["shared"][-1]
        memory_C, gate_2 = state["in_weight"][x], state["gate"][x]
        label_C = (jnp.arange(C) == y).astype(jnp.float32)

        law_C, trust_2 = self.in_weight.play(memory_C, seen), self.gate.play(gate_2, seen)
        mix_J = self.in_context.play(state["in_context"], time)
        g, h = self._smoothed(jnp.sum(law_C * label_C), C), jnp.sum(mix_J * at_label_J)
        g_loss, h_loss = -jnp.log(g), -jnp.log(h)
        loss = -jnp.log(trust_2[0] * g + trust_2[1] * h)

        gradient_C = -(1 - self.smoothing) * label_C / g
        gradient_J = -at_label_J / h
        losses_2 = _row(g_loss, h_loss)
        moved_2 = self.gate.learn(gate_2, trust_2, losses_2, seen)
        rose = (trust_2[0] <= 0.5) & (self.gate.play(moved_2, seen + 1)[0] > 0.5)
        linear = trust_2[0] * (g_loss - h_loss)
        costs = self.gate.cost(losses_2, seen), self.in_weight.cost(gradient_C, seen)
        moved = {
            "in_weight": self.in_weight.learn(memory_C, law_C, gradient_C, seen),
            "gate": moved_2,
            "labels": state["labels"][x] + label_C,
            "switch": jnp.where(rose, _row(seen + 1, time + 1), state["switch"][x]),
            "sums": state["sums"][x] + _row(1.0, loss, g_loss, h_loss, linear, *costs),
        }
        tables = {name: _written(state[name], x, row) for name, row in moved.items()}
        in_context = self.in_context.learn(state["in_context"], mix_J, gradient_J, time)
        h_losses = [-jnp.log(at_label_J[j]) for j in range(at_label_J.shape[0])]
        shared = state["shared"] + _row(*h_losses, h_loss, self.in_context.cost(gradient_J, time), 1.0)
        return {**tables, "in_context": in_context, "shared": shared}, loss

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        x_B = _query(batch)
        seen_B, time = jnp.sum(params["sums"][:, :, 0], axis=0)[x_B], jnp.sum(params["shared"][:, -1])
        g_BC = self._smoothed(jax.vmap(self.in_weight.play)(params["in_weight"][x_B], seen_B), batch.num_classes)
        gate_B = jax.vmap(self.gate.play)(params["gate"][x_B], seen_B)[:, 0]
        label_BLC = jax.nn.one_hot(batch.targets[:, :-1], batch.num_classes)
        h_BJC = jnp.maximum(jnp.einsum("BJL,BLC->BJC", self._similarities(batch), label_BLC), self.floor)
        h_BC = jnp.einsum("J,BJC->BC", self.in_context.play(params["in_context"], time), h_BJC)
        values = jnp.log(gate_B[:, None] * g_BC + (1 - gate_B[:, None]) * h_BC)
        kept = {"gate": gate_B, "in_weight": jnp.log(g_BC), "in_context": jnp.log(h_BC)}
        return Outputs(values=values, record=kept if record else {})

    def report(self, outputs: Outputs, batch: Batch) -> Mapping[str, Array]:
        """Measures of the gate and of the parts, as those of `Gated`."""
        return gate_measures(outputs, batch)

    def account(self, params: Params) -> Mapping[str, Array]:
        """Regrets and their bounds, summed over inputs, and per input `[X]` exposures, the gate and its switch.

        regret: of f, against the better of g and h for every input.
        regret_fixed: of f, for every input against h and the best fixed law of the label in hindsight.
        regret_gate: of the gate's linear losses, against the best fixed weight for every input; at least `regret`.
        regret_in_weight: of g, against the best fixed law of the label for every input.
        regret_in_context: of h, against its best temperature.
        *_bound: what theory guarantees each of them not to exceed, from the losses that occurred (`learners`).
        gate: a(x). switch_exposures, switch_time: N_x and t at which a(x) last rose above one half, inf where it is not
        above it now. loss_*: the mean loss of f, g and h on x.
        """
        sums = {name: params["sums"][:, :, i] for i, name in enumerate(_SUMS)}
        total = {name: jnp.sum(pair, axis=0) for name, pair in sums.items()}
        n_X, C, J = total["rounds"], params["labels"].shape[-1], len(self.temperatures)
        f, g, h, linear = (sums[name] for name in ("mixture", "in_weight", "in_context", "linear"))

        def summed(values_X: Array) -> Array:
            return jnp.sum(jnp.where(n_X > 0, values_X, 0.0))

        gate_bound_X = self.gate.slack(n_X, 2) + total["gate_cost"]
        bound_X = jnp.minimum(gate_bound_X, self.gate.mixture_slack(n_X, 2))
        frequency_XC = params["labels"] / jnp.maximum(n_X, 1)[:, None]
        entropy_X = -jnp.sum(jnp.where(frequency_XC > 0, frequency_XC * jnp.log(frequency_XC), 0.0), axis=1)
        smoothing_X = -n_X * jnp.log1p(-jnp.asarray(self.smoothing, jnp.float32))
        g_bound_X = self.in_weight.slack(n_X, C) + total["in_weight_cost"] + smoothing_X
        g_least = jnp.stack([n_X * entropy_X, jnp.zeros_like(n_X)])
        shared = params["shared"]
        h_regret = jnp.max(jnp.stack([_less(shared[:, J], shared[:, j]) for j in range(J)]))
        h_bound = self.in_context.slack(jnp.sum(shared[:, -1]), J) + jnp.sum(shared[:, J + 1])
        gate_X = jax.vmap(self.gate.play)(params["gate"], n_X)[:, 0]
        trusted_X = (gate_X > 0.5) & (params["switch"][:, 0] > 0)
        losses = {f"loss_{name}": total[name] / n_X for name in ("mixture", "in_weight", "in_context")}
        return {
            "regret": summed(jnp.maximum(_less(f, g), _less(f, h))),
            "regret_bound": summed(bound_X),
            "regret_fixed": summed(jnp.maximum(_less(f, g_least), _less(f, h))),
            "regret_fixed_bound": summed(bound_X + g_bound_X),
            "regret_gate": summed(jnp.maximum(jnp.sum(linear, axis=0), _less(linear, _difference(g, h)))),
            "regret_gate_bound": summed(gate_bound_X),
            "regret_in_weight": summed(_less(g, g_least)),
            "regret_in_weight_bound": summed(g_bound_X),
            "regret_in_context": h_regret,
            "regret_in_context_bound": jnp.where(J > 1, h_bound, 0.0),
            "exposures": n_X,
            "gate": gate_X,
            "switch_exposures": jnp.where(trusted_X, params["switch"][:, 0], jnp.inf),
            "switch_time": jnp.where(trusted_X, params["switch"][:, 1], jnp.inf),
            **losses,
        }

    def _smoothed(self, p: Array, num_classes: int) -> Array:
        return (1 - self.smoothing) * p + self.smoothing / num_classes

    def _similarities(self, batch: Batch) -> Array:
        """The weights of the slots under each temperature, `[B, J, L]`."""
        distance_BL = jnp.sum(jnp.square(batch.inputs[:, :-1] - batch.inputs[:, -1:]), axis=-1)
        sharpness_J = jnp.asarray([1 / t for t in self.temperatures])
        return jax.nn.softmax(-distance_BL[:, None] * sharpness_J[None, :, None])


def _num_inputs(batch: Batch) -> int:
    if batch.inputs.ndim != 3 or batch.inputs.shape[2] != batch.num_classes:
        raise ValueError(
            f"The online learners keep a table over {batch.num_classes} symbols, and got inputs of shape "
            f"{batch.inputs.shape[2:]}; give the task inputs of kind 'symbols'."
        )
    return batch.inputs.shape[2]


def _query(batch: Batch) -> Array:
    """The symbol of each query, `[B]`."""
    _num_inputs(batch)
    return jnp.argmax(batch.inputs[:, -1], axis=-1)


def _row(*values: Array | float) -> Array:
    """The numbers as a vector, by selection: XLA's CPU compiler computes what goes into a concatenation one by one."""
    index = jnp.arange(len(values))
    row = jnp.zeros(len(values))
    for i, value in enumerate(values):
        row = jnp.where(index == i, value, row)
    return row


def _written(table: Array, x: Array, row: Array) -> Array:
    """The table with another row x."""
    if table.size > _MASKED:
        return table.at[x].set(row)
    return jnp.where(jnp.arange(table.shape[0])[:, None] == x, row, table)


def _added(pair: Array, more: Array) -> Array:
    """A sum kept as high + low, `[2, ...]`, with a batch's added: single precision would forget 10^6 small losses.

    The rounding error of high + more is itself a number of single precision (Knuth's two-sum) and goes to low.
    """
    high, low = pair
    total = high + more
    part = total - high
    error = (high - (total - part)) + (more - part)
    return jnp.stack([total, low + error])


def _difference(a: Array, b: Array) -> Array:
    """a - b of two sums kept as high + low, kept likewise."""
    return _added(a, -b[0]) - jnp.stack([jnp.zeros_like(b[1]), b[1]])


def _less(a: Array, b: Array) -> Array:
    """a - b of two sums kept as high + low, as one number."""
    return jnp.sum(_difference(a, b), axis=0)
