"""Blocks of random tokens, repeated: what an induction head forms on (Olsson et al. 2022, "In-context learning and
induction heads", arXiv 2209.11895, section "Definition of induction heads")."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from icl_sim import draws
from icl_sim.types import CONTEXT, QUERY, SUPPORT, Array, Batch, Key, Leaf, Task, setting, static


@setting
class Repeats(Task):
    """A block of random tokens, again and again; every slot shows a token and asks for the next one.

    The first block can only be guessed. From its second occurrence on a token has the same successor as before, which
    who attends to the token after its last occurrence can copy. Blocks of one length let a network copy from a fixed
    distance instead, without looking at tokens: with `min_length`, every sequence has a period of its own.

    Latents: "length" and "prefix" of each sequence, `[B]`. Kinds: `SUPPORT` is a slot that shows the last token and its
    successor.

    Attributes:
      min_length: the shortest block; its length is one of min_length..length, all equally likely. None: `length`.
      prefix: the most tokens before the first block; 0..prefix, all equally likely, and the tokens random.
      repeated_only: whether only slots with tokens of later blocks count, which the context answers.
      vocabulary: V, the number of tokens.
      length: of a block, at most.
      blocks: how many blocks of `length` make a sequence; shorter ones are repeated until it is full.
      distinct: whether the tokens of a block are all different, or each is any.
    """

    min_length: Leaf | None = None
    prefix: Leaf = 0
    repeated_only: Leaf = False
    vocabulary: int = static(64)
    length: int = static(25)
    blocks: int = static(4)
    distinct: bool = static(True)

    @property
    def slots(self) -> int:
        """S."""
        return self.length * self.blocks

    def sample(self, key: Key, batch_size: int) -> Batch:
        token_BN, length_B, prefix_B = jax.vmap(self._sequence)(jax.random.split(key, batch_size))
        input_BS, target_BS = token_BN[:, :-1], token_BN[:, 1:]
        answers_BS = (input_BS == input_BS[:, -1:]) & (target_BS == target_BS[:, -1:])
        kind_BS = jnp.where(answers_BS, SUPPORT, CONTEXT).astype(jnp.int8).at[:, -1].set(QUERY)
        known_BS = jnp.arange(self.slots)[None] >= (prefix_B + length_B)[:, None]
        return Batch(
            inputs=input_BS,
            targets=target_BS,
            kinds=kind_BS,
            latents={"length": length_B, "prefix": prefix_B},
            weights=(known_BS | ~jnp.asarray(self.repeated_only, bool)).astype(float),
            num_classes=self.vocabulary,
        )

    def evaluation_sets(self) -> Mapping[str, Task]:
        """ "default": all slots; "repeated": those of later blocks alone; "fixed": blocks of `length`, no prefix."""
        default = self.replace(min_length=self._shortest, repeated_only=False)
        return {
            "default": default,
            "repeated": default.replace(repeated_only=True),
            "fixed": default.replace(min_length=self.length, prefix=0),
        }

    def summaries(self) -> Mapping[str, tuple[str, str]]:
        """The error, and that where the context has the answer."""
        return {"error": ("default", "error"), "repeated_error": ("repeated", "error")}

    @property
    def measured(self) -> tuple[str, ...]:
        return ("prefix_matching", "prefix_matching_mean", "previous_slot")

    def check(self) -> None:
        for name, least in (("vocabulary", 2), ("length", 1), ("blocks", 2)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"task.{name} is {value}; it must be at least {least}.")
        if self.distinct and self.length > self.vocabulary:
            raise ValueError(
                f"task.length is {self.length}, and task.vocabulary {self.vocabulary}: a block of distinct tokens is "
                "at most as long as there are tokens."
            )
        if not 1 <= self._shortest <= self.length or self._shortest != int(self._shortest):
            raise ValueError(
                f"task.min_length is {self.min_length}; it must be a whole number from 1 to task.length, "
                f"{self.length}, or None."
            )
        most = self.slots - self.length - 1
        if not 0 <= self.prefix <= most or self.prefix != int(self.prefix):
            raise ValueError(
                f"task.prefix is {self.prefix}; it must be a whole number from 0 to {most}, so that something is "
                "repeated."
            )

    @property
    def _shortest(self) -> Leaf:
        return self.length if self.min_length is None else self.min_length

    def _sequence(self, key: Key) -> tuple[Array, Array, Array]:
        """S + 1 tokens, the length of their block and that of what precedes it."""
        V, L, N = self.vocabulary, self.length, self.slots + 1
        u = draws.uniform(key, (2 + N + (V if self.distinct else L),))
        u_N, u_block = u[2 : 2 + N], u[2 + N :]
        block_L = jnp.argsort(u_block)[:L] if self.distinct else draws.number_below(u_block, V)
        length = self._shortest + draws.number_below(u[0], L - self._shortest + 1)
        prefix = draws.number_below(u[1], self.prefix + 1)
        number_N = jnp.arange(N) - prefix
        token_N = jnp.where(number_N < 0, draws.number_below(u_N, V), block_L[number_N % length])
        return token_N.astype(jnp.int32), jnp.asarray(length, jnp.int32), prefix
