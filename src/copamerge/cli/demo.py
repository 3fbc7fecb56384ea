"""`copamerge demo`: the whole of it in minutes, with what ships."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._extras import BENCH, needs
from copamerge.cli._names import plain
from copamerge.cli._options import Quiet, SampleSeed
from copamerge.cli._table import say_run, show_models

METHODS = ("copa", "task_arithmetic", "ties", "dare", "pcb")
"""CoPA and the four baselines of the paper's Table 2 that need no data."""


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the run and its report.")
    ] = Path("demo-out"),
    items: Annotated[int, typer.Option(min=2, help="Samples per task.")] = 200,
    seed: SampleSeed = 0,
    adapters: Annotated[
        str, typer.Option(help="Of the zoo: shared (adapters that began alike) or own.")
    ] = "shared",
    quiet: Quiet = False,
) -> None:
    """Merge the eight adapters that ship by five methods, and ask every model twelve tasks.

    Two minutes on two cores, without a network. A killed demo goes on when it is started again.
    """
    needs("bench,report", *BENCH, "matplotlib")
    from copamerge.bench.engine import run_bench
    from copamerge.cli.evaluate import say_interrupted
    from copamerge.reports import open_runs, write_report

    with LateBar(quiet, "loading") as bar:
        try:
            run = run_bench(
                out / "run",
                methods=METHODS,
                adapter_set=adapters,
                items=items,
                seed=seed,
                tell=lambda label, done, total: bar.update(done, total, label),
            )
            # The page is made anew: it must be of this run.
            page = write_report(
                open_runs([out / "run"]), out / "report", overwrite=True, progress=bar.update
            )
        except KeyboardInterrupt:
            say_interrupted(out)
            raise typer.Exit(130) from None
    say_run(run, quiet=quiet)
    if quiet:
        return
    width = shutil.get_terminal_size().columns
    typer.echo(f"{items} samples of each task; means ± standard error; zoo: {adapters}\n")
    show_models(run)
    typer.echo("\n" + "-" * min(width, 72))
    typer.echo(f"the merged adapters:  {plain(str(out / 'run' / 'merged'))}")
    typer.echo(f"the report:           {plain(str(page))}  (open it in a browser)")
    typer.echo("all methods:          copamerge bench mini -o runs/mini")
