"""A model for tests that need no model, and questions to ask."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from copamerge.suites import Asking, Sample, suite_named
from makers import make_adapter

MINI = suite_named("mini")


class Echo:
    """Answers without a model: from the adapter's seed and the sample's reference."""

    versions: Mapping[str, str] = {"echo": "1"}

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str]] = []
        self.put_on: list[str | None] = []
        self.stop_after: int | None = None
        self._name: str | None = None

    @contextmanager
    def use(self, adapter: Path | None) -> Iterator[Sequence[str]]:
        self._name = None if adapter is None else adapter.name
        self.put_on.append(self._name)
        yield ("warned",) if self._name == "warned" else ()

    def answer(self, samples: Sequence[Sample], asking: Asking, batch: int) -> list[str]:
        if self.stop_after is not None and len(self.put_on) > self.stop_after:
            raise KeyboardInterrupt
        self.asked += [(self._name, sample.id) for sample in samples]
        if self._name is None:
            return ["nothing" for _ in samples]
        right = sum(self._name.encode()) % 7 + 2
        return [sample.references[0] if i % right else "wrong" for i, sample in enumerate(samples)]


def mixed_samples(count: int) -> list[Sample]:
    """Questions of unlike length, every third without a picture."""
    tasks = MINI.tasks
    samples = [tasks[i % len(tasks)].sample(i, "test", 0) for i in range(count)]
    return [
        Sample(sample.id, () if i % 3 == 1 else sample.images, sample.question, sample.references)
        for i, sample in enumerate(samples)
    ]


def plain_adapter(path: Path, seed: int = 0) -> Path:
    """A PEFT folder for tests that need no model."""
    return make_adapter(path, seed=seed, base_model_name_or_path="base")
