"""`copamerge report`: what other commands wrote in, tables, figures and one page out."""

from pathlib import Path
from typing import Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._names import plain


@app.command()
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Folders that `copamerge bench`, `merge` or `analyze` wrote, of one kind.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder to create, or NAME.html: one page that holds everything."
        ),
    ] = Path("report"),
    figures: Annotated[
        bool,
        typer.Option(
            "--figures/--no-figures", help="Draw figures of runs and analyses (needs matplotlib)."
        ),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier report at OUT.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write what runs, merges or an analysis show: one HTML page, with tables, figures and CSV.

    Of runs of the benchmark: tables, figures, and which differences are differences. Of merges:
    what was merged, how, what was lost in which layer, warnings with what to do, and methods
    beside each other. Of an analysis: its page anew, as one file if you like.
    """
    from copamerge.cli._extras import needs
    from copamerge.reports.kinds import Asked, kind_of_all, report_on
    from copamerge.reports.place import check_report_place

    check_report_place(out, overwrite=overwrite)
    kind = kind_of_all(folders)
    if figures and kind.draws:
        needs("report", "matplotlib")
    try:
        with LateBar(quiet, "comparing and drawing") as bar:
            asked = Asked(out, figures=figures, progress=bar.update)
            page = report_on(folders, asked, overwrite=overwrite)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    if quiet:
        return
    if page == out:
        typer.echo(f"wrote {plain(str(page))}: open it in a browser")
    else:
        typer.echo(f"wrote {plain(str(out))}: open {plain(str(page))}")
