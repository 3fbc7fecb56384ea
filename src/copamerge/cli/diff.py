"""`copamerge diff`: two adapters, where and how much they differ."""

from typing import Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._options import Adapters, Alpha, AsJson
from copamerge.errors import RecipeError


@app.command()
def diff(
    adapters: Adapters,
    layers: Annotated[
        int, typer.Option("--layers", "-n", min=0, help="Layers to show; 0 shows all.")
    ] = 10,
    alpha: Alpha = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Exit with 1 unless both are the same to the bit, configs aside."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where two ADAPTERS differ, and how much.

    Needs no base model. Exit code 0 when they could be compared, 2 when not.
    """
    if len(adapters) != 2:
        raise RecipeError(
            f"diff takes two adapters and got {len(adapters)}; `copamerge inspect` relates any "
            "number of them"
        )
    from copamerge.difference import diff_adapters

    try:
        with LateBar(as_json, "comparing layers") as bar:
            found = diff_adapters(*adapters, alpha=alpha, progress=bar.update)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        from copamerge.cli._different import show_difference

        show_difference(found, layers=layers)
    if exit_code and not found.same:
        raise typer.Exit(1)
