"""A progress bar for whoever has to wait."""

import sys
import time
from collections.abc import Callable

SHOW_AFTER = 2.0
"""Seconds before the bar appears."""


class LateBar:
    """A progress bar that appears only when a merge takes its time, and only on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._started = time.monotonic()
        self._wanted = not quiet and sys.stderr.isatty()
        self._stop: Callable[[], None] | None = None
        self._advance: Callable[[int], None] | None = None

    def __enter__(self) -> "LateBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stop:
            self._stop()

    def update(self, done: int, total: int) -> None:
        if not self._wanted:
            return
        if self._advance is None:
            if time.monotonic() - self._started < SHOW_AFTER:
                return
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            task = bar.add_task("merging layers", total=total)
            bar.start()
            self._stop = bar.stop
            self._advance = lambda n: bar.update(task, completed=n)
        self._advance(done)
