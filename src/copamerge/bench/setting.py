"""What is the same for every model of a run, and a model on its way through it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copamerge.bench.executors import Executor, Job
from copamerge.bench.making import Made
from copamerge.bench.specs import ModelSpec, ScaleRule
from copamerge.bench.units import adapter_digest, units
from copamerge.bench.zoo import Zoo
from copamerge.suites import Split, Suite, Task

Tell = Callable[[str, int, int], None]
"""(what is going on, how much of it is done, of how much)"""


@dataclass(frozen=True)
class Setting:
    """What is the same for every model of a run."""

    out: Path
    suite: Suite
    data: Path | None
    """Where the suite's data lie; None for what is made by code."""
    tasks: tuple[Task, ...]
    base: Path
    base_digest: str
    zoo: Zoo | None
    adapter_set: str
    items: int | None
    """Of each task; None: all it has."""
    seed: int
    split: Split
    answers: Path
    scale_rule: ScaleRule
    items_validation: int
    experiment: str | None
    tell: Tell
    executor: Executor
    notes: tuple[str, ...] = ()
    """What is not as the suite has it."""
    digests: dict[Path, str] = field(default_factory=dict)

    def digest(self, adapter: Path | None) -> str | None:
        if adapter is None:
            return None
        if adapter not in self.digests:
            self.digests[adapter] = adapter_digest(adapter)
        return self.digests[adapter]

    def jobs(
        self, task: Task, adapter: Path | None, *, split: Split, items: int | None
    ) -> list[Job]:
        """The units of a task's first `items` samples; None is all of them."""
        pieces = units(
            task,
            task.count(split, items),
            base=self.base_digest,
            adapter=self.digest(adapter),
            suite=self.suite.name,
            split=split,
            seed=self.seed,
        )
        return [Job(unit, adapter, self.suite.opened_as, self.data) for unit in pieces]

    def tasks_of(self, spec: ModelSpec) -> tuple[Task, ...]:
        """The tasks of the run that this model is asked."""
        if spec.tasks is None:
            return self.tasks
        names = {task.name for task in self.suite.pick(spec.tasks)}
        return tuple(task for task in self.tasks if task.name in names)

    def place(self, adapter: Path) -> str:
        """Relative to the run's folder, else to the zoo's, else as it is."""
        for root in (self.out, self.zoo.path if self.zoo else None):
            if root is not None and adapter.is_relative_to(root):
                return adapter.relative_to(root).as_posix()
        return str(adapter)


@dataclass
class Model:
    """A row on its way through the run."""

    spec: ModelSpec
    adapters: dict[str, Path | None]
    """Task -> what is asked about it; tasks that are not defined for it are not in here."""
    asked: tuple[Task, ...]
    record: dict[str, Any]
    made: Made | None = None
    failed: list[str] = field(default_factory=list)
