"""A whole run: make the models, ask them, score them; what is finished is not done again.

    run.json                   what was asked of whom, with digests, versions, times and warnings
    merged/<model>/            the adapters that were made, as folders that PEFT loads
    sources/                   merges before their scale rule, and the points of a search
    answers/<unit>.jsonl       what the models said
    scores/<model>/<task>.npz  numbers per item, one array for each mode
    results.json               {"rows": [...], "means": [...]}

Paths of adapters in run.json are relative to the run's folder or else to the zoo's; those that lie
in neither are given as they are.
"""

import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from copamerge._version import __version__
from copamerge.bench.executors import (
    Done,
    Executor,
    Job,
    answer_all,
    executor_for,
    ids_of,
    samples_of,
)
from copamerge.bench.making import (
    Made,
    made_plain,
    made_scaled,
    name_of,
    picked,
)
from copamerge.bench.metrics import MODES, Mode
from copamerge.bench.score import Score, means, row, save_scores, score
from copamerge.bench.specs import (
    GRID,
    SCALE_RULES,
    ModelSpec,
    ScaleRule,
    baselines,
    check_specs,
    methods_as_published,
)
from copamerge.bench.units import Unit, adapter_digest, base_digest, units
from copamerge.bench.zoo import Zoo, open_zoo
from copamerge.errors import CopamergeError, OutputError, SuiteError, did_you_mean
from copamerge.suites import Split, Suite, Task, suite_named

RUN, RESULTS = "run.json", "results.json"
UNDEFINED = "no adapter of its own was trained on this task"
"""Why `individual` has no points on unseen tasks."""

Tell = Callable[[str, int, int], None]
"""(what is going on, how much of it is done, of how much)"""


class Run(NamedTuple):
    """A finished run as it lies on disk."""

    path: Path
    record: dict[str, Any]
    """run.json"""
    results: dict[str, Any]
    """results.json"""


@dataclass
class _Model:
    """A row on its way through the run."""

    spec: ModelSpec
    adapters: dict[str, Path | None]
    """Task -> what is asked about it; tasks that are not defined for it are not in here."""
    asked: tuple[Task, ...]
    record: dict[str, Any]
    made: Made | None = None
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Setting:
    """What is the same for every model of a run."""

    out: Path
    suite: Suite
    tasks: tuple[Task, ...]
    base: Path
    base_digest: str
    zoo: Zoo | None
    adapter_set: str
    items: int
    seed: int
    split: Split
    answers: Path
    scale_rule: ScaleRule
    items_validation: int
    experiment: str | None
    tell: Tell
    executor: Executor
    digests: dict[Path, str] = field(default_factory=dict)

    def digest(self, adapter: Path | None) -> str | None:
        if adapter is None:
            return None
        if adapter not in self.digests:
            self.digests[adapter] = adapter_digest(adapter)
        return self.digests[adapter]

    def jobs(self, task: Task, adapter: Path | None, *, split: Split, items: int) -> list[Job]:
        pieces = units(
            task,
            items,
            base=self.base_digest,
            adapter=self.digest(adapter),
            suite=self.suite.name,
            split=split,
            seed=self.seed,
        )
        return [Job(unit, adapter) for unit in pieces]


def run_bench(
    out: Path,
    specs: Sequence[ModelSpec] | None = None,
    *,
    suite: str = "mini",
    zoo: Zoo | Path | None = None,
    base: Path | None = None,
    adapter_set: str = "shared",
    methods: Sequence[str] | None = None,
    experiment: str | None = None,
    items: int = 1000,
    seed: int = 0,
    split: Split = "test",
    tasks: Sequence[str] | None = None,
    scale_rule: ScaleRule = "published",
    items_validation: int = 100,
    batch: int = 100,
    ray: str | None = None,
    executor: Executor | None = None,
    answers: Path | None = None,
    tell: Tell | None = None,
) -> Run:
    """Evaluate models on a suite and leave everything in `out`; a killed run goes on there.

    `specs` None: the rows of `experiment`, or zero-shot, individual, multi-task, and the merge
    `methods` (None: all of them). With specs, `experiment` is only what the run is called.
    `zoo` None: the one that ships, opened only where something of it is needed. `base` is another
    base model than the zoo's. `answers` is where answers files lie, for runs that share them.
    A model that cannot be made or asked is a row without points that says why.

    Raises:
        SuiteError: unknown suite, tasks or methods, all of them; a zoo that is not what its
            manifest says; answers of another run.
        OutputError: `out` holds something else.
    """
    chosen = suite_named(suite)
    problems: list[str] = []
    asked, listed = chosen.tasks, list[ModelSpec]()
    try:
        asked = chosen.pick(tasks)
    except CopamergeError as error:
        problems += error.problems
    try:
        if specs is None and not experiment:
            listed = methods_as_published(methods)
    except CopamergeError as error:
        problems += error.problems
    if scale_rule not in SCALE_RULES:
        hint = did_you_mean(scale_rule, SCALE_RULES)
        problems.append(f"scale rule {scale_rule!r}: there is none of that name{hint}")
    numbers = {"items": items, "items_validation": items_validation, "batch": batch}
    problems += [f"{k}: {n}; at least 1 is needed" for k, n in numbers.items() if n < 1]
    if problems:
        raise SuiteError(problems)
    needs_zoo = base is None or specs is None or any(x.is_made and x.inputs is None for x in specs)
    opened = None
    if needs_zoo:
        opened = zoo if isinstance(zoo, Zoo) else open_zoo(zoo)
    _check_out(out)
    with ExitStack() as stack:
        if specs is None:
            assert opened is not None
            if experiment:
                from copamerge.bench.experiments import model_specs

                rows = model_specs(experiment, chosen, opened, adapter_set, beside=out)
                specs = stack.enter_context(rows)
            else:
                specs = [*baselines(opened, adapter_set), *listed]
        check_specs(specs)
        model_folder = base if base is not None else opened.base  # type: ignore[union-attr]
        setting = _Setting(
            out=out,
            suite=chosen,
            tasks=asked,
            base=model_folder,
            base_digest=base_digest(model_folder),
            zoo=opened,
            adapter_set=adapter_set,
            items=items,
            seed=seed,
            split=split,
            answers=answers or out / "answers",
            scale_rule=scale_rule,
            items_validation=items_validation,
            experiment=experiment,
            tell=tell or (lambda *_: None),
            executor=executor or executor_for(model_folder, ray=ray, batch=batch),
        )
        return _run(setting, specs)


def _run(setting: _Setting, specs: Sequence[ModelSpec]) -> Run:
    record = _head(setting)
    record["models"] = [_record(setting, spec, _tasks(setting, spec)) for spec in specs]
    _write(setting.out / RUN, record)
    (setting.out / RESULTS).unlink(missing_ok=True)
    models = []
    setting.tell("merging", 0, len(specs))
    for i, spec in enumerate(specs):
        models.append(_prepared(setting, spec))
        setting.tell("merging", i + 1, len(specs))
    notes = _search(setting, [x for x in models if x.record["scale_rule"] == "search"])
    done, jobs = _asked(setting, models)
    record["notes"] = [*notes, *done.notes]
    results = _scored(setting, models, jobs, done)
    record["models"] = [model.record for model in models]
    record["finished"] = True
    _write(setting.out / RESULTS, results)
    _write(setting.out / RUN, record)
    return Run(setting.out, record, results)


# --- making ------------------------------------------------------------------------------------


def _tasks(setting: _Setting, spec: ModelSpec) -> tuple[Task, ...]:
    if spec.tasks is None:
        return setting.tasks
    names = {task.name for task in setting.suite.pick(spec.tasks)}
    return tuple(task for task in setting.tasks if task.name in names)


def _record(setting: _Setting, spec: ModelSpec, asked: Sequence[Task]) -> dict[str, Any]:
    """What is known of a model before it is made; what is not is null."""
    return {
        "name": spec.name,
        "kind": spec.kind,
        "title": spec.title,
        "method": None,
        "options": {},
        "scale_rule": (spec.scale_rule or setting.scale_rule) if spec.is_made else None,
        "multiple": spec.multiple if spec.is_made else None,
        "adapter": None,
        "digest": None,
        "tasks": [task.name for task in asked],
        "merges": None,
        "merge_seconds": None,
        "answer_seconds": None,
        "warnings": [],
        "search": None,
        "failed": None,
        "x": spec.x,
    }


def _prepared(setting: _Setting, spec: ModelSpec) -> _Model:
    asked = _tasks(setting, spec)
    record = _record(setting, spec, asked)
    rule: ScaleRule | None = record["scale_rule"]
    model = _Model(spec, {}, asked, record)
    try:
        if spec.is_made:
            inputs = _inputs(setting, spec)
            record["merges"] = list(inputs)
            _make(setting, model, inputs, rule or "published")
        elif isinstance(spec.adapter, Mapping):
            own = {
                task.name: spec.adapter[task.name] for task in asked if task.name in spec.adapter
            }
            digests = {task: setting.digest(path) for task, path in own.items()}
            model.adapters.update(own)
            record["adapter"] = {task: _place(setting, path) for task, path in own.items()}
            record["digest"] = name_of(digests)
        else:
            _settle(setting, model, spec.adapter)
    except OutputError:
        raise
    except CopamergeError as error:
        model.failed = list(error.problems)
    return model


def _inputs(setting: _Setting, spec: ModelSpec) -> dict[str, Path]:
    """The adapters that a model is made of, in order."""
    if spec.inputs is not None:
        return picked(spec, spec.inputs)
    assert setting.zoo is not None
    found = setting.zoo.adapters(spec.adapter_set or setting.adapter_set)
    order = {task.name: i for i, task in enumerate(setting.suite.tasks)}
    return picked(
        spec, dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))
    )


def _make(setting: _Setting, model: _Model, inputs: Mapping[str, Path], rule: ScaleRule) -> None:
    spec, record = model.spec, model.record
    digests = {task: str(setting.digest(path)) for task, path in inputs.items()}
    target = setting.out / "merged" / spec.name
    as_it_is = rule == "published" and spec.multiple == 1.0
    source = target
    if not as_it_is:
        identity = (spec.method, dict(spec.recipe), spec.weights, list(digests.items()))
        source = setting.out / "sources" / name_of(*identity)
    plain = made_plain(spec, inputs, digests, source)
    options = dict(plain.method or {})
    record["method"] = options.pop("name", None)
    record["options"] = options
    record["warnings"] = list(plain.warnings)
    record["merge_seconds"] = plain.seconds
    model.made = plain
    if as_it_is:
        _settle(setting, model, target)
    elif rule != "search":
        scaled = made_scaled(plain, rule, spec.multiple, list(digests.values()), target)
        record["merge_seconds"] = scaled.seconds
        _settle(setting, model, target)


def _settle(setting: _Setting, model: _Model, adapter: Path | None) -> None:
    """This is the adapter that the model is."""
    if adapter is not None:
        # A folder that was made anew may lie where another one lay before.
        setting.digests.pop(adapter, None)
    model.adapters.update({task.name: adapter for task in model.asked})
    model.record["adapter"] = None if adapter is None else _place(setting, adapter)
    model.record["digest"] = setting.digest(adapter)


# --- choosing ----------------------------------------------------------------------------------


def _search(setting: _Setting, models: Sequence[_Model]) -> list[str]:
    """For each model the multiple of its delta that is best on validation: one grid for all.

    By the official mean over the seen tasks of the run; of equal points the one nearest to 1.
    """
    open_ = [model for model in models if not model.failed and model.made is not None]
    if not open_:
        return []
    tasks = [task for task in setting.tasks if task.seen]
    if not tasks:
        for model in open_:
            model.failed = ["scale rule search: no seen task is asked; name one by --tasks"]
        return []
    jobs: dict[tuple[str, float, str], list[Job]] = {}
    folders: dict[tuple[str, float], Path] = {}
    for model in open_:
        assert model.made is not None
        for multiple in GRID:
            where = model.made.path
            of = f"{where.name}.x{multiple * model.spec.multiple:g}"
            scaled = made_scaled(
                model.made, "search", multiple * model.spec.multiple, [], where.with_name(of)
            )
            folders[model.spec.name, multiple] = scaled.path
            for task in tasks:
                jobs[model.spec.name, multiple, task.name] = setting.jobs(
                    task, scaled.path, split="validation", items=setting.items_validation
                )
    done = answer_all(
        [job for each in jobs.values() for job in each],
        setting.executor,
        setting.answers,
        lambda n, total: setting.tell("searching the scale", n, total),
    )
    for model in open_:
        grid: list[dict[str, Any]] = []
        for multiple in GRID:
            scored = [
                _score(task, jobs[model.spec.name, multiple, task.name], done) for task in tasks
            ]
            points = [x["official"].points for x in scored if x]
            whole = len(points) == len(tasks)
            grid.append({"multiple": multiple, "points": float(np.mean(points)) if whole else None})
        usable = [point for point in grid if point["points"] is not None]
        if not usable:
            model.failed = _why(done, next(iter(jobs[model.spec.name, 1.0, tasks[0].name])).unit)
            continue
        best = max(usable, key=lambda x: (x["points"], -abs(np.log(x["multiple"]))))
        model.record["search"] = {
            "grid": grid,
            "chosen": best["multiple"],
            "split": "validation",
            "items": setting.items_validation,
            "mode": "official",
            "tasks": [task.name for task in tasks],
        }
        assert model.made is not None
        chosen = made_scaled(
            model.made,
            "search",
            best["multiple"] * model.spec.multiple,
            [],
            setting.out / "merged" / model.spec.name,
        )
        model.record["multiple"] = best["multiple"] * model.spec.multiple
        model.record["merge_seconds"] = chosen.seconds
        _settle(setting, model, chosen.path)
    return done.notes


# --- asking and scoring ------------------------------------------------------------------------

Jobs = dict[tuple[str, str], list[Job]]
"""(model, task) -> its units."""


def _asked(setting: _Setting, models: Sequence[_Model]) -> tuple[Done, Jobs]:
    jobs: Jobs = {}
    for model in models:
        if model.failed:
            continue
        for task in model.asked:
            if task.name in model.adapters:
                jobs[model.spec.name, task.name] = setting.jobs(
                    task, model.adapters[task.name], split=setting.split, items=setting.items
                )
    done = answer_all(
        [job for each in jobs.values() for job in each],
        setting.executor,
        setting.answers,
        lambda n, total: setting.tell("answering", n, total),
    )
    return done, jobs


def _scored(setting: _Setting, models: Sequence[_Model], jobs: Jobs, done: Done) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    averages: list[dict[str, Any]] = []
    shutil.rmtree(setting.out / "scores", ignore_errors=True)
    for i, model in enumerate(models):
        name = model.spec.name
        mine: list[dict[str, Any]] = []
        seconds = 0.0
        warnings = list(model.record["warnings"])
        for task in model.asked:
            pieces = jobs.get((name, task.name), [])
            scored = _score(task, pieces, done)
            if scored:
                save_scores(setting.out / "scores" / name, task.name, scored)
            for piece in pieces:
                if piece.unit.key in done.answers:
                    seconds += done.answers[piece.unit.key].seconds
                    warnings += done.answers[piece.unit.key].warnings
                else:
                    model.failed = model.failed or _why(done, piece.unit)
            reason = None if scored else " ".join(model.failed) or UNDEFINED
            mine += [row(name, task, mode, setting.items, scored, reason) for mode in MODES]
        rows += mine
        averages += means(name, mine)
        model.record["warnings"] = list(dict.fromkeys(warnings))
        model.record["failed"] = "\n".join(model.failed) or None
        if not model.failed:
            model.record["answer_seconds"] = round(seconds, 4)
        setting.tell("scoring", i + 1, len(models))
    return {"rows": rows, "means": averages}


def _score(task: Task, pieces: Sequence[Job], done: Done) -> dict[Mode, Score] | None:
    """The score of a task whose units are all answered."""
    if not pieces or any(piece.unit.key not in done.answers for piece in pieces):
        return None
    found = [done.answers[piece.unit.key] for piece in pieces]
    return score(
        task,
        [sample for piece in pieces for sample in samples_of(piece.unit)],
        [id for answers in found for id in answers.ids],
        [text for answers in found for text in answers.texts],
    )


def _why(done: Done, unit: Unit) -> list[str]:
    return list(done.failures.get(unit.adapter_digest, ["its samples were not answered"]))


# --- the record --------------------------------------------------------------------------------


def _head(setting: _Setting) -> dict[str, Any]:
    return {
        "suite": setting.suite.name,
        "experiment": setting.experiment,
        "zoo": None if setting.zoo is None else str(setting.zoo.path),
        "base": str(setting.base),
        "base_digest": setting.base_digest,
        "adapter_set": setting.adapter_set if setting.zoo is not None else None,
        "items": setting.items,
        "seed": setting.seed,
        "split": setting.split,
        "tasks": [task.name for task in setting.tasks],
        "scale_rule": setting.scale_rule,
        "items_validation": setting.items_validation,
        "answers": str(setting.answers),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "finished": False,
        "notes": [],
        "models": [],
    }


def versions() -> dict[str, str | None]:
    """Of what results may depend on; None for what is not installed."""
    found: dict[str, str | None] = {
        "copamerge": __version__,
        "python": platform.python_version(),
    }
    for name in ("torch", "transformers", "peft", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _place(setting: _Setting, adapter: Path) -> str:
    """Relative to the run's folder, else to the zoo's, else as it is."""
    for root in (setting.out, setting.zoo.path if setting.zoo else None):
        if root is not None and adapter.is_relative_to(root):
            return adapter.relative_to(root).as_posix()
    return str(adapter)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: exists and is not a folder; choose another output")
    if out.is_dir() and any(out.iterdir()) and not (out / RUN).is_file():
        raise OutputError(
            f"{out}: holds files but no {RUN}, so it is not a run of the benchmark; choose "
            "another output"
        )


def _write(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None


__all__ = ["GRID", "ModelSpec", "Run", "ids_of", "run_bench", "versions"]
