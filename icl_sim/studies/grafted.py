"""Networks that start from layers of another run."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from icl_sim.names import expanded
from icl_sim.predictors.frozen import Wrapped
from icl_sim.predictors.grafting import graft
from icl_sim.studies.sweep import parse
from icl_sim.types import Batch, Key, Leaf, Params, setting, static


@setting
class Grafted(Wrapped):
    """A network that starts with some parameters of a finished run, and the rest at random (Singh et al. 2025).

    In `Frozen`, these stay as they were. With the loss on data that only the context can answer, layers from runs of
    different length tell when what memory has built is of use to the context:

        Frozen(network=Grafted(network=Transformer(), paths=("blocks/1",), run="out/ciwl"), names=("blocks/1",))

    Attributes:
      paths: what comes from the run, by its path in the parameters, as "blocks/1" or "head"; `predictors.grafting` has
        those of whole stretches of layers.
      run: the folder of the run.
      predictor: its name there.
      where: values of what that run swept, as on a command line: "training.steps=1000; training.l2=0".
      of_seed: the seed of the member of that run; a sweep can have it go with its own, by `zip_`.
    """

    paths: tuple[str, ...] = static(("blocks/1",))
    run: str = static("")
    predictor: str = static("network")
    where: str = static("")
    of_seed: Leaf = 0

    def check(self) -> None:
        self.network.check()
        if not self.paths:
            raise ValueError("Grafted has no paths; name at least one of the network's parameters, as ('blocks/1',).")
        if not self.run or not expanded(self.run).is_dir():
            raise ValueError(f"The run of Grafted is {self.run!r}; it must be the folder of a run.")
        seeds, _ = self._source()
        if self.of_seed not in seeds:
            raise ValueError(f"of_seed is {self.of_seed}; the run {self.run} has {', '.join(map(str, seeds))}.")

    def init(self, key: Key, batch: Batch) -> Params:
        """Parameters of the network, those at `paths` as the run left them.

        Raises:
          ValueError: where there are none, or of other shapes.
        """
        seeds, sources = self._source()
        number = jnp.argmax(jnp.asarray(seeds, jnp.uint32) == jnp.asarray(self.of_seed).astype(jnp.uint32))
        source = jax.tree.map(lambda *leaves: jnp.stack(leaves)[number], *sources)
        return graft(self.network.init(key, batch), source, self.paths)

    def _source(self) -> tuple[list[int], list[Params]]:
        """The seeds of the run, and the parameters of each."""
        from icl_sim.studies.trained import all_trained  # which knows every kind of predictor, and so this one

        points = tuple(parse(self.where))
        if len(points) != 1 or "seed" in points[0]:
            raise ValueError(f"where is {self.where!r}; it must give each name one value, and leave seed to of_seed.")
        members = all_trained(self.run, self.predictor, points[0])
        return [int(member.point["seed"]) for member in members], [member.params for member in members]
