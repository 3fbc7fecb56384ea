"""Who computes units: this process, or (raypool.py) actors. Neither touches the answers on disk."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Protocol

from copamerge.bench.answers import (
    Answers,
    DamagedAnswersError,
    answers_file,
    read_answers,
    write_answers,
)
from copamerge.bench.units import Unit
from copamerge.errors import CopamergeError
from copamerge.suites import AnswerKind, Asking, Sample, Split, Task, suite_named
from copamerge.suites.pictures import PictureError, pixels

Progress = Callable[[int, int], None]
"""(samples answered, samples in all)"""


class Answerer(Protocol):
    """Something that answers samples; tests have one that needs no torch."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Of what the answers may depend on."""

    def use(self, adapter: Path | None) -> AbstractContextManager[Sequence[str]]:
        """Answer with this adapter inside the block, None being the base; gives warnings."""

    def answer(self, samples: Sequence[Sample], asking: Asking, batch: int) -> list[str]:
        """One text per sample, in their order; their pictures are open."""


@dataclass(frozen=True)
class Job:
    """A unit, where the adapter of its digest lies, and how its suite is opened."""

    unit: Unit
    adapter: Path | None
    suite: str
    """A name, or the file that describes it."""
    data: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job: answers, or the reason why there are none."""

    job: Job
    answers: Answers | None
    failure: tuple[str, ...] = ()
    """A user's mistake in sentences, such as an adapter of another base."""


class Executor(Protocol):
    """Computes jobs in any order, those of one adapter together."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]: ...


def samples_of(job: Job) -> tuple[Sample, ...]:
    """The questions of a job, made or read anew: they are the same wherever that is."""
    unit = job.unit
    task = suite_named(job.suite, job.data).by_name[unit.task]
    return _samples(task, unit.split, unit.count, unit.seed, unit.start)


def ids_of(job: Job) -> tuple[str, ...]:
    unit = job.unit
    task = suite_named(job.suite, job.data).by_name[unit.task]
    return _ids(task, unit.split, unit.count, unit.seed, unit.start)


# Every model is asked the same questions: those of a suite of 12 tasks and 1000 items are kept.
@lru_cache(maxsize=64)
def _samples(task: Task, split: Split, count: int, seed: int, start: int) -> tuple[Sample, ...]:
    return tuple(task.samples(split, count, seed, start))


@lru_cache(maxsize=4096)
def _ids(task: Task, split: Split, count: int, seed: int, start: int) -> tuple[str, ...]:
    return tuple(sample.id for sample in _samples(task, split, count, seed, start))


@dataclass
class Done:
    """What a set of jobs came to."""

    answers: dict[str, Answers] = field(default_factory=dict)
    """By the unit's key."""
    failures: dict[str | None, list[str]] = field(default_factory=dict)
    """Why an adapter could not be asked, by its digest."""
    computed: int = 0
    """Samples answered now, not found."""
    notes: list[str] = field(default_factory=list)
    """Files that had to be made again."""


def answer_all(
    jobs: Sequence[Job], executor: Executor, folder: Path, progress: Progress | None = None
) -> Done:
    """Every job's answers: those that lie in the folder, and the others computed and put there.

    A unit with samples that could not be asked is answered anew once a picture of theirs opens.

    Raises:
        SuiteError: a whole file in the folder answers something else.
    """
    done, missing = Done(), list[Job]()
    unique = {job.unit.key: job for job in jobs}
    total = sum(job.unit.count for job in unique.values())
    finished = 0
    for job in unique.values():
        path = answers_file(folder, job.unit)
        if not path.exists():
            missing.append(job)
            continue
        try:
            found = read_answers(path, job.unit, ids_of(job))
        except DamagedAnswersError as error:
            done.notes += error.problems
            missing.append(job)
            continue
        if found.errors and _can_be_asked_now(job, found):
            missing.append(job)
        else:
            done.answers[job.unit.key] = found
            finished += job.unit.count
    if progress:
        progress(finished, total)
    for outcome in executor.run(_grouped(missing)):
        unit = outcome.job.unit
        if outcome.answers is None:
            done.failures[unit.adapter_digest] = list(outcome.failure)
        else:
            write_answers(folder, unit, outcome.answers)
            done.answers[unit.key] = outcome.answers
            done.computed += unit.count
        finished += unit.count
        if progress:
            progress(finished, total)
    return done


def _can_be_asked_now(job: Job, found: Answers) -> bool:
    """Whether a picture that kept a sample from being asked has been put right since."""
    lost = [sample for sample in samples_of(job) if sample.id in found.errors]
    return any(_opened(sample, {}) is not None for sample in lost)


def _grouped(jobs: Sequence[Job]) -> list[Job]:
    """Jobs of one adapter next to each other, adapters in order of appearance."""
    order: dict[str | None, list[Job]] = {}
    for job in jobs:
        order.setdefault(job.unit.adapter_digest, []).append(job)
    return [job for group in order.values() for job in group]


class Local:
    """One model in this process, loaded when the first job needs it."""

    def __init__(self, load: Callable[[], Answerer], batch: int = 100) -> None:
        self._load, self._batch = load, batch
        self._answerer: Answerer | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        for _, group in groupby(jobs, key=lambda job: job.unit.adapter_digest):
            waiting = list(group)
            answerer = self._answerer = self._answerer or self._load()
            with ExitStack() as stack:
                try:
                    warned = stack.enter_context(answerer.use(waiting[0].adapter))
                except CopamergeError as error:
                    yield from (Outcome(x, None, failure=tuple(error.problems)) for x in waiting)
                    continue
                for job in waiting:
                    yield Outcome(job, answers_of(answerer, job, self._batch, warned))


def answers_of(answerer: Answerer, job: Job, batch: int, warned: Sequence[str]) -> Answers:
    samples, errors = samples_of(job), dict[str, str]()
    texts: list[str | None] = []
    started = time.perf_counter()
    for start in range(0, len(samples), batch):
        some = [_opened(sample, errors) for sample in samples[start : start + batch]]
        ready = [sample for sample in some if sample is not None]
        said = iter(_asked(answerer, ready, job.unit.asking, batch) if ready else [])
        texts += [None if sample is None else next(said) for sample in some]
    return Answers(
        ids=tuple(sample.id for sample in samples),
        texts=tuple(texts),
        seconds=round(time.perf_counter() - started, 4),
        versions=_versions(answerer, batch),
        warnings=tuple(warned),
        errors=errors,
    )


def _versions(answerer: Answerer, batch: int) -> dict[str, str]:
    """With the batch size, where it may flip an answer: in half precision."""
    found = dict(answerer.versions)
    return found | ({"batch": str(batch)} if "16" in found.get("dtype", "") else {})


def _opened(sample: Sample, errors: dict[str, str]) -> Sample | None:
    """With its pictures read; None, and the reason, where one cannot be."""
    try:
        return replace(sample, images=tuple(pixels(picture) for picture in sample.images))
    except PictureError as error:
        errors[sample.id] = " ".join(error.problems)
        return None


def _asked(
    answerer: Answerer, samples: Sequence[Sample], asking: Asking, batch: int
) -> Sequence[str]:
    try:
        return answerer.answer(samples, asking, batch)
    except (MemoryError, RuntimeError) as error:
        # torch is not imported here; its error has this name on every device.
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":
            raise
        remedy = "a single one is too much for this machine"
        if batch > 1:
            remedy = f"try --batch {batch // 2}: what was answered is kept"
        raise CopamergeError(
            f"out of memory with {len(samples)} samples at once; {remedy}"
        ) from None


def executor_for(
    base: Path,
    kind: AnswerKind = "text",
    *,
    ray: str | None = None,
    batch: int = 100,
    gpus_per_actor: float = 1.0,
) -> Executor:
    """Ray at this address (`local` starts one), or this process; `kind` as `Suite.answers`."""
    if ray is not None:
        from copamerge.bench.raypool import Ray

        return Ray(base, ray, batch, kind=kind, gpus=gpus_per_actor)
    return Local(lambda: load_answerer(base, kind), batch)


def load_answerer(base: Path, kind: AnswerKind) -> Answerer:
    """What answers a suite of this kind.

    Raises:
        SuiteError: the base cannot be loaded as that.
        CopamergeError: a library is not installed.
    """
    if kind == "labels":
        from copamerge.bench.clip import load_clip

        return load_clip(base)
    from copamerge.bench.models import load_base

    return load_base(base)
