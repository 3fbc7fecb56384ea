"""`copamerge compare`: every method on the same adapters, in one table."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._collect import collected, recipe_of
from copamerge.cli._compared import say_words, show_comparison
from copamerge.cli._extras import BENCH, needs
from copamerge.cli._options import (
    AllowDifferentBases,
    AllowUnknownConfig,
    AllowUnmatchedTargets,
    Alpha,
    AsJson,
    Bias,
    Device,
    MergeSeed,
    Missing,
    ModulesToSave,
    Rank,
    Weights,
)
from copamerge.cli._table import names_of, say_run
from copamerge.cli.evaluate import split_named

if TYPE_CHECKING:
    from copamerge.comparison import Comparison
    from copamerge.merging import MergedAdapter


@app.command()
def compare(
    adapters: Annotated[
        list[str], typer.Argument(help="Folders, weights files or Hub ids, in order.")
    ],
    methods: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Merge methods, with their defaults.  [default: all]"),
    ] = None,
    weights: Weights = None,
    rank: Rank = None,
    within: Annotated[
        float, typer.Option(help="Degrees up to which a direction counts as kept.")
    ] = 45.0,
    missing: Missing = None,
    modules_to_save: ModulesToSave = None,
    bias: Bias = None,
    alpha: Alpha = None,
    seed: MergeSeed = None,
    device: Device = "auto",
    allow_different_bases: AllowDifferentBases = False,
    allow_unmatched_targets: AllowUnmatchedTargets = False,
    allow_unknown_config: AllowUnknownConfig = False,
    suite: Annotated[
        str | None, typer.Option(help="Ask every merge of this suite, as mini.  [default: none]")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="With --suite: folder of the base model.  [default: the zoo's]"),
    ] = None,
    items: Annotated[int, typer.Option(help="With --suite: samples per task.")] = 1000,
    split: Annotated[str, typer.Option(help="With --suite: test, validation or train.")] = "test",
    tasks: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="With --suite: only these tasks.  [default: all]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Merge ADAPTERS by every method in memory, and show what each keeps and costs.

    Nothing is written. Exit code 2 when no method could merge them.
    """
    from copamerge.comparison import compare_methods
    from copamerge.errors import RecipeError
    from copamerge.merging import resolve_device
    from copamerge.merging.common import check_methods, plan_common

    problems: list[str] = []
    overrides = {
        "rank": rank,
        "missing": missing,
        "modules_to_save": modules_to_save,
        "bias": bias,
        "seed": seed,
        "allow_different_bases": allow_different_bases or None,
        "allow_unmatched_targets": allow_unmatched_targets or None,
        "allow_unknown_config": allow_unknown_config or None,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    names = names_of(methods)
    if not 0 < within <= 90:
        problems.append(f"--within {within:g}: expected degrees above 0 and up to 90")
    with collected(problems):
        resolve_device(device)
    if names is not None:
        with collected(problems):
            check_methods(names)
    if suite is None:
        if base or tasks or items != 1000 or split != "test":
            problems.append("--base, --items, --split and --tasks need --suite: nothing is asked")
    else:
        problems += _suite_problems(suite, split, tasks, items)
    recipe = recipe_of(adapters, weights, alpha, given, problems)
    if recipe is not None:
        with collected(problems):
            plan_common(recipe)
    if problems or recipe is None:
        raise RecipeError(dict.fromkeys(problems))
    if suite is not None:
        needs("bench", *BENCH)
    with ExitStack() as stack:
        bar = stack.enter_context(LateBar(as_json, "reading"))
        place = None if suite is None else _place(stack)
        try:
            found = compare_methods(
                recipe,
                names,
                within_degrees=within,
                device=device,
                then=None if place is None else _kept_in(place),
                tell=lambda label, done, total: bar.update(done, total, label),
            )
            if suite is not None and place is not None:
                found = _asked(
                    found, place, bar, suite=suite, base=base, items=items, split=split, tasks=tasks
                )
        except KeyboardInterrupt:
            typer.echo("interrupted; nothing was written", err=True)
            raise typer.Exit(130) from None
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show_comparison(found)
    say_words(found)
    ran = [row for row in found.rows if row.failed is None]
    if not ran or (suite is not None and not any(row.points for row in ran)):
        raise typer.Exit(2)


# --- what is asked for ---------------------------------------------------------------------------


def _suite_problems(suite: str, split: str, tasks: str | None, items: int) -> list[str]:
    from copamerge.suites import suite_named

    problems: list[str] = []
    with collected(problems):
        suite_named(suite).pick(names_of(tasks))
    with collected(problems):
        split_named(split)
    if items < 1:
        problems.append(f"--items {items}: at least 1 is needed")
    return problems


# --- points --------------------------------------------------------------------------------------


def _place(stack: ExitStack) -> Path:
    from tempfile import TemporaryDirectory

    return Path(stack.enter_context(TemporaryDirectory()))


def _kept_in(place: Path) -> "Callable[[str, MergedAdapter], None]":
    def keep(name: str, merged: "MergedAdapter") -> None:
        merged.save_pretrained(place / "merged" / _folder(name))

    return keep


def _folder(name: str) -> str:
    """A folder's name; one of its own for each method, whatever the names are made of."""
    return (
        name if name.replace("_", "").isalnum() and name.isascii() else f"0x{name.encode().hex()}"
    )


def _asked(
    found: "Comparison",
    place: Path,
    bar: LateBar,
    *,
    suite: str,
    base: Path | None,
    items: int,
    split: str,
    tasks: str | None,
) -> "Comparison":
    """The comparison with what each merge scores on a suite."""
    from copamerge.bench.engine import run_bench
    from copamerge.bench.specs import ModelSpec
    from copamerge.comparison import Points

    merged = [row.name for row in found.rows if row.failed is None]
    if not merged:
        return found
    run = run_bench(
        place / "run",
        [
            ModelSpec(_folder(name), name, adapter=place / "merged" / _folder(name))
            for name in merged
        ],
        suite=suite,
        base=base,
        items=items,
        split=split_named(split),
        tasks=names_of(tasks),
        tell=lambda label, done, total: bar.update(done, total, label),
    )
    say_run(run, quiet=True)
    failures = {model["title"]: model["failed"] for model in run.record["models"]}
    means = run.results["means"]
    rows = []
    for row in found.rows:
        if row.name in failures:
            points = [
                Points(group=x["group"], mode=x["mode"], points=x["points"], stderr=x["stderr"])
                for x in means
                if x["model"] == _folder(row.name)
            ]
            failed = failures[row.name]
            update = {"points": None if failed else tuple(points), "unanswered": failed}
            row = row.model_copy(update=update)
        rows.append(row)
    asked = {key: run.record[key] for key in ("suite", "split", "items", "seed", "tasks")}
    return found.model_copy(update={"rows": tuple(rows), "suite": asked})
