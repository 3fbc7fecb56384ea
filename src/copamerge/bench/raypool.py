"""A pool of Ray actors that computes units."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from copamerge.bench.executors import Answerer, Job, Outcome, answers_of, load_answerer
from copamerge.errors import CopamergeError
from copamerge.suites import AnswerKind


class _Worker:
    """What runs in an actor: a base model, and the adapter that is on it at the moment."""

    def __init__(self, base: str, kind: AnswerKind, batch: int) -> None:
        self._base, self._kind, self._batch = Path(base), kind, batch
        self._answerer: Answerer | None = None
        self._on = ExitStack()
        self._digest: str | None = None
        self._warned: tuple[str, ...] = ()

    def answer(self, job: Job, files: Mapping[str, bytes] | None) -> Outcome:
        if self._answerer is None:
            self._answerer = load_answerer(self._base, self._kind)
        try:
            if job.unit.adapter_digest != self._digest:
                self._put_on(self._answerer, job, files)
        except CopamergeError as error:
            return Outcome(job, None, failure=tuple(error.problems))
        return Outcome(job, answers_of(self._answerer, job, self._batch, self._warned))

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

    One actor per GPU of the cluster (two for `gpus` 0.5), or per CPU where there is none. The
    base's folder and the suite's data have to be readable on every node; adapters travel.
    """

    def __init__(
        self,
        base: Path,
        address: str,
        batch: int = 100,
        actors: int | None = None,
        *,
        kind: AnswerKind = "text",
        gpus: float = 1.0,
    ) -> None:
        _ray()
        self._kind, self._gpus = kind, gpus
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
            count = min(self._actors or int(gpus / self._gpus) or cpus, len(jobs))
            needs = {"num_gpus": self._gpus} if gpus else {"num_cpus": 1}
            actor = ray.remote(**needs)(_Worker)
            base = str(self._base.resolve())
            pool = [actor.remote(base, self._kind, self._batch) for _ in range(count)]
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
    from copamerge.io.llava import EXTRAS

    if adapter is None:
        return None
    known = (CONFIG, *WEIGHTS, *EXTRAS, "config.json")
    names = [name for name in known if (adapter / name).is_file()]
    return {name: (adapter / name).read_bytes() for name in names}


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError:
        raise CopamergeError(
            "--ray: Ray is not installed; pip install 'copamerge[ray]', or leave --ray out"
        ) from None
    return ray
