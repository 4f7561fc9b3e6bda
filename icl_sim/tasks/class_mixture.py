"""Class sequences with common and rare classes (Chan, Chen, György, Schuurmans 2025, "Toward Understanding In-context
vs. In-weight Learning", section 5.1): how often classes repeat and how often the context is relevant."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim import draws, names
from icl_sim.keys import require_seed, stream
from icl_sim.tasks import contexts
from icl_sim.tasks.glyphs import Glyphs
from icl_sim.tasks.omniglot import Omniglot
from icl_sim.tasks.prior import TwoGroupPrior
from icl_sim.tasks.prototypes import Prototypes
from icl_sim.tasks.symbols import Symbols
from icl_sim.types import SUPPORT, Array, Batch, Key, Leaf, Task, setting, static

# Laws of the query's class.
ANY, HIGH, LOW = 0, 1, 2
# Sequence numbers travel as float32, which is exact up to here; larger training sets are as good as infinite.
MAX_SEQUENCES = 2**24
# Value of `relabel`: a shift drawn anew for every sequence.
FRESH = -1


@setting
class ClassMixture(Task):
    """Pairs (x, label) and a query whose class is, or is not, among the context's classes.

    The training set is N fixed sequences that are never stored: sequence i is a function of (seed, i). With N = inf
    every step sees new ones. The first C sequences of a finite training set carry the C classes as queries.

    Attributes:
      p_high: probability mass of the common classes 0..num_high-1, in (0, 1].
      p_relevant: probability that the context holds the query's class.
      num_relevant: how many context slots hold it then; 0 means at least one.
      label_noise: probability that a label, of context or query, reads (y + 1) mod C; fixed with the sequence.
      num_sequences: N, the size of the training set; inf for online.
      flip: how the evaluation sets "flip_label" relabel: -1, by a shift drawn freshly for every sequence, uniform over
        the non-zero ones; s > 0, by s (the paper: 1).
      held_out: evaluate on drawings that training never shows, where the inputs have several drawings of a class.
      relabel: shift every label by one cyclic shift inside its frequency group, inputs untouched, so that memory is
        wrong on every query and copying a matching context's label is right. 0: off; else as `flip`.
      query_group: 0 draws the query from P, 1 uniformly from the common classes, 2 uniformly from the rare ones.
      unseen: draw from sequences that are set aside for evaluation: training never sees them, for no N.
        These last three are what evaluation sets vary; a study leaves them as they are.
      num_high, num_low: how many common and rare classes.
      context_length: L.
      relevant_law: `"conditional"`, contexts have the law P given a match; or `"insert"`, as in the paper's Omniglot
        code (see `contexts`).
      inputs: what a class looks like.
      seed: of prototypes and sequences; None means the seed of the study.
    """

    p_high: Leaf = 0.9
    p_relevant: Leaf = 0.9
    num_relevant: Leaf = 0
    label_noise: Leaf = 0.0
    num_sequences: Leaf = math.inf
    flip: Leaf = FRESH
    held_out: Leaf = True
    relabel: Leaf = 0
    query_group: Leaf = ANY
    unseen: Leaf = False
    seed: Leaf | None = None
    inputs: Prototypes | Symbols | Glyphs | Omniglot = Prototypes()
    num_high: int = static(5)
    num_low: int = static(5)
    context_length: int = static(1)
    relevant_law: str = static(contexts.CONDITIONAL)

    @property
    def num_classes(self) -> int:
        return self.num_high + self.num_low

    @property
    def prior(self) -> TwoGroupPrior:
        return TwoGroupPrior(p_high=self.p_high, num_high=self.num_high, num_low=self.num_low)

    def load(self):
        return self.inputs.load(self.num_classes)

    def prepare(self, shared=None) -> ClassMixture:
        key = stream(self._seed, "data", 0)
        return self.replace(inputs=self.inputs.prepare(key, self.num_classes, shared))

    def sample(self, key: Key, batch_size: int) -> Batch:
        """B sequences, drawn from the training set uniformly with replacement (or all new, for N = inf)."""
        if self.inputs.table is None:
            return self.prepare(self.load()).sample(key, batch_size)
        row_B = self._row_numbers(key, batch_size)
        finite = jnp.isfinite(self.num_sequences)
        unseen = jnp.asarray(self.unseen, bool)
        data_key = stream(self._seed, "data", 1 + finite.astype(jnp.uint32) + 2 * unseen.astype(jnp.uint32))
        keys_B2 = jax.vmap(lambda row: jax.random.split(jax.random.fold_in(data_key, row)))(row_B)
        forced = finite & (jnp.asarray(self.query_group) == ANY)
        forced_query_B = jnp.where(forced & (row_B < self.num_classes), row_B.astype(jnp.int32), -1)
        classes_BS, clean_BS, noisy_BS = jax.vmap(self._classes_and_labels)(keys_B2[:, 0], forced_query_B)
        clean_B = clean_BS[:, -1]
        label_probs_BC = (1 - self.label_noise) * jax.nn.one_hot(clean_B, self.num_classes)
        label_probs_BC += self.label_noise * jax.nn.one_hot((clean_B + 1) % self.num_classes, self.num_classes)
        return Batch(
            inputs=self.inputs.render(keys_B2[:, 1], classes_BS),
            targets=noisy_BS,
            kinds=contexts.kinds(classes_BS),
            latents={"classes": classes_BS, "label_probs": label_probs_BC},
            num_classes=self.num_classes,
        )

    def count(self, batch: Batch) -> Mapping[str, Array]:
        """N_x: how often each class was the query, of a relevant and of an irrelevant context and in all, `[C]`."""
        is_query_BC = batch.latents["classes"][:, -1:] == jnp.arange(self.num_classes)[None]
        relevant_B1 = jnp.any(batch.kinds == SUPPORT, axis=1, keepdims=True)
        return {
            "exposures_relevant": jnp.sum(is_query_BC & relevant_B1, axis=0, dtype=jnp.int32),
            "exposures_irrelevant": jnp.sum(is_query_BC & ~relevant_B1, axis=0, dtype=jnp.int32),
            "exposures": jnp.sum(is_query_BC, axis=0, dtype=jnp.int32),
        }

    def groups(self) -> Mapping[str, tuple[int, int]]:
        return {"high": (0, self.num_high), "low": (self.num_high, self.num_classes)}

    def evaluation_sets(self) -> Mapping[str, Task]:
        """The paper's 18 sets: {default, relevant, irrelevant context} x {any, common, rare query} x {labels as
        trained, relabelled}, on sequences that training never sees."""
        inputs = dataclasses.replace(self.inputs, held_out=self.held_out)
        base = self.replace(num_sequences=math.inf, unseen=True, inputs=inputs)
        contexts_ = {"default": self.p_relevant, "relevant": 1.0, "irrelevant": 0.0}
        groups = {"none": ANY, "high_prob": HIGH, "low_prob": LOW}
        return {
            f"eval-{context}-{group}{suffix}": base.replace(p_relevant=p, query_group=g, relabel=shift)
            for suffix, shift in (("", 0), ("-flip_label", self.flip))
            for context, p in contexts_.items()
            for group, g in groups.items()
        }

    def conflicts(self) -> tuple[str, ...]:
        return tuple(f"eval-relevant-{group}-flip_label" for group in ("none", "high_prob", "low_prob"))

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        """In-context and in-weight learning as errors, the control that nobody can answer (its error must be 1), and
        which of the two a predictor prefers where they disagree."""
        named = {
            "icl_error": "eval-default-none-flip_label",
            "icl_error_high": "eval-relevant-high_prob-flip_label",
            "icl_error_low": "eval-relevant-low_prob-flip_label",
            "iwl_error_high": "eval-irrelevant-high_prob",
            "iwl_error_low": "eval-irrelevant-low_prob",
            "control_high": "eval-irrelevant-high_prob-flip_label",
            "control_low": "eval-irrelevant-low_prob-flip_label",
            "ibd_relevant_high": "eval-relevant-high_prob",
            "ibd_relevant_low": "eval-relevant-low_prob",
        }
        errors = {name: (eval_set, "error") for name, eval_set in named.items()}
        preferences = ("preference", "preference_high", "preference_low")
        where = zip(preferences, self.conflicts(), strict=True)
        return errors | {name: (eval_set, "preference") for name, eval_set in where}

    def check(self) -> None:
        require_seed("task.seed", self.seed)
        for name in ("num_high", "num_low", "context_length"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"task.{name} is {value}; it must be at least 1.")
        for name in ("p_relevant", "label_noise"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"task.{name} is {value}; a probability must be between 0 and 1.")
        if not 0 < self.p_high <= 1:
            raise ValueError(f"task.p_high is {self.p_high}; it must be above 0 and at most 1.")
        if self.p_high / self.num_high < (1 - self.p_high) / self.num_low - 1e-9:
            least = self.num_high / self.num_classes
            raise ValueError(
                f"task.p_high is {self.p_high}, so that each of the {self.num_high} common classes would be rarer than "
                f"each of the {self.num_low} rare ones; it must be at least {least:.6g}."
            )
        if not 0 <= self.num_relevant <= self.context_length or self.num_relevant != int(self.num_relevant):
            raise ValueError(
                f"task.num_relevant is {self.num_relevant}; it must be a whole number from 0 (at least one) to "
                f"task.context_length, {self.context_length}."
            )
        size = self.num_sequences
        if math.isnan(size) or size < self.num_classes or (math.isfinite(size) and size != int(size)):
            raise ValueError(
                f"task.num_sequences is {size}; it must be a whole number of at least {self.num_classes}, the number "
                "of classes, so that every class is a query once, or inf."
            )
        if math.isfinite(size) and size > MAX_SEQUENCES:
            raise ValueError(f"task.num_sequences is {size:g}; at most {MAX_SEQUENCES} (2^24), or inf.")
        names.require("task.relevant_law", self.relevant_law, contexts.LAWS)
        for name in ("relabel", "query_group", "unseen"):
            if value := getattr(self, name):
                raise ValueError(
                    f"task.{name} is {value}; a study must leave it at 0, since its evaluation sets are what varies it."
                )
        sizes = self.num_high, self.num_low
        if min(sizes) < 2:
            raise ValueError(
                f"task.num_high is {self.num_high} and task.num_low is {self.num_low}; relabelling, which in-context "
                "learning is measured with, needs at least 2 classes in each group."
            )
        shift = self.flip
        if shift != FRESH and (shift < 1 or shift != int(shift) or any(shift % size == 0 for size in sizes)):
            raise ValueError(
                f"task.flip is {shift}; it must be -1 (a fresh shift per sequence) or a whole shift of at least 1 that "
                "leaves no label where it was."
            )
        self.inputs.check(self.num_classes)

    @property
    def _seed(self) -> Leaf:
        return 0 if self.seed is None else self.seed

    def _row_numbers(self, key: Key, batch_size: int) -> Array:
        """Numbers of the sequences of a batch, uint32 `[B]`: below N, or of all 2^32 for an infinite data set."""
        any_B = jax.random.bits(key, (batch_size,), jnp.uint32)
        finite = jnp.isfinite(self.num_sequences)
        size = jnp.where(finite, self.num_sequences, 1.0).astype(jnp.uint32)
        # The remainder favours some rows by one part in 2^32 / N: 1 in 4096 at N = 10^6, nothing for powers of two.
        return jnp.where(finite, any_B % size, any_B)

    def _classes_and_labels(self, key: Key, forced_query: Array) -> tuple[Array, Array, Array]:
        """Classes, labels before label noise and labels of the slots of one sequence, int32 `[S]` each."""
        length = self.context_length
        u = draws.uniform(key, (4 + (length + 1) + 2 * length,))
        (u_query, u_relevant, u_first, u_shift), u = u[:4], u[4:]
        u_noise_S, u_rank_L, u_class_L = u[: length + 1], u[length + 1 : 2 * length + 1], u[2 * length + 1 :]
        query = jnp.where(forced_query >= 0, forced_query, self.prior.draw_within(u_query, self.query_group))
        context_L = contexts.context_classes(
            u_first,
            u_rank_L,
            u_class_L,
            self.prior,
            query,
            u_relevant < self.p_relevant,
            self.num_relevant,
            self.relevant_law,
        )
        classes_S = jnp.append(context_L, query)
        clean_S = self._relabelled(classes_S, u_shift)
        noisy_S = jnp.where(u_noise_S < self.label_noise, (clean_S + 1) % self.num_classes, clean_S)
        return classes_S, clean_S, noisy_S

    def _relabelled(self, classes: Array, u_shift: Array) -> Array:
        """Labels after the cyclic shift inside each frequency group."""

        def shifted(local: Array, size: int) -> Array:
            fresh = 1 + jnp.floor(u_shift * (size - 1)).astype(jnp.int32)
            shift = jnp.where(jnp.asarray(self.relabel) == FRESH, fresh, self.relabel).astype(jnp.int32)
            return (local + shift) % size

        common = shifted(classes, self.num_high)
        rare = self.num_high + shifted(classes - self.num_high, self.num_low)
        return jnp.where(classes < self.num_high, common, rare)
