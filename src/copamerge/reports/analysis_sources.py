"""What the numbers of an analysis mean, and where they come from."""

from html import escape
from pathlib import Path

from copamerge.analyzing.record import Analysis
from copamerge.reports import numbers
from copamerge.reports.analysis_commands import analyze_command
from copamerge.reports.analysis_tables import named
from copamerge.reports.document import flat, fold, number_cell, sortable, word_cell
from copamerge.reports.sketch import Called
from copamerge.reports.tables import MISSING


def sources(record: Analysis, names: Called, *, figures: int, out: Path, linked: bool) -> str:
    """Hashes, versions, the command that repeats it, and what lies beside the page."""
    versions = ", ".join(f"{key} {value}" for key, value in record.run.items())
    parts = [
        fold("Adapters and their files, with sha256", _table(record, names)),
        f"<p>{flat(versions)}.</p><p>To repeat it:</p>",
        f'<pre><code class="all">{escape(analyze_command(record, out))}</code></pre>',
    ]
    if linked:
        tables = ("adapters", "pairs", "merges", "layers", "layer_pairs", "layer_merges")
        links = ", ".join(f'<a href="tables/{x}.csv">{x}</a>' for x in (*tables, "directions"))
        more = f", and {figures} figures as SVG and PNG" if figures else ""
        parts.append(
            '<p class="files">Files beside this page: <a href="analysis.json">analysis.json</a>, '
            f"the whole record; as CSV {links}{more}.</p>"
        )
    return "".join(parts)


def _table(record: Analysis, names: Called) -> str:
    """Where adapters come from, with the hash of every file."""
    heads = ["Adapter", "Format", "Base", "Task", "Revision", "Tensors", "Not measured", "Ignored"]
    rows = []
    for name, one in zip(names.adapters, record.adapters, strict=True):
        said = [one.format, one.base_model, one.task_type, one.revision]
        left, ignored = len(one.not_measured), len(one.ignored)
        rows.append(
            [
                named(name, one.adapter),
                *(word_cell(text or MISSING) for text in said),
                number_cell(one.tensors, str(one.tensors)),
                _counted(left, ", ".join(one.not_measured)),
                _counted(ignored, "; ".join(f"{k}: {why}" for k, why in one.ignored.items())),
            ]
        )
    files = "\n".join(
        f"{digest}  {one.adapter}/{file}"
        for one in record.adapters
        for file, digest in one.sha256.items()
    )
    return (
        sortable(
            heads,
            [f"<tr>{''.join(row)}</tr>" for row in rows],
            "Not measured are full tensors and biases, which are no low-rank deltas.",
        )
        + f"<pre><code>{escape(files)}</code></pre>"
    )


def _counted(count: int, which: str) -> str:
    shown = which if len(which) <= 400 else f"{which[:400]} …"
    title = f' title="{flat(shown)}"' if which else ""
    return f'<td data-sort="{count}"{title}>{count}</td>'


def definitions() -> str:
    """Every kind of number, folded."""
    return fold("Every number with its range, its level by chance, and its source", _numbers()) + (
        "<p>A dash is a number that there is not; it says why when pointed at. Nothing missing is "
        "ever shown as zero.</p>"
    )


def _numbers() -> str:
    """Every kind of number, with its range, its level by chance and its source."""
    heads = ["Number", "What it is", "Range", "By chance, or usual", "Source"]
    rows = []
    for group, found in numbers.ALL:
        rows.append(f'<tr class="group"><th colspan="5" scope="rowgroup">{group}</th></tr>')
        for one in found:
            cells = (one.means, one.range, one.chance, one.source)
            rows.append(
                f'<tr><th scope="row">{flat(one.title)}</th>'
                + "".join(f"<td>{flat(cell)}</td>" for cell in cells)
                + "</tr>"
            )
    head_row = "".join(f'<th scope="col">{each}</th>' for each in heads)
    return (
        '<div class="wide" tabindex="0"><table class="words definitions">'
        f"<thead><tr>{head_row}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
