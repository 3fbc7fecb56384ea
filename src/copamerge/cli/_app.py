"""What every command shares: the program, its errors, its exit codes."""

import re
import sys

import typer

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
    from copamerge.cli import inspect, merge, methods  # noqa: F401 - they register themselves
    from copamerge.errors import CopamergeError

    sys.argv[1:] = spread_weights(sys.argv[1:])
    try:
        app(standalone_mode=True)
    except CopamergeError as error:
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise SystemExit(130) from None


def spread_weights(words: list[str]) -> list[str]:
    """`--weights 1 0.5 -0.2` as `--weights=1 --weights=0.5 --weights=-0.2`."""
    result: list[str] = []
    taking = False
    for word in words:
        if word == "--weights":
            taking = True
        elif taking and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", word):
            result.append(f"--weights={word}")
        else:
            if taking and words[words.index(word) - 1] == "--weights":
                result.append("--weights")  # nothing numeric followed: let the parser say so
            taking = False
            result.append(word)
    if words and words[-1] == "--weights":
        result.append("--weights")
    return result
