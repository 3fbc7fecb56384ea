"""Where a report goes: a folder that appears whole, or a page alone."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from copamerge._version import __version__
from copamerge.errors import OutputError
from copamerge.io._atomic import check_place, whole_file, whole_folder

PAGE, RECORD = "index.html", "report.json"
WRITTEN = {PAGE, RECORD, "tables.md", "tables", "figures", "layers.csv", "analysis.json"}
"""What a report consists of; a folder that holds more is not replaced."""
OURS = re.compile(r'<meta name="generator" content="copamerge [^"<>]*">')
"""Says in a page's head who wrote it."""


class Made(NamedTuple):
    """A report that is not written yet."""

    page: str
    files: Mapping[str, str | bytes] = MappingProxyType({})
    """What stands beside the page in a folder, by path."""
    record: Mapping[str, Any] = MappingProxyType({})
    """What it says, for programs."""


def is_page(out: Path) -> bool:
    """Whether the place is one for a page alone."""
    return out.suffix.lower() in (".html", ".htm") and not out.is_dir()


def check_report_place(out: Path, *, overwrite: bool) -> None:
    """Refuse a path that is taken; with `overwrite` an earlier report may be replaced.

    Raises:
        OutputError: it is taken, or nothing can be written there.
    """
    if is_page(out) and (out.exists() or out.is_symlink()):
        _check_page(out, overwrite)
    else:
        check_folder(out, overwrite, mark=RECORD, written=WRITTEN, what="a report")


def check_folder(
    out: Path, overwrite: bool, *, mark: str, written: Collection[str], what: str
) -> None:
    """Refuse a path that is taken; a folder with `mark`, and nothing but `written`, is ours.

    Raises:
        OutputError: it is taken, or no folder can be made there.
    """
    if not out.is_dir() or out.is_symlink():
        check_place(out, overwrite=False)
        return
    inside = {path.name for path in out.iterdir()}
    if not inside:
        return
    if mark not in inside or "run.json" in inside:
        raise OutputError(f"{out}: already exists and is not {what}; choose another output")
    if others := sorted(inside - set(written)):
        earlier = f"an earlier {what.split()[-1]}"
        raise OutputError(
            f"{out}: holds {', '.join(others[:3])} beside {earlier}, so it is not replaced; move "
            "that away or choose another output"
        )
    if not overwrite:
        raise OutputError(f"{out}: already exists; add --overwrite or choose another output")


def _check_page(out: Path, overwrite: bool) -> None:
    if out.is_symlink() or not out.is_file():
        raise OutputError(f"{out}: exists and is not a plain file; choose another output")
    try:
        with out.open("rb") as file:
            head = file.read(4096).decode("utf-8", "replace").partition("<style>")[0]
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be read ({error.strerror}); choose another output"
        ) from None
    if not OURS.search(head):
        raise OutputError(
            f"{out}: already exists and is not a page of copamerge; choose another output"
        )
    if not overwrite:
        raise OutputError(f"{out}: already exists; add --overwrite or choose another output")


def put_report(out: Path, made: Made, *, overwrite: bool = False) -> Path:
    """Write all of a report, or nothing; return the page.

    Raises:
        OutputError: the place is taken, or cannot be written.
    """
    if is_page(out):
        whole_file(out, made.page, overwrite=overwrite, check=check_report_place)
        return out
    record = json.dumps({"copamerge": __version__, **made.record}, indent=2, allow_nan=False)
    with whole_folder(out, overwrite=overwrite, check=check_report_place) as folder:
        put_files(folder, {**made.files, PAGE: made.page, RECORD: record + "\n"})
    return out / PAGE


def put_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files by their path in a folder, lines ended alike on every system."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
