"""The processes of one training: what the first says, and what all have found."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch

from copamerge.bench.loading import imported
from copamerge.errors import CopamergeError

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""How long processes wait for the first one, which hashes the base and the data alone."""


@dataclass(frozen=True)
class Ranks:
    """Which process this is, of how many. A launcher (accelerate, torchrun) starts the others."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def said_by_first(self, what: Callable[[], T]) -> T:
        """What the first process finds, in all of them; its mistakes are everybody's.

        Raises:
            CopamergeError: as `what` does, in the first process.
        """
        if self.world == 1:
            return what()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = what()
            except CopamergeError as error:
                told[1] = (type(error), error.problems)
        torch.distributed.broadcast_object_list(told, src=0)
        if told[1] is not None:
            kind, problems = told[1]
            raise kind(problems)
        found: T = told[0]
        return found

    def of_all(self, mine: Sequence[T]) -> list[T]:
        """What every process has found, in the order of processes."""
        if self.world == 1:
            return list(mine)
        told: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(told, list(mine))
        return [one for each in told for one in each]


def ranks() -> Ranks:
    """This process among those that a launcher started, joined with them; alone without one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    state = imported("accelerate").PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    return Ranks(rank=state.process_index, world=state.num_processes)


def part(*, together: bool) -> None:
    """Leave the others, at the end of a program: a process that just ended could make another one
    abort. `together` waits until all have come here; after a mistake, not all do."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    if together:
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def is_sharded() -> bool:
    """Whether the launcher splits the model's weights (FSDP, DeepSpeed), so that every process has
    to walk through every layer in every step."""
    return any(
        os.environ.get(name, "false").lower() in ("true", "1")
        for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    )
