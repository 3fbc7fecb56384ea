"""The page on merged folders: warnings, methods beside each other, each merge by itself."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from shlex import quote

from copamerge.reports.document import (
    document,
    flat,
    name_cell,
    number_cell,
    sortable,
    word_cell,
)
from copamerge.reports.heat import heat_html
from copamerge.reports.merge_advice import warned_of
from copamerge.reports.merge_layers import (
    COSINE,
    KEPT,
    NORM,
    compared_maps,
    layers_csv,
    measured,
)
from copamerge.reports.merge_section import count, options, section
from copamerge.reports.merges import RECORD, Merge, open_merges
from copamerge.reports.place import Made
from copamerge.reports.tables import MISSING
from copamerge.reports.warned import Warned, warned_html

CSV = "layers.csv"


def merges_made(paths: Sequence[Path], out: Path, *, alone: bool) -> Made:
    """The report on merged folders; unless `alone`, with every layer's numbers as a file.

    Raises:
        CopamergeError: what is wrong with each of them.
    """
    merges = open_merges(paths)
    page = html(merges, out, linked=not alone)
    record = {
        "merges": [str(merge.path) for merge in merges],
        "warnings": {str(merge.path): [one.text for one in warned_of(merge)] for merge in merges},
    }
    return Made(page, {} if alone else {CSV: layers_csv(merges)}, record)


def html(merges: Sequence[Merge], out: Path, *, linked: bool) -> str:
    """The whole page."""
    several = len(merges) > 1
    title = f"{len(merges)} merges" if several else f"{merges[0].method}: {merges[0].name}"
    body = [f"<header><h1>{flat(title)}</h1>", _summary(merges)]
    body.append(warned_html([one for merge in merges for one in _named(merge, several)]))
    body += [_nav(merges) if several else "", "</header><main>"]
    if several:
        body.append(_comparison(merges))
    for i, merge in enumerate(merges):
        body.append(section(merge, i, several=several))
    body += [_repeat(merges, out, linked), "</main>"]
    return document(f"copamerge report: {title}", body, ("page", "heat"))


def _named(merge: Merge, several: bool) -> list[Warned]:
    if not several:
        return warned_of(merge)
    return [Warned(f"{merge.name}: {x.text}", x.do, x.command) for x in warned_of(merge)]


def _summary(merges: Sequence[Merge]) -> str:
    if len(merges) == 1:
        report = merges[0].report
        base = f" of {report.base_model}" if report.base_model else ""
        said = (
            f"{count(len(report.inputs), 'adapter')}{base}, merged by {merges[0].method} into "
            f"one of rank {report.rank} in {report.dtype}; {count(len(report.layers), 'layer')}."
        )
    elif len({merge.digests for merge in merges}) > 1:
        return (
            '<p class="caveat">These merges are not of the same adapters, so their numbers do not '
            "compare.</p>"
        )
    else:
        inputs = ", ".join(merges[0].inputs)
        said = f"The same {count(len(merges[0].inputs), 'adapter')} in each: {inputs}."
    return f"<p>{flat(said)}</p>"


def _nav(merges: Sequence[Merge]) -> str:
    links = [("comparison", "Comparison")]
    links += [(f"merge-{i}", merge.name) for i, merge in enumerate(merges)]
    links += [("repeat", "How to repeat")]
    items = "".join(f'<li><a href="#{to}">{flat(text)}</a></li>' for to, text in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _comparison(merges: Sequence[Merge]) -> str:
    same = len({merge.digests for merge in merges}) == 1
    names = merges[0].inputs if same else ()
    heads = ["Merge", "Method", "Rank", "Energy kept", "In the worst layer", "Norm"]
    heads += ["Relative norm", "Smallest cosine", *(f"Cosine to {name}" for name in names)]
    heads += ["Seconds", "Memory, MB", "Warnings", "Options"]
    rows = []
    for merge in merges:
        report = merge.report
        cosines = [one.cosine for one in report.inputs]
        there = [each for each in cosines if each is not None]
        size = merge.size
        found = len(warned_of(merge))
        cells = [
            name_cell(merge.name),
            word_cell(merge.method),
            number_cell(report.rank, str(report.rank)),
            measured(KEPT, report.energy_kept, "the merge is zero"),
            measured(KEPT, report.energy_kept_worst, "the merge is zero"),
            measured(NORM, report.norm),
            number_cell(size, "" if size is None else f"{size:.3g}", "its inputs are zero"),
            measured(COSINE, min(there) if there else None, "a delta is zero"),
            *(measured(COSINE, each, "a delta is zero") for each in (cosines if same else ())),
            number_cell(report.run.seconds, f"{report.run.seconds:.1f}"),
            number_cell(report.run.peak_memory_mb, f"{report.run.peak_memory_mb:.0f}"),
            number_cell(found, str(found)),
            word_cell(options(report.method) or MISSING, long=True),
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    table = sortable(
        heads,
        rows,
        "A click on a heading sorts. Relative norm: over the mean norm of the inputs. Time and "
        "memory are of the program that merged, on the machine it ran on.",
    )
    return (
        f'<section id="comparison"><h2>Comparison</h2>{table}'
        f"<h3>Layer by layer, on one scale</h3>{heat_html(compared_maps(merges, 'compared'))}"
        "</section>"
    )


def _repeat(merges: Sequence[Merge], out: Path, linked: bool) -> str:
    lines = []
    for i, merge in enumerate(merges):
        target = "again" if len(merges) == 1 else f"again-{i + 1}"
        record = quote(str(merge.path / RECORD))
        lines.append(f"copamerge merge -c {record} -o {target}")
    lines.append(
        " ".join(
            map(quote, ["copamerge", "report", *(str(x.path) for x in merges), "-o", str(out)])
        )
    )
    files = f'<p class="files">Files: <a href="{CSV}">every layer as CSV</a></p>' if linked else ""
    text = escape("\n".join(lines))
    return (
        f'<section id="repeat"><h2>How to repeat</h2><pre><code>{text}</code></pre>'
        "<p>The same versions on the same kind of machine give the same bytes.</p>"
        f"{files}</section>"
    )
