"""`copamerge evaluate`: adapters on a suite, in points."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._extras import BENCH, needs
from copamerge.cli._names import plain
from copamerge.cli._options import (
    AsJson,
    Data,
    GpusPerActor,
    Items,
    LargeBatch,
    Quiet,
    Ray,
    SampleSeed,
    SplitName,
    Tasks,
)
from copamerge.cli._table import names_of, say_run, show_tasks
from copamerge.labels import short_names

if TYPE_CHECKING:
    from copamerge.bench.record import Run
    from copamerge.bench.specs import ModelSpec
    from copamerge.families import Family
    from copamerge.suites import Split


Asked = tuple[str, Path | None]
"""A suite's name, and the folder of its data."""


@app.command()
def evaluate(
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="A PEFT folder or Hub id; repeatable. Without one: the base alone."),
    ] = None,
    family: Annotated[
        list[Path] | None,
        typer.Option(
            help="A family; each task is asked of the member with its name, others are left out."
        ),
    ] = None,
    suite: Annotated[str, typer.Option(help="A suite, or its file: .yaml or .jsonl.")] = "mini",
    data: Data = None,
    base: Annotated[
        Path | None,
        typer.Option(help="Folder of the base model.  [default: that of the zoo that ships]"),
    ] = None,
    items: Items = None,
    split: SplitName = "test",
    seed: SampleSeed = 0,
    tasks: Tasks = None,
    batch: LargeBatch = None,
    ray: Ray = None,
    gpus_per_actor: GpusPerActor = 1.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Keep answers and scores here; a killed run goes on."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Answer a suite's tasks with each --adapter and --family on the base, and score them."""
    from tempfile import TemporaryDirectory

    from copamerge.bench.engine import run_bench

    specs, families = _checked(adapter or [], family or [], (suite, data), tasks, split)
    needs("bench", *BENCH)
    with ExitStack() as stack:
        if families:
            # Taken in seconds, and always the same: what was answered is found again.
            taken = Path(stack.enter_context(TemporaryDirectory()))
            specs += _members(families, (suite, data), names_of(tasks), taken)
        if out is None:
            place = Path(stack.enter_context(TemporaryDirectory())) / "run"
        else:
            place = out
        bar = stack.enter_context(LateBar(quiet or as_json, "loading"))
        try:
            run = run_bench(
                place,
                specs,
                suite=suite,
                data=data,
                base=base,
                items=items,
                seed=seed,
                split=split_named(split),
                tasks=names_of(tasks),
                batch=batch,
                ray=ray,
                gpus_per_actor=gpus_per_actor,
                tell=lambda label, done, total: bar.update(done, total, label),
            )
        except KeyboardInterrupt:
            say_interrupted(out)
            raise typer.Exit(130) from None
    say_run(run, quiet=False)
    if as_json:
        import json

        typer.echo(json.dumps({"run": run.record, "results": run.results}, indent=2))
    elif not quiet and not all(model["failed"] for model in run.record["models"]):
        show_tasks(run)
    end(run)


def _checked(
    adapters: list[str],
    families: list[Path],
    suite: Asked,
    tasks: str | None,
    split: str,
) -> "tuple[list[ModelSpec], list[Family]]":
    """The rows of a run, those of families still to be taken.

    Raises:
        CopamergeError: unknown suite, tasks or split, and what is no adapter or no family with a
            member for a task; all of it.
    """
    from copamerge.errors import CopamergeError
    from copamerge.suites import suite_named

    specs: list[ModelSpec] = []
    opened: list[Family] = []
    problems = []
    for check in (
        lambda: suite_named(*suite).pick(names_of(tasks)),
        lambda: split_named(split),
        lambda: specs.extend(specs_of(adapters) if adapters or not families else []),
        lambda: opened.extend(_opened(families, suite)),
    ):
        try:
            check()
        except CopamergeError as error:
            problems += error.problems
    if problems:
        raise CopamergeError(dict.fromkeys(problems))
    return specs, opened


def _opened(folders: list[Path], suite: Asked) -> "list[Family]":
    """
    Raises:
        CopamergeError: what is no family, or has no member that is called as a task; all of it.
    """
    from copamerge.errors import CopamergeError
    from copamerge.families import Family, open_family
    from copamerge.suites import suite_named

    tasks = list(suite_named(*suite).by_name)
    problems, opened = list[str](), list[Family]()
    for folder in folders:
        try:
            family = open_family(folder)
        except CopamergeError as error:
            problems += error.problems
            continue
        opened.append(family)
        strays = [name for name in family.record.names if name not in tasks]
        if len(strays) == len(family.record.members):
            problems.append(
                f"{folder}: no member is called as a task of the suite {suite[0]!r} is "
                f"({', '.join(tasks)}): name them so by `copamerge family make --names`"
            )
        elif strays:
            typer.echo(
                plain(f"note: {folder}: not asked, being no tasks: {', '.join(strays)}"), err=True
            )
    if len(set(folders)) < len(folders):
        problems.append("--family: one of them is given twice; give each once")
    if problems:
        raise CopamergeError(problems)
    return opened


def _members(
    families: "list[Family]", suite: Asked, tasks: "Sequence[str] | None", place: Path
) -> "list[ModelSpec]":
    """One row for each family: every asked task with the member of its name, taken to `place`."""
    from copamerge.bench.specs import ModelSpec
    from copamerge.families import take_member
    from copamerge.suites import suite_named

    asked = [task.name for task in suite_named(*suite).pick(tasks)]
    full = [str(family.path) for family in families]
    specs = []
    for i, (short, family) in enumerate(zip(short_names(full), families, strict=True)):
        adapters = {}
        for task in asked:
            if task in family.record.names:
                adapters[task] = place / str(i) / task
                take_member(family, task, adapters[task], dtype="float32")
        specs.append(ModelSpec(_folder_name(short), full[i], kind="individual", adapter=adapters))
    return specs


def specs_of(adapters: list[str]) -> "list[ModelSpec]":
    """One row for each adapter, by the shortest names that tell them apart.

    Raises:
        CopamergeError: what is no adapter folder, all of it.
    """
    from copamerge.bench.specs import ModelSpec
    from copamerge.bench.units import adapter_digest
    from copamerge.errors import AdapterError
    from copamerge.io import open_adapter

    if not adapters:
        return [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")]
    problems, folders = list[str](), []
    for name in adapters:
        try:
            opened = open_adapter(name, allow_unmatched_targets=True)
            folders.append(opened.path if opened.path.is_dir() else opened.path.parent)
            adapter_digest(folders[-1])
        except AdapterError as error:
            problems += error.problems
    if len(set(adapters)) < len(adapters):
        problems.append("--adapter: one of them is given twice; give each once")
    if problems:
        raise AdapterError(problems)
    return [
        ModelSpec(_folder_name(short), full, adapter=folder)
        for short, full, folder in zip(short_names(adapters), adapters, folders, strict=True)
    ]


def _folder_name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.+@=,-]+", "_", text).lstrip("._-+@=,")
    return name or "adapter"


def split_named(name: str) -> "Split":
    """
    Raises:
        SuiteError: there is no such split.
    """
    from copamerge.errors import SuiteError, did_you_mean

    known: tuple[Split, ...] = ("train", "validation", "test")
    for split in known:
        if split == name:
            return split
    raise SuiteError(f"split {name!r}: there is none of that name{did_you_mean(name, known)}")


def end(run: "Run") -> None:
    """Exit code 2 where a model failed, or samples could not be asked: there is work left."""
    unasked = any(row["unasked"] for row in run.results["rows"])
    if unasked or any(model["failed"] for model in run.record["models"]):
        raise typer.Exit(2)


def say_interrupted(out: Path | None) -> None:
    after = "" if out is None else f"; what was answered is in {out}: the same command goes on"
    typer.echo(f"interrupted{after}", err=True)
