"""How a group lies on the devices: over which its members and their batches are spread, how many of them a device
computes at once, and how many fit into memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from icl_sim.engine import devices, trial
from icl_sim.engine.cost import flops_per_update
from icl_sim.engine.group import Group
from icl_sim.engine.program import Program, is_trainable

WORTH_SHARING = 1e8  # operations on each device: a millisecond of a CPU core, many times what a sum over devices takes


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is laid down of how groups lie on devices; what is None is chosen for each by its size and the machine.

    Attributes:
      data: devices that share every batch of a member.
      at_once: members that a device computes together; 1 for one after the other.
      wave: members that are simulated at a time, the others after them.
    """

    data: int | None = None
    at_once: int | None = None
    wave: int | None = None

    def check(self) -> None:
        """Raises ValueError for a number below 1."""
        for field in dataclasses.fields(self):
            if (value := getattr(self, field.name)) is not None and value < 1:
                raise ValueError(f"{field.name} is {value}; it must be at least 1, or None to let it be chosen.")

    def check_for(self, group: Group) -> None:
        """Raises ValueError if a group cannot lie so on the devices."""
        self.check()
        if self.data is None or group.members.task.calculated:
            return
        size, count = group.members.training.batch_size, len(jax.devices())
        if self.data > count:
            raise ValueError(f"--data_parallel is {self.data}; it must be at most {count}, the number of devices.")
        if size % self.data:
            raise ValueError(
                f"--data_parallel is {self.data}, and training.batch_size, {size}, cannot be divided into so many "
                "equal parts."
            )


CHOSEN = Layout()


def laid_out(group: Group, layout: Layout = CHOSEN) -> Iterator[tuple[Group, Program | None]]:
    """A group in waves that fit into memory, all of one size but the last, with the program that simulates each.

    Raises:
      ValueError: if members or batches cannot lie on the devices as was asked.
    """
    layout.check_for(group)
    if group.members.task.calculated:
        yield group, None
        return
    size = min(len(group), layout.wave or len(group))
    program = _program(_part(group, 0, size), layout)
    trains = bool(group.members.training.steps) and is_trainable(group)
    while trains and layout.wave is None and (fitting := _fitting(program)) < size:
        size = fitting
        program = _program(_part(group, 0, size), layout)
    for first in range(0, len(group), size):
        wave = _part(group, first, first + size)
        yield wave, program.of(wave)


def _program(group: Group, layout: Layout) -> Program:
    mesh = mesh_of(group, layout)
    return Program(group, mesh, layout.at_once) if layout.at_once else trial.fastest(group, mesh)


def mesh_of(group: Group, layout: Layout = CHOSEN) -> Mesh:
    """The mesh `member x data` for a group.

    Members come first. Devices that none needs share the batches of the others, as many as divide a batch, where an
    update is so much work that it pays.
    """
    size, count = group.members.training.batch_size, len(jax.devices())
    if layout.data is not None:
        return devices.member_mesh(len(group), layout.data)
    spare = count // len(group)
    if spare < 2 or group.members.predictor.online or not is_trainable(group):
        return devices.member_mesh(len(group))
    worth = flops_per_update(group) / WORTH_SHARING
    shared = [data for data in range(1, spare + 1) if size % data == 0 and data <= max(worth, 1)]
    return devices.member_mesh(len(group), shared[-1])


def _fitting(program: Program) -> int:
    """How many members fit into memory, given the program of some: as many, or fewer."""
    if (waves := math.ceil(program.bytes_of_training() / devices.memory_for_training())) <= 1:
        return program.size
    rows = program.mesh.shape[devices.MEMBER]
    return min(program.size, rows * max(1, program.size // waves // rows))


def _part(group: Group, first: int, end: int) -> Group:
    number_M = np.arange(len(group))
    return group.taken((first <= number_M) & (number_M < end))
