"""`copamerge merge`: adapters in, one verified adapter out."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._names import plain
from copamerge.cli._options import (
    AllowDifferentBases,
    AllowUnknownConfig,
    AllowUnmatchedTargets,
    Alpha,
    BaseModel,
    Bias,
    Device,
    Dtype,
    LayoutName,
    MergeSeed,
    Missing,
    ModulesToSave,
    Quiet,
    Rank,
    Weights,
    options_of,
)
from copamerge.cli._show import show_plan, show_report


@app.command()
def merge(
    adapters: Annotated[
        list[str] | None, typer.Argument(help="Folders, weights files or Hub ids, in order.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="<path>", help="Folder to create.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="YAML recipe; options given here win over it (except adapters, --weights and "
            "--set without -m).",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="See `copamerge methods`.  [default: copa]"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="An option of the method; repeatable."),
    ] = None,
    weights: Weights = None,
    rank: Rank = None,
    dtype: Dtype = None,
    missing: Missing = None,
    layout: LayoutName = None,
    modules_to_save: ModulesToSave = None,
    bias: Bias = None,
    alpha: Alpha = None,
    base_model: BaseModel = None,
    seed: MergeSeed = None,
    device: Device = "auto",
    allow_different_bases: AllowDifferentBases = False,
    allow_unmatched_targets: AllowUnmatchedTargets = False,
    allow_unknown_config: AllowUnknownConfig = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier merge at OUT.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything and show the plan; reads no tensors."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report (or the plan) as JSON.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Merge ADAPTERS into one adapter and write it to OUT.

    PEFT's adapters and those of LLaVA's own training are read, mixed as well. One adapter with
    `-m mean` changes its layout alone.
    """
    from copamerge.errors import CopamergeError, RecipeError
    from copamerge.io._atomic import check_place
    from copamerge.merging import merge_to_folder, plan, resolve_device
    from copamerge.merging.folder import check_apart, name_advice
    from copamerge.merging.plan import open_all
    from copamerge.recipe.load import read, read_recipe

    problems: list[str] = []
    # As a path, nothing would be the folder one stands in.
    folder = Path(out) if out else None
    if out is not None and folder is None:
        problems.append("--out: the name is empty; say where to by -o FOLDER")
    elif folder is None and not dry_run:
        problems.append("no output: say where to by -o FOLDER (or check the plan by --dry-run)")
    if bool(adapters) == (config is not None):
        problems.append(
            "give adapters to merge, or a recipe by -c"
            if not adapters
            else "adapters are given here and in the recipe (-c); use one of them"
        )
    given: dict[str, Any] = {
        "rank": rank,
        "dtype": dtype,
        "missing": missing,
        "layout": layout,
        "modules_to_save": modules_to_save,
        "bias": bias,
        "base_model": base_model,
        "seed": seed,
        "allow_different_bases": allow_different_bases or None,
        "allow_unmatched_targets": allow_unmatched_targets or None,
        "allow_unknown_config": allow_unknown_config or None,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    options = options_of(set_ or [], problems)
    if options and not method and config is not None:
        problems.append(
            "--set needs -m METHOD beside a recipe: the recipe's own method has its options"
        )
    if method or options:
        overrides["method"] = {"name": method or "copa", **options}
    if weights and adapters and len(weights) != len(adapters):
        problems.append(
            f"--weights: {len(weights)} given for {len(adapters)} adapters; give one for each"
        )
    odd = [weight for weight in weights or [] if not math.isfinite(weight)]
    if odd:
        problems.append(f"--weights: expected a finite number for each adapter (got {odd[0]})")
    if weights and config is not None:
        problems.append("--weights: with a recipe, write each weight beside its adapter")
    if alpha is not None and config is not None:
        problems.append("--alpha: with a recipe, write `alpha:` beside the adapter that needs it")
    where = None
    try:
        where = resolve_device(device)
    except CopamergeError as error:
        problems += error.problems
    if folder is not None:
        try:
            check_place(folder, overwrite=overwrite)
        except CopamergeError as error:
            problems += error.problems
    before = len(problems)
    recipe, notes = None, list[str]()
    if config is not None:
        recipe, notes = read_recipe(config, overrides, problems)
    elif adapters:
        extra = {} if alpha is None else {"alpha": alpha}
        given_weights = dict(enumerate([] if odd else weights or []))
        sources = [
            {"adapter": name, "weight": given_weights.get(i, 1.0), **extra}
            for i, name in enumerate(adapters)
        ]
        recipe = read({**overrides, "adapters": sources}, problems, typed=overrides)
    job = None
    if recipe is not None:
        # With a recipe that is only readable in part, the adapters can still be looked at.
        try:
            if len(problems) > before:
                open_all(recipe)
            else:
                job = plan(recipe)
                if folder is not None:
                    check_apart(job, folder)
        except CopamergeError as error:
            problems += error.problems
    if problems or job is None or where is None:
        raise RecipeError(dict.fromkeys(problems))
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if folder is not None:
        _warn(tuple(name_advice(job, folder)))
    if dry_run:
        _warn(job.warnings)
        show_plan(job, as_json, quiet)
        return
    assert folder is not None
    try:
        with LateBar(quiet or as_json) as bar:
            report = merge_to_folder(
                job, folder, device=where, overwrite=overwrite, progress=bar.update
            )
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    _warn(report.warnings)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    elif not quiet:
        show_report(report, folder)


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        typer.echo(f"warning: {plain(warning)}", err=True)
