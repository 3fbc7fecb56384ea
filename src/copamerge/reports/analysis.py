"""An analysis as a folder: the record, its tables, figures and one page; all of it, or nothing."""

from collections.abc import Sequence
from pathlib import Path

from copamerge.analyzing.files import RECORD, json_text, read_analysis, tables
from copamerge.analyzing.record import Analysis
from copamerge.errors import CopamergeError
from copamerge.io._atomic import whole_folder
from copamerge.reports.analysis_figures import draw_analysis
from copamerge.reports.analysis_page import analysis_html
from copamerge.reports.look import Drawn
from copamerge.reports.place import PAGE, Made, check_folder, put_files

WRITTEN = (RECORD, PAGE, "tables", "figures")
"""What an analysis consists of; a folder that holds more is not replaced."""


def write_analysis(
    found: Analysis, out: Path, *, figures: bool = True, overwrite: bool = False
) -> Path:
    """Write everything and return the page.

    Raises:
        OutputError: the place is taken, or cannot be written.
        CopamergeError: matplotlib is missing.
    """
    check_analysis_place(out, overwrite=overwrite)
    drawn = draw_analysis(found) if figures else ()
    page = analysis_html(found, drawn, out=out)
    with whole_folder(out, overwrite=overwrite, check=check_analysis_place) as folder:
        put_files(folder, {**_files(found, drawn), PAGE: page})
    return out / PAGE


def analysis_made(folders: Sequence[Path], *, figures: bool, alone: bool) -> Made:
    """The report on an analysis, from its record; unless `alone`, with all files of it.

    Raises:
        CopamergeError: there is no record, or it cannot be read; more than one analysis;
            matplotlib is missing.
    """
    if len(folders) > 1:
        raise CopamergeError(
            f"{len(folders)} analyses: a report is on one analysis; `copamerge analyze` takes all "
            "adapters and merges at once"
        )
    (folder,) = folders
    found = read_analysis(folder)
    drawn = draw_analysis(found) if figures else ()
    page = analysis_html(found, drawn, out=folder, linked=not alone)
    record = {"analysis": str(folder), "warnings": [notice.text for notice in found.notices]}
    return Made(page, {} if alone else _files(found, drawn), record)


def _files(found: Analysis, drawn: Sequence[Drawn]) -> dict[str, str | bytes]:
    """What stands beside the page, by path."""
    files: dict[str, str | bytes] = {RECORD: json_text(found)}
    files |= {f"tables/{name}": text for name, text in tables(found).items()}
    for one in drawn:
        files |= {f"figures/{one.name}.svg": one.svg, f"figures/{one.name}.png": one.png}
    return files


def check_analysis_place(out: Path, *, overwrite: bool) -> None:
    """Refuse a path that is taken; with `overwrite` an earlier analysis may be replaced.

    Raises:
        OutputError: it is taken, or no folder can be made there.
    """
    check_folder(out, overwrite, mark=RECORD, written=WRITTEN, what="an analysis")
