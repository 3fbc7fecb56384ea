"""`copamerge bench`: the whole benchmark, from a zoo to a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._extras import BENCH, needs
from copamerge.cli._options import (
    AsJson,
    Base,
    Data,
    GpusPerActor,
    Items,
    LargeBatch,
    Quiet,
    Ray,
    SampleSeed,
    SplitName,
    Tasks,
    Zoo,
)
from copamerge.cli._table import names_of, say_run, show_cost, show_models
from copamerge.cli.evaluate import end, say_interrupted, split_named

if TYPE_CHECKING:
    from copamerge.bench.planning import Planned
    from copamerge.bench.specs import ScaleRule


@app.command()
def bench(
    suite: Annotated[
        str,
        typer.Argument(help="mini, mm-mergebench, mm-general, clip8, or a file (.yaml, .jsonl)."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the run; a killed run goes on.")
    ],
    methods: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Merge methods, as published.  [default: all]"),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(help="The rows of one of the paper's tables or figures, as figure6a."),
    ] = None,
    data: Data = None,
    base: Base = None,
    items: Items = None,
    seed: SampleSeed = 0,
    split: SplitName = "test",
    tasks: Tasks = None,
    adapters: Annotated[
        str, typer.Option(help="The zoo's set: shared (adapters that began alike) or own.")
    ] = "shared",
    scale: Annotated[
        str, typer.Option(help="published, norm_match or search: one rule for every method.")
    ] = "published",
    items_validation: Annotated[
        int, typer.Option(help="Validation samples per task, for --scale search.")
    ] = 100,
    zoo: Zoo = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="Folder of the answers, which runs may share.  [default: OUT/answers]"),
    ] = None,
    batch: LargeBatch = None,
    modules_to_save: Annotated[
        str | None,
        typer.Option(help="Full modules of the adapters: mean, first, drop or error."),
    ] = None,
    ray: Ray = None,
    gpus_per_actor: GpusPerActor = 1.0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show units, GPU-hours and disk; ask nobody."),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Merge the zoo's adapters by every method, and ask all models of a suite."""
    from copamerge.bench.engine import run_planned
    from copamerge.bench.planning import Wanted, planned
    from copamerge.errors import CopamergeError, SuiteError

    problems = []
    for check in (lambda: split_named(split), lambda: scale_named(scale)):
        try:
            check()
        except CopamergeError as error:
            problems += error.problems
    if methods is not None and experiment is not None:
        problems.append("--methods and --experiment: an experiment has its own; give one of them")
    if experiment is not None and scale != "published":
        problems.append("--scale and --experiment: an experiment has its own; give one of them")
    if problems:
        raise SuiteError(problems)
    needs("bench", *BENCH)
    with LateBar(quiet or as_json, "loading") as bar:
        try:
            wanted = Wanted(
                suite=suite,
                data=data,
                base=base,
                zoo=zoo,
                adapter_set=adapters,
                methods=names_of(methods),
                experiment=experiment,
                items=items,
                seed=seed,
                split=split_named(split),
                tasks=names_of(tasks),
                scale_rule=scale_named(scale),
                items_validation=items_validation,
                answers=answers,
                batch=batch,
                ray=ray,
                gpus_per_actor=gpus_per_actor,
                recipe={} if modules_to_save is None else {"modules_to_save": modules_to_save},
                tell=lambda label, done, total: bar.update(done, total, label),
            )
            with planned(out, None, wanted) as run_to_be:
                if dry_run:
                    _show_cost(run_to_be, as_json)
                    return
                run = run_planned(run_to_be)
        except KeyboardInterrupt:
            say_interrupted(out)
            raise typer.Exit(130) from None
    say_run(run, quiet=quiet)
    if as_json:
        import json

        typer.echo(json.dumps({"run": run.record, "results": run.results}, indent=2))
    elif not quiet:
        show_models(run)
        typer.echo(f"\nwrote {out}")
    end(run)


def _show_cost(planned: "Planned", as_json: bool) -> None:
    from copamerge.bench.estimate import estimate

    cost = estimate(planned.setting, planned.specs, planned.batch)
    if as_json:
        import json

        typer.echo(json.dumps(cost.record(), indent=2))
    else:
        show_cost(cost)


def scale_named(name: str) -> "ScaleRule":
    """
    Raises:
        SuiteError: there is no such scale rule.
    """
    from copamerge.bench.specs import SCALE_RULES
    from copamerge.errors import SuiteError, did_you_mean

    for rule in SCALE_RULES:
        if rule == name:
            return rule
    raise SuiteError(
        f"--scale {name!r}: there is none of that name{did_you_mean(name, SCALE_RULES)}"
    )
