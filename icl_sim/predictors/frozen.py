"""Training that leaves some of the parameters as they are, from the start or from a moment on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from icl_sim.predictors.networks.transformer import Transformer
from icl_sim.types import Array, Batch, Key, Outputs, Params, Phase, Predictor, setting, static


@setting
class Wrapped(Predictor):
    """What surrounds a predictor and has no parameters of its own: subclasses change some of what the network does."""

    network: Predictor = Transformer()

    @property
    def online(self) -> bool:
        return self.network.online

    @property
    def phases(self) -> tuple[Phase, ...]:
        return self.network.phases

    def check(self) -> None:
        self.network.check()

    def init(self, key: Key, batch: Batch) -> Params:
        return self.network.init(key, batch)

    def apply(self, params: Params, batch: Batch, *, record: bool = False, **how: Any) -> Outputs:
        """That of the network, which takes `how`, such as clamps, where it is not for the wrapper."""
        return self.network.apply(params, batch, record=record, **how)

    def observe(self, params: Params, batch: Batch) -> tuple[Params, Array]:
        return self.network.observe(params, batch)

    def account(self, params: Params) -> Mapping[str, Array]:
        return self.network.account(params)

    def report(self, outputs: Outputs, batch: Batch) -> Mapping[str, Array]:
        return self.network.report(outputs, batch)


@setting
class Frozen(Wrapped):
    """A network some of whose parameters do not train, or only up to a moment (Singh et al. 2025, section 3).

    Attributes:
      network: any predictor that is trained by gradients.
      names: what is frozen: top-level keys of its parameters or paths from there, as "blocks/1".
      after: the share of training before which it moves like the rest.
    """

    names: tuple[str, ...] = static(("blocks/0",))
    after: float = static(0.0)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Those of the network, the one in which freezing begins in two."""
        phases, start = [], 0.0
        for phase in self.network.phases:
            moving = min(max(self.after - start, 0.0), phase.share)
            start += phase.share
            frozen = dataclasses.replace(phase, frozen=(*phase.frozen, *self.names))
            if moving:
                phases.append(dataclasses.replace(phase, share=moving))
            if moving < phase.share:
                phases.append(dataclasses.replace(frozen, share=phase.share - moving))
        return tuple(phases)

    def check(self) -> None:
        self.network.check()
        if self.network.online or not self.network.phases:
            raise ValueError(f"Frozen holds what gradients train, and {type(self.network).__name__} is not trained so.")
        if not self.names:
            raise ValueError("Frozen has no names; name at least one of the network's parameters, as in ('blocks/0',).")
        if not 0 <= self.after < 1:
            raise ValueError(f"after is {self.after}; it must be a share of training, at least 0 and below 1.")
