"""`copamerge tune`: the best of a method's options, by points on validation samples."""

from pathlib import Path
from typing import Annotated, Any

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._extras import BENCH, needs
from copamerge.cli._names import plain
from copamerge.cli._options import (
    AdapterSet,
    Base,
    Batch,
    ChoosingSplit,
    ChoosingTasks,
    Dtype,
    Quiet,
    Rank,
    SuiteSeed,
    Zoo,
    ZooAdapters,
    options_of,
)
from copamerge.cli.learn import ITEMS, Ground


@app.command()
def tune(
    adapters: ZooAdapters = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the search; it goes on there.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", "-m", help="See `copamerge methods`.")
    ] = "copa",
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION=LOW..HIGH[:log]|A,B",
            help="An option to search, or weights=LOW..HIGH for one weight per adapter; "
            "repeatable.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="An option that stays; repeatable."),
    ] = None,
    trials: Annotated[int, typer.Option(help="In all; a search that goes on makes the rest.")] = 30,
    sampler: Annotated[str, typer.Option(help="tpe or random.")] = "tpe",
    seed: Annotated[int, typer.Option(help="Of the sampler.")] = 0,
    suite: Annotated[
        str | None, typer.Option(help="Ask a suite's validation samples.  [default: mini]")
    ] = None,
    items: Annotated[int | None, typer.Option(help="Samples per task.  [default: 100]")] = None,
    tasks: ChoosingTasks = None,
    split: ChoosingSplit = "validation",
    sample_seed: SuiteSeed = 0,
    zoo: Zoo = None,
    adapter_set: AdapterSet = "shared",
    base: Base = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Lines of {prompt, answer, image}: validation samples of your own."),
    ] = None,
    metric: Annotated[str, typer.Option(help="Scores answers to --data.")] = "exact_upper",
    max_new_tokens: Annotated[int, typer.Option(help="Of an answer to --data.")] = 32,
    rank: Rank = None,
    dtype: Dtype = None,
    batch: Batch = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print tune.json.")] = False,
    quiet: Quiet = False,
) -> None:
    """Merge ADAPTERS by many recipes, ask each result, and keep the best in OUT.

    The search sees validation samples only. A killed search goes on by the same command.
    """
    from copamerge.errors import CopamergeError, RecipeError

    needs("learn", *BENCH, "optuna")
    from copamerge.learn.job import options_from
    from copamerge.learn.space import space_from
    from copamerge.learn.tune import RECORD, Tune, check_run
    from copamerge.learn.tune import tune as run_tune

    problems: list[str] = []
    fixed = options_of(set_ or [], problems)
    options: Any = None
    for check in (
        lambda: space_from(search or [], method, fixed),
        lambda: options_from(
            Tune, {"trials": trials, "sampler": sampler, "seed": seed, "batch": batch}
        ),
        lambda: None if out is None else check_run(out),
    ):
        try:
            found = check()
            options = found if isinstance(found, Tune) else options
        except CopamergeError as error:
            problems += error.problems
    if out is None:
        problems.append("no output: say where to by -o FOLDER")
    ground = Ground(suite, ITEMS["tune"] if items is None else items, tasks, split).filled(
        sample_seed=sample_seed,
        zoo=zoo,
        adapter_set=adapter_set,
        base=base,
        adapters=adapters,
        data=data,
        items_given=items is not None,
        answers=True,
        max_new_tokens=max_new_tokens,
        problems=problems,
        metric=metric,
    )
    if problems or out is None or ground.base is None:
        raise RecipeError(dict.fromkeys(problems))
    for note in ground.notes:
        typer.echo(f"note: {plain(note)}", err=True)
    given = {"rank": rank, "dtype": dtype}
    try:
        with LateBar(quiet or as_json, "loading") as bar:
            tuned = run_tune(
                ground.adapters,
                out,
                ground.base,
                ground.questions,
                method,
                search or [],
                options,
                fixed=fixed,
                more={key: value for key, value in given.items() if value is not None},
                tell=lambda label, done, total: bar.update(done, total, label),
            )
    except KeyboardInterrupt:
        typer.echo(f"interrupted; finished trials are in {out}: the same command goes on", err=True)
        raise typer.Exit(130) from None
    failed = [trial for trial in tuned.trials if trial.reason is not None]
    if failed:
        typer.echo(
            f"warning: {len(failed)} of {len(tuned.trials)} trials could not be merged (first: "
            f"{plain(failed[0].reason or '')}); trials.csv says why",
            err=True,
        )
    if as_json:
        typer.echo((out / RECORD).read_text(encoding="utf-8").rstrip())
    elif not quiet:
        best = tuned.best
        typer.echo(f"best of {len(tuned.trials)} trials: {best.points:.2f} points on {split}")
        for name, value in best.params.items():
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            typer.echo(f"  {name} = {plain(shown)}")
        typer.echo(f"wrote {out}")
