"""A progress bar for whoever has to wait."""

import sys
import time
from collections.abc import Callable

SHOW_AFTER = 2.0
"""Seconds before the bar appears."""


class LateBar:
    """A progress bar that appears only when something takes its time, and only on a terminal."""

    def __init__(self, quiet: bool, label: str = "merging layers") -> None:
        self._started = time.monotonic()
        self._wanted = not quiet and sys.stderr.isatty()
        self._label = label
        self._stop: Callable[[], None] | None = None
        self._show: Callable[[str, int, int], None] | None = None

    def __enter__(self) -> "LateBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stop:
            self._stop()

    def update(self, done: int, total: int, label: str | None = None) -> None:
        """So much of it is done; `label` says what is going on, from now on."""
        self._label = label or self._label
        if not self._wanted:
            return
        if self._show is None:
            if time.monotonic() - self._started < SHOW_AFTER:
                return
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            task = bar.add_task(self._label, total=total)
            bar.start()
            self._stop = bar.stop
            self._show = lambda text, n, of: bar.update(
                task, description=text, completed=n, total=of
            )
        self._show(self._label, done, total)
