"""`copamerge report`: runs of the benchmark in, tables, figures and one page out."""

from pathlib import Path
from typing import Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._names import plain


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that `copamerge bench` wrote.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.")] = Path("report"),
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw figures (needs matplotlib).")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier report at OUT.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write tables (Markdown, CSV), figures (SVG, PNG) and one HTML page on these RUNs."""
    from copamerge.cli._extras import needs

    if figures:
        needs("report", "matplotlib")
    from copamerge.reports import open_runs, write_report
    from copamerge.reports.write import check_report_place

    check_report_place(out, overwrite=overwrite)
    opened = open_runs(runs)
    try:
        with LateBar(quiet, "comparing and drawing") as bar:
            page = write_report(
                opened, out, overwrite=overwrite, figures=figures, progress=bar.update
            )
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    if not quiet:
        typer.echo(f"wrote {plain(str(out))}: open {plain(str(page))}")
