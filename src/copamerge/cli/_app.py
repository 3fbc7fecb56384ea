"""What every command shares: the program, its errors, its exit codes."""

import re
import sys

import typer

from copamerge.cli._names import plain
from copamerge.errors import CopamergeError, RecipeError

app = typer.Typer(
    name="copamerge",
    help="Merge LoRA adapters of one base model into one, without training and without data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from copamerge._version import __version__

        typer.echo(f"copamerge {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    del version


def run() -> None:
    """Entry point: a user's mistake is a message and exit code 2, a bug of ours is a traceback."""
    from copamerge.cli import (  # noqa: F401 - they register themselves
        bench,
        compare,
        demo,
        evaluate,
        family,
        inspect,
        learn,
        merge,
        methods,
        report,
        train,
        tune,
    )

    try:
        sys.argv[1:] = spread_weights(sys.argv[1:])
        app(standalone_mode=True)
    except CopamergeError as error:
        for problem in error.problems:
            typer.echo(f"error: {plain(problem)}", err=True)
        raise SystemExit(2) from None


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", re.IGNORECASE)


def spread_weights(words: list[str]) -> list[str]:
    """`--weights 1 0.5 -0.2` as `--weights=1 --weights=0.5 --weights=-0.2`.

    Raises:
        RecipeError: no number follows.
    """
    result: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word != "--weights":
            result.append(word)
            continue
        if not (left and NUMBER.fullmatch(left[0])):
            got = f" (got {left[0]!r})" if left else ""
            raise RecipeError(
                f"--weights: no number follows{got}; give one for each adapter, separated by "
                "spaces, as in --weights 1 0.5 -0.2"
            )
        while left and NUMBER.fullmatch(left[0]):
            result.append(f"--weights={left.pop(0)}")
    return result
