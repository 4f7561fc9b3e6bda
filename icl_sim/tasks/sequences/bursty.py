"""Bursty, long-tailed class sequences: the data of Chan et al. 2022 (arXiv 2205.05055), Singh et al. 2023 to 2025
(2311.08360, 2404.07129, 2503.05631) and Reddy 2023 (2312.03002), as settings of one sampler.

A sequence is L pairs (item, label) and a query item. With probability `p_bursty` its context has bursts: so many slots
of one class, so many of another, and the query is of one of them. All else is a matter of how often classes occur
(`zipf`), what fills the rest (`composition`), what classes are called (`labels`) and which of a class's exemplars stand
for it (`exemplars`). Everything is drawn in closed form: no rejection, no table over classes in every slot.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim import draws
from icl_sim.keys import stream
from icl_sim.tasks import contexts
from icl_sim.tasks.glyphs import Glyphs
from icl_sim.tasks.omniglot import Omniglot
from icl_sim.tasks.sequences import checks, composition, evaluations, exemplars, labels
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.composition import COMMON, PARTS, RARE, TRAIN
from icl_sim.tasks.sequences.features import Features
from icl_sim.tasks.sequences.separated import Separated
from icl_sim.tasks.sequences.zipf import ClassLaw, distinct_numbers, zipf
from icl_sim.types import Array, Batch, Key, Leaf, Task, setting, static

_LEAST, _BELOW_ONE = 1e-30, 1 - 2**-24
_MEASURED = (
    "restricted_error",
    "chance_error",
    "restricted_chance_error",
    "from_context",
    "context_probability",
    "support",
    "previous_token",
    "right_labels",
    "label_tokens",
    "induction_strength",
)


@setting
class BurstySequences(Task):
    """L pairs (item, label) and a query, whose class stands in the context in a burst, or by luck, or not at all.

    Classes 0..K-1 are trained on; the H after them are held out. Latents: "classes" `[B, S]`, those from K + H on are
    new in their sequence; "bursty" and "novel" `[B]`; "labels_per_class" and, where others have one,
    "several_labels", one past the last label of a class with several.

    Attributes:
      p_bursty: probability that the context has bursts; else it is as `otherwise` says.
      p_novel: probability that a sequence with bursts is of classes that are new in it, under labels of training,
        all different; inputs must be `Clusters`, and bursts fill the context.
      p_common, p_rare: of sequences with bursts, the shares whose bursts are of common classes and whose other slots
        are of rare ones, and the other way round (Chan et al.); all are of both in the others.
      zipf_exponent: alpha; training's class c has frequency proportional to (K - c)^-alpha. 0: all alike.
      bursts: how many slots of the context each burst takes.
      relabel, pool, held_out_labels: what is done to the labels, which classes there are, whether labels are of the
        pairs held out. Evaluation sets vary these; a study leaves them as they are.
      seed: of what classes look like; None means the seed of the study.
      inputs: what a class looks like.
      num_classes: K.
      num_holdout: H.
      num_common: how many of training's classes, the last, are called common; 0: there are no rare ones.
      within_parts: whether common or rare classes, where a sequence is of these alone, are "even", or follow "zipf".
      num_labels: class c is called c mod num_labels; 0: every class by its own name.
      multiplicity: labels of a class, of which a sequence uses one.
      several: whether "all" classes have so many, or the "rare" ones (Chan et al.): others have one, and come after.
      context_length: L.
      ways: whether the classes of bursts are "distinct", "independent" (Chan et al.: they coincide at times) or have
        "distinct_labels" (Reddy).
      query: of "any" burst, of the "first", or of a "slot" of bursts.
      filler: slots in no burst hold "any" class, any "other" than the bursts', or "unique" ones besides them.
      otherwise: the same without bursts, where "other" and "unique" leave out the query's class.
      otherwise_of: which of training's classes sequences without bursts are of: "train", all; "common" or "rare" ones.
      order: contexts stand in "any" order, or "grouped": in blocks of one slot of every burst.
      labels: "fixed"; of every burst drawn "per_sequence"; or fixed but for that of the query's class, which is "shown"
        in a slot of the context whatever stands there (Singh et al. 2025, where without bursts nothing but memory
        tells which of the labels it is).
      relabels: how many labels these are drawn from; 0: as many as bursts.
      held_out_pairs: how many pairs of these labels only evaluation uses.
      max_offset: the first token stands at a position 0..max_offset, drawn evenly for every sequence (Reddy).
      exemplars: occurrences of a class show "any" of its exemplars, "distinct" ones, "distinct_by_part" (which slots
        beside bursts may repeat), or are "matched": one for all.
      unsupported: the context of evaluation without the query's class has "unique" classes, or any "other" ones.
      all_sets: whether to evaluate on few-shot sequences of training's classes too, and by their frequencies.
    """

    p_bursty: Leaf = 0.9
    p_novel: Leaf = 0.0
    p_common: Leaf | None = None
    p_rare: Leaf | None = None
    zipf_exponent: Leaf = 0.0
    bursts: tuple[Leaf, ...] = (3, 3)
    relabel: Leaf = labels.AS_TRAINED
    pool: Leaf = TRAIN
    held_out_labels: Leaf = False
    seed: Leaf | None = None
    inputs: Clusters | Features | Glyphs | Omniglot | Separated = Clusters()
    law: ClassLaw | None = None
    num_classes: int = static(1024)
    num_holdout: int = static(0)
    num_common: int = static(0)
    within_parts: str = static(composition.ALIKE)
    num_labels: int = static(0)
    multiplicity: int = static(1)
    several: str = static(labels.ALL)
    context_length: int = static(8)
    ways: str = static(composition.DISTINCT)
    query: str = static(composition.ANY_BURST)
    filler: str = static(composition.ANY)
    otherwise: str = static(composition.ANY)
    otherwise_of: str = static("train")
    order: str = static(composition.ANY_ORDER)
    labels: str = static(labels.FIXED)
    relabels: int = static(0)
    held_out_pairs: int = static(0)
    max_offset: int = static(0)
    exemplars: str = static(exemplars.REPEATED)
    unsupported: str = static(composition.UNIQUE)
    all_sets: bool = static(False)

    @property
    def all_classes(self) -> int:
        """K + H."""
        return self.num_classes + self.num_holdout

    @property
    def names_of_classes(self) -> int:
        """Labels before multiplicity."""
        return self.num_labels or self.all_classes

    @property
    def num_several(self) -> int:
        """How many classes, the first, have several labels where some do."""
        return self.num_classes - self.num_common if self.several == labels.RARE else self.names_of_classes

    @property
    def num_single(self) -> int:
        """How many classes have one label where others have several."""
        return self.names_of_classes - self.num_several if self.multiplicity > 1 else 0

    @property
    def outputs(self) -> int:
        """C: how many labels there are."""
        return (self.names_of_classes - self.num_single) * self.multiplicity + self.num_single

    @property
    def mixes_parts(self) -> bool:
        """Whether some of training's sequences are of common or rare classes alone."""
        return self.p_common is not None or self.p_rare is not None or self.otherwise_of != "train"

    @property
    def mixes(self) -> bool:
        """Whether bursts have labels of the sequence, and sequences without bursts are of common classes."""
        return self.labels == labels.BY_SEQUENCE and self.otherwise_of == "common"

    @property
    def measured(self) -> tuple[str, ...]:
        own = () if self.num_labels else ("class_error",)  # the plain error where each class has one label
        return (*_MEASURED, *own)

    def load(self):
        return self.inputs.load(self.all_classes)

    def prepare(self, shared=None) -> BurstySequences:
        key = stream(0 if self.seed is None else self.seed, "data", 0)
        first = jnp.stack([jnp.int32(start) for start, _ in self.pools()])[self.pool]
        end = jnp.stack([jnp.int32(end) for _, end in self.pools()])[self.pool]
        pool = jnp.asarray(self.pool)
        even = pool != TRAIN
        if self.within_parts == composition.BY_ZIPF:
            even &= (pool != COMMON) & (pool != RARE)
        law = ClassLaw(cumulative=zipf(self.num_classes, self.zipf_exponent), first=first, end=end, even=even)
        return self.replace(inputs=self.inputs.prepare(key, self.all_classes, shared), law=law)

    def pools(self) -> list[tuple[int, int]]:
        """First and one past the last of each of `composition`'s pools of classes."""
        K, rare = self.num_classes, self.num_classes - self.num_common
        return [(0, K), (0, K), (0, rare), (rare, K), (K, self.all_classes)]

    def sample(self, key: Key, batch_size: int) -> Batch:
        """B sequences, all new."""
        if self.law is None:
            return self.prepare(self.load()).sample(key, batch_size)
        slots, ways = self.context_length + 1, len(self.bursts)
        shown = exemplars.needed(self.inputs.exemplars, self.exemplars, slots)
        sizes = (4, ways, ways, max(ways, 2), slots - 1, slots - 1, slots, slots * shown)
        key_composition, key_inputs = jax.random.split(key)
        total, ends = sum(sizes), [sum(sizes[: n + 1]) for n in range(len(sizes) - 1)]
        u_BU = draws.uniform(key_composition, (batch_size, total + (self.max_offset > 0)))
        told = jax.vmap(lambda u_U: self._sequence(*jnp.split(u_U, ends)))(u_BU[:, :total])
        return Batch(
            inputs=self.inputs.render_exemplars(
                jax.random.split(key_inputs, batch_size), told["classes"], told["exemplars"]
            ),
            targets=told["labels"],
            kinds=contexts.kinds(told["classes"]),
            latents={
                "classes": told["classes"],
                "bursty": told["bursty"],
                "novel": told["novel"],
                "labels_per_class": jnp.asarray(self.multiplicity),
                **({"several_labels": jnp.asarray(self.outputs - self.num_single)} if self.num_single else {}),
            },
            first_position=draws.number_below(u_BU[:, total], self.max_offset + 1) if self.max_offset else None,
            max_offset=self.max_offset,
            num_classes=self.outputs,
        )

    def _sequence(
        self,
        u_4: Array,
        u_way_W: Array,
        u_class_W: Array,
        u_name_W: Array,
        u_fill_L: Array,
        u_place_L: Array,
        u_label_S: Array,
        u_exemplar: Array,
    ) -> Mapping[str, Array]:
        """Classes, labels and exemplars of the slots of one sequence, `[S]`, and whether it is bursty and novel."""
        u_bursty, u_novel, u_asked, u_shown = u_4
        law, law_besides, law_alone = self._laws(u_bursty)
        bursty = u_bursty < self.p_bursty
        novel = bursty & (u_novel < self.p_novel)
        sizes_W = jnp.stack([jnp.asarray(size, jnp.float32) for size in self.bursts])
        asked = composition.asked_burst(u_asked, sizes_W, self.query)

        old_W = composition.ways(u_way_W, u_class_W, law, self.ways, self.names_of_classes)
        way_W = old_W
        if self.inputs.has_new and len(self.bursts) <= self.names_of_classes:
            new_W = distinct_numbers(u_way_W, self.names_of_classes)
            if of_each := self.inputs.new // self.names_of_classes:
                new_W += self.names_of_classes * draws.number_below(u_class_W, of_each)
            way_W = jnp.where(novel, self.all_classes + new_W, old_W)
        filled_L = composition.fill(u_fill_L, law_besides, self.filler, old_W)
        burst_L = jnp.sum(jnp.arange(self.context_length)[:, None] >= jnp.cumsum(sizes_W)[None], axis=1)
        in_burst_L = bursty & (burst_L < len(sizes_W))
        own_L = jnp.minimum(burst_L, len(sizes_W) - 1)

        alone = law_alone.draw(u_asked)
        plain_L = composition.fill(u_fill_L, law_alone, self.otherwise, alone[None])
        context_L = jnp.where(in_burst_L, way_W[own_L], jnp.where(bursty, filled_L, plain_L))
        classes_S = jnp.append(context_L, jnp.where(bursty, way_W[asked], alone))

        burst_S, in_burst_S = jnp.append(own_L, asked), jnp.append(in_burst_L, bursty)
        labels_S = self._labels(classes_S, burst_S, in_burst_S, way_W, u_label_S, u_name_W, u_shown)
        within_L = jnp.arange(self.context_length) - (jnp.cumsum(sizes_W) - sizes_W)[own_L]
        order_S = jnp.append(composition.order(u_place_L, within_L, self.order), self.context_length)
        classes_S, labels_S, besides_S = classes_S[order_S], labels_S[order_S], (bursty & ~in_burst_S)[order_S]
        u_SE = jnp.reshape(u_exemplar, (self.context_length + 1, -1))
        return {
            "classes": classes_S,
            "labels": labels_S,
            "exemplars": exemplars.exemplars(u_SE, classes_S, besides_S, self.inputs.exemplars, self.exemplars),
            "bursty": bursty,
            "novel": novel,
        }

    def _laws(self, u_bursty: Array) -> tuple[ClassLaw, ClassLaw, ClassLaw]:
        """Of the classes of bursts, of the slots besides, and of sequences without bursts."""
        law = self.law
        assert law is not None
        even, rare, common = self.within_parts == composition.ALIKE, self.pools()[RARE], self.pools()[COMMON]
        trained = jnp.asarray(self.pool) == TRAIN  # evaluation asks for classes of its own
        bursts = besides = alone = law
        if self.p_common is not None or self.p_rare is not None:
            p_common, p_rare = (jnp.asarray(0.0 if p is None else p) for p in (self.p_common, self.p_rare))
            # Where it is below p_bursty it is even there, and tells which of them this is.
            share = jnp.minimum(u_bursty / jnp.maximum(self.p_bursty, _LEAST), _BELOW_ONE)
            of_common = trained & (share < p_common)
            of_rare = trained & ~of_common & (share < p_common + p_rare)
            bursts = law.where(of_common, *common, even).where(of_rare, *rare, even)
            besides = law.where(of_common, *rare, even).where(of_rare, *common, even)
        if self.otherwise_of != "train":
            alone = law.where(trained, *self.pools()[PARTS[self.otherwise_of]], even)
        return bursts, besides, alone

    def _labels(
        self,
        classes_S: Array,
        burst_S: Array,
        in_burst_S: Array,
        way_W: Array,
        u_label_S: Array,
        u_name_W: Array,
        u_shown: Array,
    ) -> Array:
        """The labels of the slots, before these are put in order, `[S]`."""
        new = classes_S >= self.all_classes
        named_S = jnp.where(new, classes_S - self.all_classes, classes_S)
        fixed_S = labels.fixed(named_S, self.names_of_classes, self.multiplicity, self.num_several, u_label_S)
        relabel = jnp.asarray(self.relabel)
        swapped_S = (fixed_S + self.multiplicity) % self.outputs
        result_S = jnp.where(relabel == labels.SWAPPED, swapped_S, fixed_S)
        count = self.relabels or len(self.bursts)
        if count <= self.outputs:
            name_W = labels.of_sequence(
                u_name_W[: max(len(self.bursts), 2 if self.held_out_pairs else 1)],
                count,
                self.held_out_pairs,
                self.held_out_labels,
            )
            per_sequence = relabel == labels.PER_SEQUENCE
            if self.labels == labels.BY_SEQUENCE:
                per_sequence |= relabel == labels.AS_TRAINED
            result_S = jnp.where(per_sequence & in_burst_S, name_W[burst_S], result_S)
        if len(self.bursts) == 2:
            # Each of the two goes by the other's name, which is that of the slot where the other stands.
            place_W = jnp.argmax(classes_S[None, :] == way_W[::-1][:, None], axis=1)
            flipped_S = jnp.where(in_burst_S, fixed_S[place_W][burst_S], fixed_S)
            result_S = jnp.where(relabel == labels.FLIPPED, flipped_S, result_S)
        slot = draws.number_below(u_shown, self.context_length)
        shown_S = result_S.at[slot].set(result_S[-1])
        shown = relabel == labels.SHOWN
        if self.labels == labels.ONE_SHOWN:
            shown |= relabel == labels.AS_TRAINED
        return jnp.where(shown, shown_S, result_S)

    def evaluation_sets(self) -> Mapping[str, Task]:
        """What tells in-context from in-weight learning, as far as the task has it:

        "default"  as in training.
        "icl"      few-shot: bursts of equal size, of classes held out (or new ones under labels of training; or, where
                   there are neither, of training's), with labels drawn for the sequence.
        "iwl"      no support: the query's class is not in the context, and the labels are those of training.
        "iwl_common", "iwl_rare"   the same, of common and of rare classes alone.
        "iid"      all slots independent, as in training: support by luck.
        "ciwl"     no support, but one slot, which is another class's, carries the query's label (Singh et al. 2025).
        "swap"     all labels one further (Reddy 2023).
        "flip"     the two classes in the context have each other's label (Singh et al. 2025).

        "icl_zipf", "icl_common", "icl_rare", "iwl_zipf"   with `all_sets`: few-shot and no support of all of training's
                   classes by their frequencies, and few-shot of common and rare ones.

        Classes are even, whatever their frequency in training, but in "default", "iid" and those of "zipf". Where
        labels are drawn for every sequence there are "default" and "icl", and "iwl_common" if common classes have
        fixed ones.
        """
        return evaluations.sets(self)

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        """In-context, in-weight and context-constrained in-weight learning as errors."""
        known = self.evaluation_sets()
        return {f"{name}_error": (name, "error") for name in ("icl", "iwl", "ciwl", "flip", "swap") if name in known}

    def check(self) -> None:
        checks.check(self)
