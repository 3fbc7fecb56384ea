"""`copamerge data`: the data of a suite that is read from disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._names import plain
from copamerge.cli._options import AsJson, Tasks
from copamerge.cli._table import names_of
from copamerge.errors import SuiteError, did_you_mean

if TYPE_CHECKING:
    from copamerge.suites import Looking, Split, Task, TaskCheck

SPLITS: "tuple[Split, ...]" = ("test", "validation", "train")

data = typer.Typer(
    help="Look after the data of a suite that is read from disk.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data, name="data")


@data.callback()
def main() -> None:
    """A callback keeps `check` a command of its own while it is the only one."""


@data.command()
def check(
    suite: Annotated[str, typer.Option(help="Name of the suite.")],
    root: Annotated[
        Path | None, typer.Option("--root", "--data", help="Where its data lie.")
    ] = None,
    tasks: Tasks = None,
    splits: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Of test, validation, train.  [default: all]"),
    ] = None,
    images: Annotated[
        str,
        typer.Option(
            metavar="all|none|N", help="Pictures of each split to look for, evenly spread."
        ),
    ] = "all",
    opened: Annotated[
        bool, typer.Option("--open", help="Open the pictures too, instead of only finding them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is missing, malformed or inconsistent in a suite's data: all of it, with counts.

    Exit code 2 when something is.
    """
    from copamerge.suites import check_suite, suite_named

    looking = _looking(splits, images, opened)
    if suite_named(suite, root).check is None:
        if as_json:
            typer.echo("[]")
        else:
            typer.echo(f"suite {suite!r}: its samples are made by code; there is nothing to check")
        return
    found = check_suite(suite, root, names_of(tasks), looking)
    if suite_named(suite, root).file is not None:
        found = tuple(_scorable(one, suite_named(suite, root).by_name[one.task]) for one in found)
    if as_json:
        import json

        typer.echo(json.dumps([_record(one) for one in found], indent=2))
    else:
        _show(found, looking)
    if any(one.problems for one in found):
        raise typer.Exit(2)


def _scorable(one: "TaskCheck", task: "Task") -> "TaskCheck":
    """With what the metric, which a suite file names, cannot use of the references."""
    from dataclasses import replace

    from copamerge.bench.checking import unusable

    there = [split for split, count in one.counts.items() if count]
    found = [problem for split in there for problem in unusable(task, split, None)]
    return replace(one, problems=(*one.problems, *dict.fromkeys(found)))


def _looking(splits: str | None, images: str, opened: bool) -> "Looking":
    from copamerge.suites import Looking

    named = names_of(splits) or SPLITS
    problems = [
        f"--splits {name}: there is no such split{did_you_mean(name, SPLITS)}"
        for name in named
        if name not in SPLITS
    ]
    counts = {"all": None, "none": 0}
    if images not in counts and not images.isdecimal():
        problems.append(f"--images {images}: all, none or a number is expected")
    if problems:
        raise SuiteError(problems)
    most = counts[images] if images in counts else int(images)
    return Looking(tuple(split for split in SPLITS if split in named), most, opened)


def _record(one: "TaskCheck") -> dict[str, object]:
    return {
        "task": one.task,
        "counts": dict(one.counts),
        "images": one.images,
        "problems": list(one.problems),
        "notes": list(one.notes),
    }


def _show(found: "tuple[TaskCheck, ...]", looking: "Looking") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    for title in (*looking.splits, "pictures", "problems"):
        table.add_column(title, justify="right")
    for one in found:
        cells = ["unusable" if n is None else f"{n:,}" for n in one.counts.values()]
        by_split = dict(zip(one.counts, cells, strict=True))
        cells = [by_split.get(split, "-") for split in looking.splits]
        table.add_row(one.task, *cells, f"{one.images:,}", str(len(one.problems) or ""))
    console = Console(highlight=False, markup=False, emoji=False)
    wide = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    Console(highlight=False, markup=False, emoji=False, width=max(wide, console.width)).print(table)
    for one in found:
        for note in one.notes:
            typer.echo(f"note: {one.task}: {plain(note)}", err=True)
        for problem in one.problems:
            typer.echo(f"error: {one.task}: {plain(problem)}", err=True)
    problems = sum(len(one.problems) for one in found)
    wrong = sum(bool(one.problems) for one in found)
    looked = "opened" if looking.opened else "looked for, not opened (--open does)"
    typer.echo(
        f"\n{problems} problems in {wrong} of {len(found)} tasks"
        if problems
        else f"\nNothing is wrong with {len(found)} tasks; pictures were {looked}."
    )
