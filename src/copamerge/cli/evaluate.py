"""`copamerge evaluate`: adapters on a suite, in points."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._extras import BENCH, needs
from copamerge.cli._names import short_names
from copamerge.cli._table import names_of, say_run, show_tasks

if TYPE_CHECKING:
    from copamerge.bench.specs import ModelSpec
    from copamerge.suites import Split


@app.command()
def evaluate(
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="A PEFT folder or Hub id; repeatable. Without one: the base alone."),
    ] = None,
    suite: Annotated[str, typer.Option(help="What is asked.")] = "mini",
    base: Annotated[
        Path | None,
        typer.Option(help="Folder of the base model.  [default: that of the zoo that ships]"),
    ] = None,
    items: Annotated[int, typer.Option(help="Samples per task.")] = 1000,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    tasks: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these tasks.  [default: all]")
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples answered at once; changes no answer.")] = 100,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|local", help="Answer on a Ray cluster's actors."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Keep answers and scores here; a killed run goes on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")
    ] = False,
) -> None:
    """Answer a suite's tasks with each --adapter on the base, and score the answers."""
    from tempfile import TemporaryDirectory

    from copamerge.bench.engine import run_bench

    specs = _checked(adapter or [], suite, tasks, split)
    needs("bench", *BENCH)
    with ExitStack() as stack:
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
                base=base,
                items=items,
                seed=seed,
                split=split_named(split),
                tasks=names_of(tasks),
                batch=batch,
                ray=ray,
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
    if any(model["failed"] for model in run.record["models"]):
        raise typer.Exit(2)


def _checked(adapters: list[str], suite: str, tasks: str | None, split: str) -> "list[ModelSpec]":
    """The rows of a run.

    Raises:
        CopamergeError: unknown suite, tasks or split, and what is no adapter; all of it.
    """
    from copamerge.errors import CopamergeError
    from copamerge.suites import suite_named

    specs: list[ModelSpec] = []
    problems = []
    for check in (
        lambda: suite_named(suite).pick(names_of(tasks)),
        lambda: split_named(split),
        lambda: specs.extend(_specs(adapters)),
    ):
        try:
            check()
        except CopamergeError as error:
            problems += error.problems
    if problems:
        raise CopamergeError(problems)
    return specs


def _specs(adapters: list[str]) -> "list[ModelSpec]":
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


def say_interrupted(out: Path | None) -> None:
    after = "" if out is None else f"; what was answered is in {out}: the same command goes on"
    typer.echo(f"interrupted{after}", err=True)
