"""GINC: documents of a mixture of hidden Markov chains, and prompts of examples from one of them (Xie et al. 2021, "An
explanation of in-context learning as implicit Bayesian inference", arXiv 2111.02080, section 4.1 and appendix)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from icl_sim import draws
from icl_sim.keys import require_seed, stream
from icl_sim.types import CONTEXT, QUERY, Array, Batch, Key, Leaf, Task, setting, static

_DELIMITER = 0
_COLDEST = 1e-30  # temperature, of which single precision holds the inverse


class Chains(NamedTuple):
    """The hidden Markov chains of all concepts; a state is an entity and a property, E x P of them.

    The two move independently, so that the transition of a state is the Kronecker product of theirs. A state shows the
    word of its entity and property, the same one under every concept; property 0 shows the delimiter, word 0.
    """

    word_EP: Array
    start_KEP: Array
    entity_EE: Array
    property_KPP: Array


@setting
class Ginc(Task):
    """Documents of one concept each: words of a hidden chain; every slot shows a word and asks for the next one.

    A concept is how properties follow each other, and where documents start. Evaluation sets are prompts: examples of
    k words, each followed by a delimiter, all of one concept and one first property, with random entities. The slot
    that shows the (k-1)-th word of an example is asked for the k-th, and right is the most likely word given those k-1
    under the prompt's concept and first property; the one that the prompt goes on with is drawn (as in the paper, where
    prompts of different lengths are drawn apart).

    Concepts: start law softmax(u / start_temperature) over states, and the mixture of P random permutation matrices
    with the weights softmax(u / temperature) for properties; that of entities is `persistence` times the identity and
    for the rest such a mixture, the same for all concepts. u is uniform on [0, 1].

    Latents: "concept" `[B]`, and of the concepts that training documents can have, for who knows the law of documents,
    "prior" `[1, K]`, "start" `[1, K, E, P]`, "entity" `[1, E, E]`, "property" `[1, K, P, P]` and "word" `[1, E, P]`.

    Attributes:
      seen: how many of the concepts training documents are of, evenly; None for all.
      temperature: of the mixtures of permutations.
      start_temperature: of the start laws.
      persistence: how likely an entity stays, apart from the mixture.
      example_length: k, for prompts.
      unseen: whether prompts are of concepts that no document has.
      seed: of the concepts; None means the seed of the study.
      concepts: K; as many again are never seen.
      entities, properties: E and P.
      vocabulary: V, the number of words with the delimiter; of the others each state has any.
      length: S, slots of a document or a prompt.
      prompts: whether sequences are prompts.
      lengths: k of the prompts to evaluate on.
      shots: numbers of examples before the one that is asked.
    """

    seen: Leaf | None = None
    temperature: Leaf = 0.1
    start_temperature: Leaf = 10.0
    persistence: Leaf = 0.9
    example_length: Leaf = 5
    unseen: Leaf = False
    seed: Leaf | None = None
    concepts: int = static(5)
    entities: int = static(10)
    properties: int = static(10)
    vocabulary: int = static(50)
    length: int = static(100)
    prompts: bool = static(False)
    lengths: tuple[int, ...] = static((3, 5, 8, 10))
    shots: tuple[int, ...] = static((0, 1, 2, 4, 8))
    word_EP: Array | None = None
    start_KEP: Array | None = None
    entity_EE: Array | None = None
    property_KPP: Array | None = None

    def prepare(self, shared: object = None) -> Ginc:
        """Draws the concepts."""
        del shared
        return self.replace(**self.chains._asdict())

    @property
    def chains(self) -> Chains:
        """Those of all concepts, the seen ones first."""
        known = (self.word_EP, self.start_KEP, self.entity_EE, self.property_KPP)
        if self.word_EP is not None:
            return Chains(*known)  # type: ignore
        E, P, K = self.entities, self.properties, 2 * self.concepts
        key = stream(0 if self.seed is None else self.seed, "data", 0)
        of_words, of_entities, of_concepts = jax.random.split(key, 3)
        word_EP = 1 + draws.number_below(draws.uniform(of_words, (E, P)), self.vocabulary - 1)
        mixed_EE = _mixed_permutations(of_entities, E, self.temperature)
        keys_K2 = jax.vmap(lambda key: jax.random.split(key))(jax.random.split(of_concepts, K))
        start_KS = jax.vmap(lambda key: draws.uniform(key, (E * P,)))(keys_K2[:, 0]) / self.start_temperature
        return Chains(
            word_EP=word_EP.at[:, 0].set(_DELIMITER),
            start_KEP=jax.nn.softmax(start_KS).reshape(K, E, P),
            entity_EE=self.persistence * jnp.eye(E) + (1 - self.persistence) * mixed_EE,
            property_KPP=jax.vmap(lambda key: _mixed_permutations(key, P, self.temperature))(keys_K2[:, 1]),
        )

    def sample(self, key: Key, batch_size: int) -> Batch:
        chains, S = self.chains, self.length
        key_concept, key_start, key_step = jax.random.split(key, 3)
        u_concept_B = draws.uniform(key_concept, (batch_size,))
        u_B, u_first_B = draws.uniform(key_start, (2, batch_size))
        u_2SB = draws.uniform(key_step, (2, S, batch_size))
        if self.prompts:
            concept_B = draws.number_below(u_concept_B, self.concepts)
            concept_B += jnp.where(jnp.asarray(self.unseen, bool), self.concepts, 0)
            first_B = 1 + draws.number_below(u_first_B, self.properties - 1)
            entity_B = draws.number_below(u_B, self.entities)
        else:
            concept_B = draws.number_below(u_concept_B, self._seen)
            state_B = _drawn(_cumulative(chains.start_KEP.reshape(2 * self.concepts, -1))[concept_B], u_B)
            entity_B, first_B = state_B // self.properties, state_B % self.properties
        word_NB = self._walk(chains, concept_B, entity_B, first_B, u_2SB)
        input_BS, target_BS = word_NB[:-1].T, word_NB[1:].T
        weight_BS = jnp.ones((batch_size, S))
        if self.prompts:
            likely_BS = self._most_likely(chains, concept_B, first_B, input_BS)
            asked_S = self._place(jnp.arange(S)) == self._k - 2
            target_BS = jnp.where(asked_S[None], likely_BS, target_BS)
            number_S = jnp.arange(S) // (self._k + 1)
            asked_S &= jnp.any(number_S[:, None] == jnp.asarray(self.shots)[None], axis=1)
            weight_BS *= asked_S[None]
        kinds_S = jnp.full(S, CONTEXT, jnp.int8).at[-1].set(QUERY)
        K = self.concepts
        of_documents = {
            "prior": (jnp.arange(K) < self._seen) / self._seen,
            "start": chains.start_KEP[:K],
            "entity": chains.entity_EE,
            "property": chains.property_KPP[:K],
            "word": chains.word_EP,
        }
        return Batch(
            inputs=input_BS,
            targets=target_BS,
            kinds=jnp.tile(kinds_S[None], (batch_size, 1)),
            latents={"concept": concept_B} | {name: numbers[None] for name, numbers in of_documents.items()},
            weights=weight_BS,
            num_classes=self.vocabulary,
        )

    def positions(self) -> Mapping[int, Leaf]:
        """Of prompts, the slot that is asked after so many examples; of documents some, the farther apart the later."""
        if self.prompts:
            return {shots: shots * (self._k + 1) + self._k - 2 for shots in self.shots}
        powers = [2**n - 1 for n in range(self.length.bit_length() + 1)]
        return {slot: slot for slot in (*(p for p in powers if p < self.length - 1), self.length - 1)}

    def evaluation_sets(self) -> Mapping[str, Task]:
        """Prompts of examples of k words: "k5" of concepts that documents can have (all of them, whatever `seen` is),
        "unseen_k5" of others."""
        prompts = self.replace(prompts=True)
        return {
            f"{name}k{k}": prompts.replace(example_length=k, unseen=unseen)
            for name, unseen in (("", False), ("unseen_", True))
            for k in self.lengths
        }

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        """The error after the most examples."""
        return {f"error_{name}": (name, f"error/{max(self.shots, default=0)}") for name in self.evaluation_sets()}

    def check(self) -> None:
        require_seed("task.seed", self.seed)
        for name, least in (("concepts", 1), ("entities", 1), ("properties", 2), ("vocabulary", 2), ("length", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"task.{name} is {value}; it must be at least {least}.")
        if not 1 <= self._seen <= self.concepts or self._seen != int(self._seen):
            raise ValueError(
                f"task.seen is {self.seen}; it must be a whole number from 1 to task.concepts, {self.concepts}, or "
                "None."
            )
        for name in ("temperature", "start_temperature"):
            if not (value := getattr(self, name)) >= _COLDEST:
                raise ValueError(f"task.{name} is {value}; it must be at least {_COLDEST:g}.")
        if not 0 <= self.persistence <= 1:
            raise ValueError(f"task.persistence is {self.persistence}; it must be from 0 to 1.")
        if not self.lengths or min(*self.lengths, self._k) < 2:
            raise ValueError(
                f"task.lengths is {self.lengths} and task.example_length {self.example_length}; an example has at "
                "least 2 words."
            )
        if len(set(self.lengths)) < len(self.lengths):
            raise ValueError(f"task.lengths is {self.lengths}; it must hold different numbers.")
        if not self.shots or min(self.shots) < 0 or len(set(self.shots)) < len(self.shots):
            raise ValueError(f"task.shots is {self.shots}; it must hold different numbers of at least 0.")
        most, k = max(self.shots), max(*self.lengths, self._k)
        if (needed := most * (k + 1) + k - 1) > self.length:
            raise ValueError(
                f"task.length is {self.length}; {most} examples of {k} words before the one that is asked need "
                f"{needed} slots."
            )

    @property
    def _k(self) -> Leaf:
        return self.example_length

    @property
    def _seen(self) -> Leaf:
        return self.concepts if self.seen is None else self.seen

    def _place(self, slot: Array) -> Array:
        """The number of a slot's word in its example; k is the delimiter after it."""
        return slot % (jnp.asarray(self._k, jnp.int32) + 1)

    def _walk(self, chains: Chains, concept_B: Array, entity_B: Array, first_B: Array, u_2SB: Array) -> Array:
        """The words of S + 1 states from a first one on, `[S+1, B]`; examples of a prompt share the first property."""
        entity_EE, property_KPP = _cumulative(chains.entity_EE), _cumulative(chains.property_KPP)

        def word(state: tuple[Array, Array], place: Array) -> Array:
            word_B = chains.word_EP[state]
            return jnp.where(place == self._k, _DELIMITER, word_B) if self.prompts else word_B

        def step(state: tuple[Array, Array], drawn: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            (entity_B, property_B), (u_2B, place) = state, drawn
            next_B = _drawn(entity_EE[entity_B], u_2B[0])
            after_B = _drawn(property_KPP[concept_B, property_B], u_2B[1])
            if self.prompts:
                ends = place == self._k
                next_B = jnp.where(ends, draws.number_below(u_2B[0], self.entities), next_B)
                after_B = jnp.where(ends, first_B, after_B)
            return (next_B, after_B), word(state, place)

        S = u_2SB.shape[1]
        steps = jnp.moveaxis(u_2SB, 1, 0), self._place(jnp.arange(S))
        state, word_SB = jax.lax.scan(step, (entity_B, first_B), steps, unroll=4)
        return jnp.concatenate([word_SB, word(state, self._place(jnp.asarray(S)))[None]])

    def _most_likely(self, chains: Chains, concept_B: Array, first_B: Array, word_BS: Array) -> Array:
        """The most likely word after each, given those of its example, the concept and the first property, `[B, S]`.

        By the forward recursion: the law of the state, given the words so far, from even entities on.
        """
        E, P, V = self.entities, self.properties, self.vocabulary
        start_BEP = jnp.broadcast_to(jax.nn.one_hot(first_B, P)[:, None] / E, (len(first_B), E, P))
        property_BPP = chains.property_KPP[concept_B]
        shows_EPV = jax.nn.one_hot(chains.word_EP, V)

        def step(before_BEP: Array, seen: tuple[Array, Array]) -> tuple[Array, Array]:
            word_B, place = seen
            before_BEP = jnp.where(place == 0, start_BEP, before_BEP)
            now_BEP = jnp.where(chains.word_EP[None] == word_B[:, None, None], before_BEP, 0.0)
            now_BEP /= jnp.maximum(jnp.sum(now_BEP, axis=(1, 2), keepdims=True), jnp.finfo(now_BEP.dtype).tiny)
            after_BEP = jnp.einsum("BEP,EF,BPQ->BFQ", now_BEP, chains.entity_EE, property_BPP)
            return after_BEP, jnp.argmax(jnp.einsum("BEP,EPV->BV", after_BEP, shows_EPV), axis=-1).astype(jnp.int32)

        places_S = self._place(jnp.arange(word_BS.shape[1]))
        _, likely_SB = jax.lax.scan(step, start_BEP, (word_BS.T, places_S))
        return likely_SB.T


def _mixed_permutations(key: Key, size: int, temperature: Leaf) -> Array:
    """sum_n w_n P_n of as many random permutation matrices as they have rows, w = softmax(u / temperature)."""
    u = draws.uniform(key, (1 + size, size))
    weight_N = jax.nn.softmax(u[0] / temperature)
    next_NI = jax.vmap(draws.permutation)(u[1:])
    return jnp.einsum("N,NIJ->IJ", weight_N, jax.nn.one_hot(next_NI, size))


def _cumulative(chance: Array) -> Array:
    """Sums of the last axis, 1 exactly where nothing is left, so that no draw falls on what has no chance."""
    sums = jnp.cumsum(chance, axis=-1)
    return sums / sums[..., -1:]


def _drawn(cumulative_BN: Array, u_B: Array) -> Array:
    """Numbers by the inverse of their distributions."""
    return jnp.sum(u_B[:, None] >= cumulative_BN, axis=-1).astype(jnp.int32)
