"""`copamerge card`: the model card of a merged folder, made anew, with scores."""

from pathlib import Path
from typing import Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._names import plain
from copamerge.cli._options import Quiet


@app.command()
def card(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that a merge wrote.")],
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A folder that `copamerge evaluate -o` or `bench -o` wrote; repeatable.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a README.md that copamerge did not write."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write the model card of OUT anew, from its merge.json and the scores of the RUNs.

    Scores go into the metadata for the Hub (model-index) and into a table. The runs have to have
    asked this very adapter.
    """
    from copamerge.errors import CopamergeError
    from copamerge.merging.card.rewrite import check_card, read_report, rewrite_card
    from copamerge.merging.sources import CARD

    problems, scores = list[str](), None
    try:
        read_report(out)
        check_card(out / CARD, overwrite=overwrite)
    except CopamergeError as error:
        problems += error.problems
    if run and out.is_dir():
        from copamerge.reports.merge_scores import merge_scores

        try:
            scores = merge_scores(out, run)
        except CopamergeError as error:
            problems += error.problems
    if problems:
        raise CopamergeError(dict.fromkeys(problems))
    path = rewrite_card(out, scores, overwrite=overwrite)
    if quiet:
        return
    tasks = [task for suite in scores.suites for task in suite.tasks] if scores else []
    found = sum(task.points is not None for task in tasks)
    what = f" with points on {found} of {len(tasks)} tasks" if scores else ""
    typer.echo(f"wrote {plain(str(path))}{what}")
