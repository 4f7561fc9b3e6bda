"""The Bayes predictor of the next word of a mixture of hidden Markov chains (Xie et al. 2021, section 2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.types import Array, Batch, Leaf, Outputs, Params, Predictor, setting

_KNOWN = ("prior", "start", "entity", "property", "word")


@setting
class HiddenMarkovBayes(Predictor):
    """p(next word | words so far) where a document is of concept c with chance prior(c), by the forward recursion:

        a_c(h_t) = p(h_t | words so far, c),    w_c = p(c | words so far),    p = sum_c w_c sum_h' a_c(h') p(word | h').

    Exact for documents. A prompt of examples is none, since its examples do not follow from each other; it is read as
    if it were one, which is what a network that has seen documents alone can be expected to do. In time O(S K E P (E +
    P)) a sequence, and with weights w in logarithms, so that no concept is lost to rounding.

    The law is that of the batch's latents: "prior" `[1, K]`, "start" `[1, K, E, P]` of states (entity, property),
    "entity" `[1, E, E]` and "property" `[1, K, P, P]`, from state (rows) to state, and "word" `[1, E, P]`, what each
    state shows. Record: "concepts" `[B, S, K]`, log w.

    Attributes:
      jump: how likely a chain starts anew at a step. 0 is the law of documents itself, under which a prompt can be
        impossible (its answers are NaN).
    """

    jump: Leaf = 1e-6

    def check(self) -> None:
        if not 0 <= self.jump <= 1:
            raise ValueError(f"The jump is {self.jump}; it must be a chance from 0 to 1.")

    def apply(self, params: Params, batch: Batch, *, record: bool = False) -> Outputs:
        del params
        if missing := [name for name in _KNOWN if name not in batch.latents]:
            raise ValueError(
                f"HiddenMarkovBayes needs the law of documents, and the batch's latents have no {', '.join(missing)}; "
                "it goes with the task Ginc."
            )
        prior_K, start_KEP, entity_EE, property_KPP, word_EP = (batch.latents[name][0] for name in _KNOWN)
        shows_EPV = jax.nn.one_hot(word_EP, batch.num_classes)
        B, tiny = len(batch.targets), jnp.finfo(start_KEP.dtype).tiny

        def step(known: tuple[Array, Array], word_B: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            """From p(h_t | words before t, c) and log p(c, words before t) to those of the next, and the answer."""
            before_BKEP, log_BK = known
            joint_BKEP = jnp.where((word_EP[None] == word_B[:, None, None])[:, None], before_BKEP, 0.0)
            chance_BK = jnp.sum(joint_BKEP, axis=(2, 3))
            log_BK = log_BK + jnp.log(chance_BK)
            now_BKEP = joint_BKEP / jnp.where(chance_BK > 0, chance_BK, 1.0)[..., None, None]
            after_BKEP = jnp.einsum("BKEP,EF,KPQ->BKFQ", now_BKEP, entity_EE, property_KPP)
            after_BKEP = (1 - self.jump) * after_BKEP + self.jump * start_KEP[None]
            log_BK = jax.nn.log_softmax(log_BK)
            mean_BEP = jnp.einsum("BK,BKEP->BEP", jnp.exp(log_BK), after_BKEP)
            next_BV = jnp.einsum("BEP,EPV->BV", mean_BEP, shows_EPV)
            return (after_BKEP, log_BK), (jnp.log(jnp.maximum(next_BV, tiny)), log_BK)

        start = jnp.broadcast_to(start_KEP[None], (B, *start_KEP.shape)), jnp.tile(jnp.log(prior_K)[None], (B, 1))
        _, (values_SBV, log_SBK) = jax.lax.scan(step, start, batch.inputs.T)
        kept = {"concepts": jnp.moveaxis(log_SBK, 0, 1)} if record else {}
        return Outputs(values=jnp.moveaxis(values_SBV, 0, 1), record=kept)
