"""A harness over adapters: the base is loaded once, and what is finished is not done again.

    <model>.json           {"asked": {...}, "seconds": ..., "warnings": [...], "results": {...}}
    <model>.samples.json   what the harness keeps of each sample, where that is wanted
    harness.json           {"harness": ..., "models": [...], "rows": [...]}: the table's numbers

`results` is the harness's own, as it gave it: numbers of a task are compared with those of others
by the harness's name, version and task version, all of which are in it.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from copamerge.bench import record
from copamerge.bench.models import Generator, load_base
from copamerge.bench.units import adapter_digest, base_digest
from copamerge.errors import AdapterError, CopamergeError, OutputError, SuiteError, did_you_mean
from copamerge.suites import Frame, Template

TABLE = "harness.json"
ALONE = "zero-shot"
"""What the base without an adapter is called."""

Tell = Callable[[str, int, int], None]
"""(what is going on, how much of it is done, of how much)"""


@dataclass(frozen=True)
class Asked:
    """What a harness is to do, whoever is asked."""

    tasks: tuple[str, ...]
    """Names of tasks, groups or tags, or patterns of them such as `mmlu_*`."""
    limit: int | None = None
    """Samples of each task; None: all."""
    shots: int | None = None
    """Solved examples in front of a question; None: as the task says."""
    include: tuple[Path, ...] = ()
    """Folders with tasks of one's own, beside those that come with the harness."""
    batch: int = 1
    template: Template = "chat"
    """How lmms-eval's questions become prompts; lm-eval knows `chat` and `none`."""
    frame: Frame = "processor"
    """What becomes of pictures that are no squares."""


class Harness(Protocol):
    """One of the libraries."""

    name: str
    package: str

    def version(self) -> str: ...

    def known(self, asked: Asked) -> tuple[Any, Sequence[str]]:
        """What manages its tasks, and all their names.

        Raises:
            CopamergeError: it is not installed, or cannot be imported.
        """

    def evaluate(
        self, generator: Generator, asked: Asked, manager: Any, *, samples: bool
    ) -> Mapping[str, Any]:
        """Its own results for the model as it is now."""


class Row(NamedTuple):
    """One number of a model."""

    model: str
    task: str
    metric: str
    filter: str
    """How answers were read; `none` where they were taken as they are."""
    value: float
    stderr: float | None


@dataclass(frozen=True)
class Evaluated:
    """What a harness found."""

    rows: tuple[Row, ...]
    failed: Mapping[str, tuple[str, ...]]
    """Model -> why it could not be asked."""
    warnings: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def run_harness(
    out: Path,
    harness: Harness,
    base: Path,
    models: Mapping[str, Path | None],
    asked: Asked,
    *,
    samples: bool = False,
    tell: Tell = lambda *_: None,
) -> Evaluated:
    """Ask every model, None being the base alone, and leave everything in `out`.

    A model that cannot be asked is named; the others are asked all the same.

    Raises:
        SuiteError: unknown tasks, numbers out of range, no base; all of it.
        OutputError: `out` holds something else.
        CopamergeError: the harness is not installed.
    """
    manager = _checked(harness, asked)
    _check_out(out)
    common = {
        "harness": harness.name,
        "version": harness.version(),
        "base_digest": base_digest(base),
        **json.loads(json.dumps(asdict(asked), default=str)),
        "samples": samples,
    }
    done = _Done({}, {}, {})
    generator: Generator | None = None
    for i, (name, adapter) in enumerate(models.items()):
        tell("answering", i, len(models))
        wanted = {
            **common,
            "adapter": None if adapter is None else str(adapter),
            "adapter_digest": None if adapter is None else adapter_digest(adapter),
        }
        found = _finished(out / f"{name}.json", wanted)
        if found is None:
            if generator is None:
                generator = load_base(base)
            try:
                found = _asked(out, name, harness, generator, adapter, asked, manager, wanted)
            except AdapterError as error:
                done.failed[name] = tuple(error.problems)
                continue
        done.warnings[name] = tuple(found["warnings"])
        done.results[name] = found["results"]
    tell("answering", len(models), len(models))
    return _table(out, harness, done)


@dataclass
class _Done:
    """What came of the models so far."""

    results: dict[str, Mapping[str, Any]]
    failed: dict[str, tuple[str, ...]]
    warnings: dict[str, tuple[str, ...]]


def _checked(harness: Harness, asked: Asked) -> Any:
    """What manages the harness's tasks, once it is known that all of those wanted exist."""
    manager, names = harness.known(asked)
    problems = [
        f"task {name!r}: {harness.name} has none of that name{_close(name, names)}"
        for name in asked.tasks
        if not manager.match_tasks([name])
    ]
    if not asked.tasks:
        problems.append("tasks: none are named; give them by --tasks A,B")
    numbers = {"limit": asked.limit, "batch": asked.batch}
    problems += [
        f"{key}: {n}; at least 1 is needed" for key, n in numbers.items() if n is not None and n < 1
    ]
    if asked.shots is not None and asked.shots < 0:
        problems.append(f"shots: {asked.shots}; at least 0 is needed")
    if problems:
        raise SuiteError(problems)
    return manager


def _close(name: str, names: Sequence[str]) -> str:
    """A suggestion, but never a list of thousands of names."""
    hint = did_you_mean(name, names)
    return hint if hint.startswith("; did you mean") else f" among {len(names)}"


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: exists and is not a folder; choose another output")
    if out.is_dir() and any(out.iterdir()) and not (out / TABLE).is_file():
        raise OutputError(f"{out}: holds files but no {TABLE}; choose another output")
    if not out.exists():
        record.write(out / TABLE, {"models": [], "rows": []})


def _finished(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was found for just this before; whatever else lies there is written anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        same = {**content["asked"], "adapter": wanted["adapter"]} == wanted
        return content if same and "results" in content else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _asked(
    out: Path,
    name: str,
    harness: Harness,
    generator: Generator,
    adapter: Path | None,
    asked: Asked,
    manager: Any,
    wanted: Mapping[str, Any],
) -> dict[str, Any]:
    started = time.perf_counter()
    with generator.use(adapter) as warned:
        try:
            given = harness.evaluate(generator, asked, manager, samples=bool(wanted["samples"]))
        except OSError as error:
            # What is not there, and what is not reached: the libraries' errors are all of this.
            first = (str(error).strip() or repr(error)).splitlines()[0]
            raise CopamergeError(
                f"{harness.name}: its data cannot be read: {first}; connect to the network, or "
                "copy the data set into the cache of Hugging Face datasets"
            ) from None
    results = dict(plain(given))
    kept = results.pop("samples", None)
    content = {
        "asked": dict(wanted),
        "seconds": round(time.perf_counter() - started, 4),
        "warnings": list(warned),
        "versions": dict(generator.versions),
        "results": results,
    }
    if wanted["samples"]:
        record.write(out / f"{name}.samples.json", kept)
    record.write(out / f"{name}.json", content)
    return content


def _table(out: Path, harness: Harness, done: _Done) -> Evaluated:
    rows: list[Row] = []
    notes: list[str] = []
    for name, results in done.results.items():
        for task, numbers in results.get("results", {}).items():
            mine, others = rows_of(name, task, numbers)
            rows += mine
            notes += [
                f"{name}, {task}: {metric} is no number; it is in {out / name}.json"
                for metric in others
            ]
    record.write(
        out / TABLE,
        {
            "harness": harness.name,
            "models": [*done.results, *done.failed],
            "failed": {name: "\n".join(why) for name, why in done.failed.items()},
            "rows": [row._asdict() for row in rows],
        },
    )
    return Evaluated(tuple(rows), done.failed, done.warnings, tuple(dict.fromkeys(notes)))


def rows_of(model: str, task: str, numbers: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    """The numbers of a task with their errors, and the names of what is no number.

    Both harnesses call them `metric,filter`, and an error `metric_stderr,filter`.
    """
    rows, others = [], []
    for key, value in numbers.items():
        metric, comma, filter = key.partition(",")
        if not comma or "_stderr" in metric:  # lmms-eval has three kinds of error
            continue
        if not _is_number(value):
            others.append(metric)
            continue
        stderr = numbers.get(f"{metric}_stderr,{filter}")
        rows.append(Row(model, task, metric, filter, value, stderr if _is_number(stderr) else None))
    return rows, others


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """What JSON can say of it: no number is null, and what is no data is its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # numpy's and torch's numbers
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    return f"<{type(value).__name__}>" if callable(value) else str(value)
