"""`copamerge analyze`: see inside adapters and merges of them, without data or the base model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._collect import collected, recipe_of
from copamerge.cli._names import plain
from copamerge.cli._options import (
    AllowDifferentBases,
    AllowUnknownConfig,
    AllowUnmatchedTargets,
    Alpha,
    AsJson,
    Device,
    MergeSeed,
    Missing,
    Quiet,
    Rank,
    Weights,
)
from copamerge.cli._table import names_of

if TYPE_CHECKING:
    from copamerge.analyzing import Analysis


@app.command()
def analyze(
    adapters: Annotated[
        list[str], typer.Argument(help="Folders, weights files or Hub ids, in order.")
    ],
    merged: Annotated[
        list[str] | None,
        typer.Option(metavar="OUT ...", help="Merges of these adapters, to look at beside them."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to create: JSON, CSV, figures and one HTML page."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Merge by these in memory as well; all, or none.  [default: task_arithmetic, "
            "copa, tsv_m; none with --merged]",
        ),
    ] = None,
    weights: Weights = None,
    rank: Rank = None,
    within: Annotated[
        float, typer.Option(help="Degrees up to which a direction counts as kept.")
    ] = 45.0,
    missing: Missing = None,
    alpha: Alpha = None,
    seed: MergeSeed = None,
    device: Device = "auto",
    allow_different_bases: AllowDifferentBases = False,
    allow_unmatched_targets: AllowUnmatchedTargets = False,
    allow_unknown_config: AllowUnknownConfig = False,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="With -o: draw figures (matplotlib).")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier analysis at OUT.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what is inside ADAPTERS, how they relate, and what merges make of them.

    Full modules and biases are named, not measured. --weights and --rank are
    those of the merges by --methods.
    """
    from copamerge.analyzing import analyze as run
    from copamerge.cli._extras import needs
    from copamerge.cli._screen import show_analysis, show_notices
    from copamerge.errors import RecipeError
    from copamerge.merging import resolve_device
    from copamerge.merging.common import check_methods
    from copamerge.methods import method_names

    problems: list[str] = []
    given: dict[str, Any] = {
        "rank": rank,
        "missing": missing,
        "seed": seed,
        "allow_different_bases": allow_different_bases or None,
        "allow_unmatched_targets": allow_unmatched_targets or None,
        "allow_unknown_config": allow_unknown_config or None,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if not 0 < within <= 90:
        problems.append(f"--within {within:g}: expected degrees above 0 and up to 90")
    names = {"all": list(method_names()), "none": []}.get(methods or "", names_of(methods))
    with collected(problems):
        resolve_device(device)
    if names:
        with collected(problems):
            check_methods(names)
    if out is not None:
        from copamerge.reports.analysis import check_analysis_place

        with collected(problems):
            check_analysis_place(out, overwrite=overwrite)
        problems += _inside(out, [*adapters, *(merged or ())])
    # Full tensors are not measured, so no policy for them is asked for.
    policies = {"modules_to_save": "drop", "bias": "drop"}
    recipe = recipe_of(adapters, weights, alpha, given | policies, problems)
    if problems or recipe is None:
        raise RecipeError(dict.fromkeys(problems))
    if out is not None and figures:
        needs("report", "matplotlib")
    try:
        with LateBar(quiet or as_json, "measuring layers") as bar:
            found = run(
                recipe,
                merged=merged or (),
                methods=names,
                within_degrees=within,
                device=device,
                progress=bar.update,
            )
            page = None if out is None else _written(found, out, figures, overwrite)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    if as_json:
        from copamerge.analyzing.files import json_text

        typer.echo(json_text(found), nl=False)
    elif not quiet:
        show_analysis(found)
    show_notices(found.notices)
    for merge in found.merges:
        show_notices(merge.notices, f"{merge.name}: ")
    if page is not None and not quiet and not as_json:
        typer.echo(f"wrote {plain(str(out))}: open {plain(str(page))}")


def _inside(out: Path, inputs: list[str]) -> list[str]:
    """An output that lies in an input would be mistaken for a part of it."""
    target = out.resolve()
    return [
        f"{out}: lies in the input {name}; choose another output"
        for name in inputs
        if Path(name).is_dir() and Path(name).resolve() in (target, *target.parents)
    ]


def _written(found: "Analysis", out: Path, figures: bool, overwrite: bool) -> Path:
    from copamerge.reports.analysis import write_analysis

    return write_analysis(found, out, figures=figures, overwrite=overwrite)
