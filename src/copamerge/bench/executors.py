"""Who computes units: this process, or a pool of Ray actors. Neither touches the disk's answers."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from copamerge.bench.answers import (
    Answers,
    DamagedAnswersError,
    answers_file,
    read_answers,
    write_answers,
)
from copamerge.bench.units import Unit
from copamerge.errors import CopamergeError
from copamerge.suites import Sample, Split, Task, suite_named

Progress = Callable[[int, int], None]
"""(samples answered, samples in all)"""


class Answerer(Protocol):
    """Something that answers samples; tests have one that needs no torch."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Of what the answers may depend on."""

    def use(self, adapter: Path | None) -> AbstractContextManager[Sequence[str]]:
        """Answer with this adapter inside the block, None being the base; gives warnings."""

    def answer(self, samples: Sequence[Sample], max_new_tokens: int, batch: int) -> list[str]:
        """One text per sample, in their order."""


@dataclass(frozen=True)
class Job:
    """A unit and where the adapter of its digest lies."""

    unit: Unit
    adapter: Path | None


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


def samples_of(unit: Unit) -> tuple[Sample, ...]:
    """The questions of a unit, made anew: they are the same wherever they are made."""
    task = suite_named(unit.suite).by_name[unit.task]
    return _samples(task, unit.split, unit.count, unit.seed, unit.start)


def ids_of(unit: Unit) -> tuple[str, ...]:
    task = suite_named(unit.suite).by_name[unit.task]
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
            done.answers[job.unit.key] = read_answers(path, job.unit, ids_of(job.unit))
            finished += job.unit.count
        except DamagedAnswersError as error:
            done.notes += error.problems
            missing.append(job)
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


def _grouped(jobs: Sequence[Job]) -> list[Job]:
    """Jobs of one adapter next to each other, adapters in order of appearance."""
    order: dict[str | None, list[Job]] = {}
    for job in jobs:
        order.setdefault(job.unit.adapter_digest, []).append(job)
    return [job for group in order.values() for job in group]


# --- in this process ---------------------------------------------------------------------------


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
                    yield Outcome(job, _answers(answerer, job, self._batch, warned))


def _answers(answerer: Answerer, job: Job, batch: int, warned: Sequence[str]) -> Answers:
    samples = samples_of(job.unit)
    started = time.perf_counter()
    texts = answerer.answer(samples, job.unit.decoding.max_new_tokens, batch)
    return Answers(
        ids=tuple(sample.id for sample in samples),
        texts=tuple(texts),
        seconds=round(time.perf_counter() - started, 4),
        versions=answerer.versions,
        warnings=tuple(warned),
    )


# --- Ray ---------------------------------------------------------------------------------------


class _Worker:
    """What runs in an actor: a base model, and the adapter that is on it at the moment."""

    def __init__(self, base: str, batch: int) -> None:
        self._base, self._batch = Path(base), batch
        self._answerer: Answerer | None = None
        self._on = ExitStack()
        self._digest: str | None = None
        self._warned: tuple[str, ...] = ()

    def answer(self, job: Job, files: Mapping[str, bytes] | None) -> Outcome:
        if self._answerer is None:
            from copamerge.bench.models import load_base

            self._answerer = load_base(self._base)
        try:
            if job.unit.adapter_digest != self._digest:
                self._put_on(self._answerer, job, files)
        except CopamergeError as error:
            return Outcome(job, None, failure=tuple(error.problems))
        return Outcome(job, _answers(self._answerer, job, self._batch, self._warned))

    def _put_on(self, answerer: Answerer, job: Job, files: Mapping[str, bytes] | None) -> None:
        """Write the files down for PEFT: another node may not see the driver's disk."""
        from tempfile import TemporaryDirectory

        self._on.close()
        self._digest, self._warned = None, ()
        if files is None:
            return
        assert job.adapter is not None
        with TemporaryDirectory() as folder:
            place = Path(folder)
            for name, content in files.items():
                (place / name).write_bytes(content)
            try:
                warned = self._on.enter_context(answerer.use(place))
            except CopamergeError as error:
                raise CopamergeError(
                    [problem.replace(str(place), str(job.adapter)) for problem in error.problems]
                ) from None
            self._warned = tuple(warned)
        self._digest = job.unit.adapter_digest


class Ray:
    """A pool of Ray actors: each loads the base once and changes adapters in memory.

    One actor per GPU of the cluster, or per CPU where there is none. The base's folder has to be
    readable on every node; adapters travel.
    """

    def __init__(
        self, base: Path, address: str, batch: int = 100, actors: int | None = None
    ) -> None:
        _ray()
        self._base, self._address, self._batch, self._actors = base, address, batch, actors

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        if not jobs:
            return
        ray = _ray()
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        pool: list[Any] = []
        try:
            resources = ray.cluster_resources()
            gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
            count = min(self._actors or gpus or cpus, len(jobs))
            needs = {"num_gpus": 1} if gpus else {"num_cpus": 1}
            actor = ray.remote(**needs)(_Worker)
            base = str(self._base.resolve())
            pool = [actor.remote(base, self._batch) for _ in range(count)]
            yield from _spread(ray, pool, jobs)
        finally:
            for worker in pool:
                ray.kill(worker)
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        options = {"logging_level": "ERROR", "log_to_driver": False}
        if self._address == "local":
            ray.init(address="local", include_dashboard=False, **options)
            return
        try:
            _knock(self._address)
            ray.init(address=self._address, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise CopamergeError(
                f"--ray {self._address}: no Ray cluster answers there "
                f"({str(error).splitlines()[0]}); start one by `ray start --head`, or use "
                "--ray local"
            ) from None


def _knock(address: str) -> None:
    """Ray itself takes minutes to find out that nobody is there.

    Raises:
        OSError: nobody listens at this host and port.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _spread(ray: Any, pool: Sequence[Any], jobs: Sequence[Job]) -> Iterator[Outcome]:
    """One job at a time to each actor: of the adapter it has on, else of one nobody works on."""
    waiting: dict[str | None, list[Job]] = {}
    for job in jobs:
        waiting.setdefault(job.unit.adapter_digest, []).append(job)
    contents: dict[str | None, Any] = {}
    busy: dict[Any, tuple[Any, str | None]] = {}
    free: list[tuple[Any, str | None]] = [(worker, "") for worker in pool]
    while waiting or busy:
        while free and waiting:
            worker, last = free.pop()
            digest = _next(waiting, last, {each for _, each in busy.values()})
            job = waiting[digest].pop(0)
            if not waiting[digest]:
                del waiting[digest]
            if digest not in contents:
                contents[digest] = ray.put(_files(job.adapter))
            busy[worker.answer.remote(job, contents[digest])] = (worker, digest)
        (ready,), _ = ray.wait(list(busy), num_returns=1)
        worker, digest = busy.pop(ready)
        free.append((worker, digest))
        yield _result(ray, ready)


def _next(
    waiting: Mapping[str | None, Sequence[Job]], last: str | None, taken: set[str | None]
) -> str | None:
    if last in waiting:
        return last
    untouched = [digest for digest in waiting if digest not in taken]
    return untouched[0] if untouched else max(waiting, key=lambda digest: len(waiting[digest]))


def _result(ray: Any, ready: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(ready)
        return outcome
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, CopamergeError):
            raise cause from None
        raise
    except ray.exceptions.RayActorError as error:
        raise CopamergeError(
            f"--ray: a worker ended ({str(error).splitlines()[0]}); what was answered is kept, "
            "the same command goes on from there"
        ) from error


def _files(adapter: Path | None) -> dict[str, bytes] | None:
    from copamerge.bench.units import CONFIG, WEIGHTS

    if adapter is None:
        return None
    names = [name for name in (CONFIG, *WEIGHTS) if (adapter / name).is_file()]
    return {name: (adapter / name).read_bytes() for name in names}


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError:
        raise CopamergeError(
            "--ray: Ray is not installed; pip install 'copamerge[ray]', or leave --ray out"
        ) from None
    return ray


def executor_for(base: Path, *, ray: str | None = None, batch: int = 100) -> Executor:
    """Ray at this address (`local` starts one), or this process."""
    if ray is not None:
        return Ray(base, ray, batch)

    def load() -> Answerer:
        from copamerge.bench.models import load_base

        return load_base(base)

    return Local(load, batch)
