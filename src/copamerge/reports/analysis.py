"""An analysis as a folder: the record, its tables, figures and one page; all of it, or nothing."""

from pathlib import Path

from copamerge.analyzing.files import RECORD, json_text, tables
from copamerge.analyzing.record import Analysis
from copamerge.errors import OutputError
from copamerge.io._atomic import check_place, whole_folder

PAGE = "index.html"


def write_analysis(
    found: Analysis, out: Path, *, figures: bool = True, overwrite: bool = False
) -> Path:
    """Write everything and return the page.

    Raises:
        OutputError: the place is taken, or cannot be written.
        CopamergeError: matplotlib is missing.
    """
    from copamerge.reports.analysis_figures import draw_analysis
    from copamerge.reports.analysis_page import analysis_html

    check_analysis_place(out, overwrite=overwrite)
    drawn = draw_analysis(found) if figures else ()
    with whole_folder(out, overwrite=overwrite, check=check_analysis_place) as folder:
        (folder / RECORD).write_text(json_text(found), encoding="utf-8", newline="\n")
        (folder / "tables").mkdir()
        for name, text in tables(found).items():
            (folder / "tables" / name).write_text(text, encoding="utf-8", newline="\n")
        if drawn:
            (folder / "figures").mkdir()
        for one in drawn:
            svg = folder / "figures" / f"{one.name}.svg"
            svg.write_text(one.svg, encoding="utf-8", newline="\n")
            svg.with_suffix(".png").write_bytes(one.png)
        page = analysis_html(found, drawn, out=out)
        (folder / PAGE).write_text(page, encoding="utf-8", newline="\n")
    return out / PAGE


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
