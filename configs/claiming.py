"""How the claims of a study about one source are made."""

from __future__ import annotations

from icl_sim.studies.claims import Claim


def claims_of(source: str, min_steps: int):
    """A maker of claims of one source, with the steps below which a network says nothing."""

    def claim(id, statement, measure, condition, published=None, *, steps: int = min_steps, seeds: int = 3) -> Claim:
        return Claim(
            id=id,
            statement=statement,
            source=source,
            measure=measure,
            condition=condition,
            published=published,
            min_seeds=seeds,
            min_steps=steps,
        )

    return claim
