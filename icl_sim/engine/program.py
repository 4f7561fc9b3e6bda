"""The compiled functions of a group: its members spread over devices, one after the other or together on each, their
batches divided where several devices share a member."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from icl_sim import precision
from icl_sim.engine import hosts
from icl_sim.engine.devices import DATA, MEMBER
from icl_sim.engine.evaluate import evaluate
from icl_sim.engine.group import Group
from icl_sim.engine.step import State, initial_state, is_lost, join, train
from icl_sim.types import Phase


class Program:
    """What a group can do: start, train and measure all its members at once.

    On a CPU a device goes through its members one by one (`lax.map`), so that a member's state stays in cache while
    it trains; on other devices, and where a predictor learns online by very small steps, they run together (`vmap`).

    Devices that share a member, along the axis "data" of the mesh, each draw the whole batch, take the gradient of
    their part of it and average: what `pmap` was used for. So do they with evaluations; members never communicate.

    State enters as an argument sharded over members, and replication is not tracked (`check_vma=False`): a constant
    created inside the mapped function would otherwise be taken for shared, and its gradient summed over members.

    Attributes:
      mesh: the devices, along the axes "member" and "data".
      size: M, the number of members.
      at_once: members that a device computes together: 1 for one by one; None asks for what the platform does best.
      phases: of training.
    """

    def __init__(self, group: Group, mesh: Mesh, at_once: int | None = None):
        self.mesh, self.size = mesh, len(group)
        each, across = -(-len(group) // mesh.shape[MEMBER]), mesh.shape[DATA]
        self.at_once = min(at_once or (1 if is_one_by_one(group, mesh) else each), each)
        self._places = mesh.shape[MEMBER] * -(-each // self.at_once) * self.at_once
        self.groups = group.members.task.groups()
        self.phases = group.members.predictor.phases
        self.members = self.place(group.members)
        self.shared = hosts.spread(group.members.task.load(), NamedSharding(mesh, P()))
        self._trains: dict[Phase, Any] = {}
        self._start = self.spread(lambda shared, member: initial_state(member, shared), name="start")
        self._measure = self.spread(
            lambda shared, member, state: evaluate(member, join(state.parts), state.references, shared, across),
            name="measure",
        )
        self._is_lost = self.spread(lambda _, state: is_lost(state), name="is_lost")

    @property
    def devices(self) -> list[jax.Device]:
        """The devices that the members are spread over, and their batches."""
        return list(self.mesh.devices.flat)

    def of(self, group: Group) -> Program:
        """The same functions, not compiled again, for other members of this structure, no more than these."""
        other = copy.copy(self)
        other.size = len(group)
        other.members = other.place(group.members)
        return other

    def place(self, tree: Any) -> Any:
        """Spreads a tree of columns `[M, ...]` over the devices, padded with copies of the last member."""
        padding = self._places - self.size
        padded = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], padding, axis=0)]), tree)
        return hosts.spread(padded, NamedSharding(self.mesh, P(MEMBER)))

    def fetch(self, tree: Any) -> Any:
        """The inverse of `place`: columns `[M, ...]` on every host, without padding."""
        return jax.tree.map(lambda column: column[: self.size], hosts.gathered(tree))

    def start(self) -> State:
        """The state of all members before the first update."""
        return self._start(self.shared, self.members)

    def train(self, state: State, start: int, stop: int, phase: Phase) -> State:
        """The state after the updates `start` to `stop` (exclusive); the old state's memory is given up."""
        return self._train(phase)(self._everywhere(start, stop), self.members, state)

    def measure(self, state: State) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Evaluation set -> metric -> values `[M]`."""
        return self.fetch(self._measure(self.shared, self.members, state))

    def is_lost(self, state: State) -> np.ndarray:
        """Which members have parameters that are not finite, `[M]`."""
        return self.fetch(self._is_lost(None, state))

    def bytes_of_training(self) -> int:
        """Of memory that training takes on a device, as compiled: settings, states, and what is computed on the way."""
        placed = NamedSharding(self.mesh, P(MEMBER))
        state = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed),
            jax.eval_shape(self._start, self.shared, self.members),
        )
        needed = 0
        for phase in self.phases:  # what this compiles is what `train` runs
            compiled = self._train(phase).lower(self._everywhere(0, 1), self.members, state).compile()
            told = compiled.memory_analysis()
            held = told.argument_size_in_bytes + told.output_size_in_bytes - told.alias_size_in_bytes
            needed = max(needed, held + told.temp_size_in_bytes)
        return needed

    def _everywhere(self, start: int, stop: int) -> Any:
        """What training has on every device."""
        return self.shared, *hosts.spread((np.int32(start), np.int32(stop)), NamedSharding(self.mesh, P()))

    def _train(self, phase: Phase) -> Any:
        """The jitted training function of a phase: ((shared, start, stop), members, state) -> state."""
        if phase in self._trains:
            return self._trains[phase]

        def run(everywhere: Any, member: Any, state: State) -> State:
            shared, start, stop = everywhere
            return train(member, state, shared, start, stop, phase, across=self.mesh.shape[DATA])

        self._trains[phase] = self.spread(run, donate=(2,), name="train")
        return self._trains[phase]

    def spread(self, function: Callable[..., Any], donate: tuple[int, ...] = (), name: str = "spread") -> Any:
        """Compiles function(everywhere, *of_one_member) to run for all members, `[M, ...]`, over the devices."""

        def on_one_device(everywhere: Any, *of_members: Any) -> Any:
            at_once = self.at_once
            if at_once == len(jax.tree.leaves(of_members)[0]) > 1:
                return jax.vmap(lambda *one: function(everywhere, *one))(*of_members)
            several = at_once if at_once > 1 else None
            return jax.lax.map(lambda one: function(everywhere, *one), of_members, batch_size=several)

        def on_all_devices(everywhere: Any, *of_members: Any) -> Any:
            specs = (P(), *(P(MEMBER) for _ in of_members))
            spread = jax.shard_map(
                on_one_device, mesh=self.mesh, in_specs=specs, out_specs=P(MEMBER), check_vma=False
            )
            with precision.full():
                return spread(everywhere, *of_members)

        on_all_devices.__name__ = name  # what logs and profiles call the program
        return jax.jit(on_all_devices, donate_argnums=donate)


def is_one_by_one(group: Group, mesh: Mesh) -> bool:
    """Whether a device is known to be faster with one member after the other than with several together."""
    return mesh.devices.flat[0].platform == "cpu" and not group.members.predictor.online


def state_shapes(group: Group) -> State:
    """Shapes and dtypes of the state of a group's members, `[M, ...]`."""
    shared = group.members.task.load()
    one = jax.eval_shape(initial_state, group.first, shared)  # which traces it once for all groups of a structure
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(group), *leaf.shape), leaf.dtype), one)


def is_trainable(group: Group) -> bool:
    """Whether the group's predictors have parameters that training moves."""
    trains = not group.members.task.calculated and group.members.predictor.phases
    return bool(trains) and bool(jax.tree.leaves(state_shapes(group).parts))
