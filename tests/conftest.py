"""What all tests share: checked shapes, a command line in process, no way to the network."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Every shape and type written in these packages is checked while tests run. To be in force, the
# hook has to come before anything imports them.
install_import_hook(
    [
        f"copamerge.{package}"
        for package in ("core", "methods", "analysis", "bench.metrics", "bench.statistics")
    ],
    "beartype.beartype",
)

sys.path.insert(0, str(Path(__file__).parent))

from makers import tree  # noqa: E402 - found by the line above, after the hook


@dataclass(frozen=True)
class Ran:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def copamerge_cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs `copamerge ...` in this process, through the same entry point as the script."""

    def run(*words: object) -> Ran:
        from copamerge.cli import run as entry

        monkeypatch.setattr(sys, "argv", ["copamerge", *map(str, words)])
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with redirect_stdout(out), redirect_stderr(err):
            try:
                entry()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0
        return Ran(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def untouched(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Call it once inputs are made: at the end of the test the folder must be as it was then."""
    before: dict[str, str] = {}

    def remember() -> None:
        before.update(tree(tmp_path))
        assert before

    yield remember
    assert tree(tmp_path) == before
