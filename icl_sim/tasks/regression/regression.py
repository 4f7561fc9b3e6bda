"""In-context regression: pairs (x, f(x)) and a query, with a function f that is new in every sequence.

The tasks of Akyurek et al. 2023 (arXiv 2211.15661), von Oswald et al. 2023 (2212.07677), Garg et al. 2022 (2208.01066)
and Raventos et al. 2023 (2306.15063) are settings of this one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim import draws, names
from icl_sim.keys import require_seed, stream
from icl_sim.tasks.regression import shifts as shifts_
from icl_sim.tasks.regression.curriculum import Curriculum
from icl_sim.tasks.regression.functions import Function, Linear, check_size, index_below
from icl_sim.tasks.regression.laws import Law, Normal, check_at_least
from icl_sim.tasks.regression.shifts import Shift
from icl_sim.types import CONTEXT, QUERY, Array, Batch, Key, Leaf, Task, setting, static

# Which slots are asked: every one, the last, or those from `first_scored` on.
ALL, LAST, WINDOW = "all", "last", "window"


@setting
class Regression(Task):
    """y_s = f(x_s) + noise * N(0, 1) in the slots s = 0..L, with a function f for every sequence.

    Latents: "clean" `[B, S]`, f(x) without noise; "w" `[B, d]` where f(x) is w.x or its sign; and what an oracle may
    know, as numbers: "noise", "pool" (M, or inf), "pool_seed", and of linear functions the "w_scale" and "w_mean" of a
    weight.

    Attributes:
      function: the class that functions are drawn from.
      inputs: the law of x.
      noise: standard deviation of the label noise.
      first_scored: with `scored="window"`, the first slot that counts.
      prompts: how many distinct prompts (function, inputs and noise) training shows, drawn uniformly; prompt i is a
        function of (seed, i). inf: all are new.
      curriculum: how training starts, if not with everything.
      shift: of all sequences, in training too; evaluation sets have their own.
      active_dims: coordinates from this one on are 0; the curriculum moves it.
      active_pairs: slots from this one on weigh 0; the curriculum moves it.
      seed: of the pool and the prompts; None means the seed of the study.
      dim: d, the number of coordinates.
      context_length: L; the K pairs of a paper that asks every one of them are L = K - 1 and the last.
      scored: which slots are asked, `"all"`, `"window"`, or `"last"`, the query alone.
      shifts: names of shifts (`shifts.SHIFTS`) to evaluate on, with their number if it is not the default:
        `("true", "skewed", "x_scale:1/3", "x_scale:3")`.
    """

    function: Function = Linear()
    inputs: Law = Normal()
    noise: Leaf = 0.0
    first_scored: Leaf = 0
    prompts: Leaf = math.inf
    curriculum: Curriculum | None = None
    shift: Shift | None = None
    active_dims: Leaf = math.inf
    active_pairs: Leaf = math.inf
    seed: Leaf | None = None
    dim: int = static(20)
    context_length: int = static(40)
    scored: str = static(ALL)
    shifts: tuple[str, ...] = static(())

    @property
    def slots(self) -> int:
        """S, the context pairs and the query."""
        return self.context_length + 1

    def at(self, step: Array) -> Regression:
        if self.curriculum is None:
            return self
        dims, pairs = self.curriculum.at(step)
        return self.replace(active_dims=dims, active_pairs=pairs)

    def sample(self, key: Key, batch_size: int) -> Batch:
        key_prompts, key_turn = jax.random.split(key)
        asked_B = self._asked(key_turn, batch_size)
        x_BSX, clean_BS, y_BS, w_BX = jax.vmap(self._prompt)(self._prompt_keys(key_prompts, batch_size), asked_B)
        kinds_S = jnp.full(self.slots, CONTEXT, jnp.int8).at[-1].set(QUERY)
        numbers = {"noise": self.noise, **self.function.prior()}
        return Batch(
            inputs=x_BSX,
            targets=y_BS,
            kinds=jnp.tile(kinds_S, (batch_size, 1)),
            latents={
                "clean": clean_BS,
                **({} if w_BX is None else {"w": w_BX}),
                **{name: jnp.asarray(number, float) for name, number in numbers.items()},
                "pool_seed": jnp.asarray(self._seed, jnp.uint32),
            },
            weights=self._weights(asked_B),
            num_classes=self.function.num_classes,
            scale=self.function.error_scale(self.dim),
            pool_law=self.function.pool_law,
        )

    def evaluation_sets(self) -> Mapping[str, Task]:
        """"default": new prompts of the law of training, so that functions are those of the pool where there is one;
        and every shift by its name. A curriculum is for training alone."""
        default = self.replace(prompts=math.inf, active_dims=math.inf, active_pairs=math.inf)
        return {"default": default} | {name: shifts_.named(name).on(default) for name in self.shifts}

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        """The error of every evaluation set; for noisy labels, to the function itself."""
        headlines = {"default": Shift.headline} | {name: shifts_.named(name).headline for name in self.shifts}
        return {
            "error" if name == "default" else f"error_{name}": (name, "error" if self.function.num_classes else metric)
            for name, metric in headlines.items()
        }

    def check(self) -> None:
        require_seed("task.seed", self.seed)
        for name in ("dim", "context_length"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"task.{name} is {value}; it must be at least 1.")
        names.require("task.scored", self.scored, (ALL, LAST, WINDOW))
        if not 0 <= self.first_scored <= self.context_length or self.first_scored != int(self.first_scored):
            raise ValueError(
                f"task.first_scored is {self.first_scored}; it must be a whole number from 0 to task.context_length, "
                f"{self.context_length}."
            )
        if self.first_scored and self.scored != WINDOW:
            raise ValueError(f"task.first_scored is {self.first_scored}; without task.scored 'window' it must be 0.")
        check_at_least(0, "task.noise", self.noise)
        check_size("task.prompts", self.prompts)
        for name in ("active_dims", "active_pairs"):
            if not math.isinf(value := getattr(self, name)):
                raise ValueError(f"task.{name} is {value}; a study must leave it at inf, the curriculum moves it.")
        if self.curriculum is not None:
            self.curriculum.check("task.curriculum")
            if self.scored == LAST:
                raise ValueError("task.scored is 'last'; a curriculum shortens prompts and needs 'all' or 'window'.")
            if self.scored == WINDOW and self.curriculum.pairs <= self.first_scored:
                raise ValueError(
                    f"task.curriculum.pairs is {self.curriculum.pairs}; it must be above task.first_scored, "
                    f"{self.first_scored}, or training would start with nothing that counts."
                )
        self.function.check("task.function", self.dim)
        self.inputs.check("task.inputs")
        if self.shift is not None:
            self._check_shift("task.shift", self.shift)
        if len(set(self.shifts)) < len(self.shifts):
            raise ValueError(f"task.shifts is {self.shifts}; each name must be there once.")
        for name in self.shifts:
            self._check_shift(f"task.shifts {name!r}", shifts_.named(name))

    def doubts(self, steps: int) -> tuple[str, ...]:
        if self.curriculum is None or not steps:
            return ()
        if (complete := self.curriculum.complete(self.dim, self.slots)) < steps:
            return ()
        return (
            f"task.curriculum is complete after {complete:,.0f} updates, and training.steps is {steps:,}: evaluation "
            "shows more coordinates or pairs than training ever does.",
        )

    def _check_shift(self, path: str, shift: Shift) -> None:
        shift.check(path)
        shift.on(self)
        if type(shift).targets is not Shift.targets and self.function.num_classes:
            raise ValueError(f"{path} replaces targets by numbers, and the targets of task.function are classes.")
        asks = shift.asks(self.dim, self.slots)
        first = {ALL: 0, LAST: self.context_length, WINDOW: self.first_scored}[self.scored]
        if asks is not None and asks.stop <= first:
            raise ValueError(
                f"{path} can ask the slots {asks.start} to {asks.stop - 1} only, and task.scored is {self.scored!r}: "
                f"none of them counts. With task.dim {self.dim} it needs a shorter context or earlier slots."
            )

    @property
    def _seed(self) -> Leaf:
        return 0 if self.seed is None else self.seed

    def _prompt_keys(self, key: Key, batch_size: int) -> Key:
        """A key for every sequence: of a prompt of the training set, or new, `[B]`."""
        key_index, key_new = jax.random.split(key)
        finite = jnp.isfinite(self.prompts)
        index_B = index_below(key_index, self.prompts, (batch_size,))
        source = jnp.where(finite, stream(self._seed, "data", 1), key_new)
        number_B = jnp.where(finite, index_B, jnp.arange(batch_size, dtype=jnp.uint32))
        return jax.vmap(lambda number: jax.random.fold_in(source, number))(number_B)

    def _prompt(self, key: Key, asked: Array) -> tuple[Array, Array, Array, Array | None]:
        """Inputs `[S, d]`, targets without and with noise `[S]`, and w `[d]` of one sequence."""
        # Apart from what it shifts, a shifted sequence is the same as without the shift.
        key_function, key_x, key_noise, key_shift = jax.random.split(key, 4)
        key_shift_x, key_shift_y = jax.random.split(key_shift)
        active_X = jnp.arange(self.dim) < self.active_dims
        x_SX = jnp.where(active_X[None], self.inputs.draw(key_x, (self.slots, self.dim)), 0.0)
        if self.shift is not None:
            x_SX = jnp.where(active_X[None], self.shift.inputs(key_shift_x, x_SX, asked), 0.0)
        params = self.function.draw(key_function, active_X, self._seed)
        clean_S = self.function(params, x_SX)
        y_S = clean_S + self.noise * draws.normal(key_noise, clean_S.shape)
        if self.shift is not None:
            y_S = self.shift.targets(key_shift_y, y_S)
        if self.function.num_classes:
            clean_S, y_S = ((value_S > 0).astype(jnp.int32) for value_S in (clean_S, y_S))
        return x_SX, clean_S, y_S, self.function.weights(params)

    def _asked(self, key: Key, batch_size: int) -> Array:
        """The slot that a sequence asks where the shift is of the query: the slots in turn, from a random one on."""
        asks = None if self.shift is None else self.shift.asks(self.dim, self.slots)
        if asks is None or self.scored == LAST:
            return jnp.full(batch_size, self.context_length)
        first = asks.start
        if self.scored == WINDOW:
            first = jnp.clip(jnp.asarray(self.first_scored).astype(jnp.int32), asks.start, asks.stop - 1)
        turn_B = jnp.arange(batch_size) + jax.random.randint(key, (), 0, asks.stop - first)
        return first + turn_B % (asks.stop - first)

    def _weights(self, asked_B: Array) -> Array | None:
        """How much each slot counts, `[B, S]`; None where only the last is asked."""
        if self.scored == LAST:
            return None
        slot_S = jnp.arange(self.slots)
        counts_S = slot_S < self.active_pairs
        if self.scored == WINDOW:
            counts_S &= slot_S >= self.first_scored
        if self.shift is None or self.shift.asks(self.dim, self.slots) is None:
            counts_BS = jnp.tile(counts_S, (len(asked_B), 1))
        else:
            counts_BS = counts_S[None] & (slot_S[None] == asked_B[:, None])
        return counts_BS.astype(float)
