"""An analysis as a folder: the record, its tables, figures and one page; all of it, or nothing."""

from collections.abc import Sequence
from pathlib import Path

from copamerge.analyzing.files import RECORD, json_text, read_analysis, tables
from copamerge.analyzing.record import Analysis
from copamerge.errors import CopamergeError, OutputError
from copamerge.io._atomic import check_place, whole_folder
from copamerge.reports.analysis_page import analysis_html
from copamerge.reports.look import Drawn
from copamerge.reports.place import Made

PAGE = "index.html"


def write_analysis(
    found: Analysis, out: Path, *, figures: bool = True, overwrite: bool = False
) -> Path:
    """Write everything and return the page.

    Raises:
        OutputError: the place is taken, or cannot be written.
        CopamergeError: matplotlib is missing.
    """
    check_analysis_place(out, overwrite=overwrite)
    files = {RECORD: json_text(found), **_beside(found, drawn := _drawn(found, figures))}
    files[PAGE] = analysis_html(found, drawn, out=out)
    with whole_folder(out, overwrite=overwrite, check=check_analysis_place) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return out / PAGE


def analysis_made(paths: Sequence[Path], out: Path, *, figures: bool, alone: bool) -> Made:
    """The report on an analysis that was written: its page, unless `alone` with files beside it.

    Raises:
        CopamergeError: there are several, or the record cannot be read; matplotlib is missing.
    """
    if len(paths) > 1:
        raise CopamergeError(
            f"{', '.join(map(str, paths))}: a report is on one analysis; `copamerge analyze` takes "
            "all adapters, and all merges of them by --merged"
        )
    found = read_analysis(paths[0])
    drawn = _drawn(found, figures)
    page = analysis_html(found, drawn, out=paths[0], linked=not alone)
    files = {} if alone else {RECORD: json_text(found), **_beside(found, drawn)}
    return Made(page, files, {"analysis": str(paths[0])})


def _drawn(found: Analysis, figures: bool) -> tuple[Drawn, ...]:
    from copamerge.reports.analysis_figures import draw_analysis

    return draw_analysis(found) if figures else ()


def _beside(found: Analysis, drawn: Sequence[Drawn]) -> dict[str, str | bytes]:
    """Tables and figures, by path."""
    files: dict[str, str | bytes] = {f"tables/{k}": text for k, text in tables(found).items()}
    for one in drawn:
        files[f"figures/{one.name}.svg"] = one.svg
        files[f"figures/{one.name}.png"] = one.png
    return files


def check_analysis_place(out: Path, *, overwrite: bool) -> None:
    """Refuse a path that is taken; with `overwrite` an earlier analysis may be replaced.

    Raises:
        OutputError: it is taken, or no folder can be made there.
    """
    if not out.is_dir() or out.is_symlink():
        check_place(out, overwrite=False)
        return
    inside = {path.name for path in out.iterdir()}
    if not inside:
        return
    if RECORD not in inside:
        raise OutputError(f"{out}: already exists and is not an analysis; choose another output")
    if others := sorted(inside - {RECORD, PAGE, "tables", "figures"}):
        raise OutputError(
            f"{out}: holds {', '.join(others[:3])} beside an earlier analysis, so it is not "
            "replaced; move that away or choose another output"
        )
    if not overwrite:
        raise OutputError(f"{out}: already exists; add --overwrite or choose another output")
