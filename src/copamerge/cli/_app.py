"""What every command shares: the program, its errors, its exit codes."""

import contextlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import NoReturn, TextIO

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
    """Entry point: a user's mistake is a message and exit code 2, a bug of ours is a traceback.

    Where nothing can be printed, the exit code is 1.
    """
    from copamerge.cli import (  # noqa: F401 - they register themselves
        analyze,
        bench,
        card,
        compare,
        data,
        demo,
        diff,
        evaluate,
        family,
        harness,
        inspect,
        learn,
        merge,
        methods,
        report,
        train,
        tune,
    )

    try:
        with _signals_as_ctrl_c():
            _run()
    except OSError as error:
        if not _while_printing(error):
            raise
        _cannot_print(error)


def _run() -> None:
    try:
        sys.argv[1:] = spread(sys.argv[1:])
        app(standalone_mode=True)
    except CopamergeError as error:
        for problem in error.problems:
            typer.echo(f"error: {plain(problem)}", err=True)
        raise SystemExit(2) from None


@contextlib.contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """A request to end and a closed terminal end a command as Ctrl-C does: it cleans up.

    Only where nobody has other plans for these signals; `nohup` has.
    """
    taken: list[signal.Signals] = []

    def interrupt(*_: object) -> NoReturn:
        # Systems that shut down send more than one; cleaning up is not to be interrupted.
        for number in taken:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        there = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
        taken = [x for x in there if x is not None and signal.getsignal(x) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _while_printing(error: OSError) -> bool:
    """Whether it comes straight from what all commands print by."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("typer", "click", "rich")


def _cannot_print(error: OSError) -> NoReturn:
    told = f"the report could not be printed ({error.strerror or error}); print it elsewhere"
    _let_go(sys.stdout)
    try:
        typer.echo(f"error: {told}", err=True)
    except OSError:
        _let_go(sys.stderr)
    raise SystemExit(1) from None


def _let_go(stream: TextIO) -> None:
    """What is left in its buffer goes nowhere; Python would try it again, and complain."""
    with contextlib.suppress(OSError, AttributeError):  # a test's stream has no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", re.IGNORECASE)


def spread(words: list[str]) -> list[str]:
    """`--weights 1 0.5 -0.2` as `--weights=1 --weights=0.5 --weights=-0.2`; so with `--merged`.

    Weights go on as long as there are numbers, merged folders up to the next option.

    Raises:
        RecipeError: no number follows.
    """
    result: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--merged":
            taken = 0
            while left and not left[0].startswith("-"):
                result.append(f"--merged={left.pop(0)}")
                taken += 1
            if not taken:
                result.append(word)
            continue
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
