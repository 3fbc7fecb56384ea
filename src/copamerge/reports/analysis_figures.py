"""All figures of an analysis, in the order of its page."""

from collections.abc import Callable

from copamerge.analyzing.record import Analysis
from copamerge.reports.drawn_adapters import energy, spectra
from copamerge.reports.drawn_copa import copa
from copamerge.reports.drawn_entries import entries
from copamerge.reports.drawn_merges import directions, directions_by_adapter, kept
from copamerge.reports.drawn_pairs import pairs
from copamerge.reports.look import Drawn, looks, rendered
from copamerge.reports.sketch import Sketch

FIGURES: tuple[Callable[[Analysis], Sketch | None], ...] = (
    spectra,
    energy,
    pairs,
    kept,
    directions,
    directions_by_adapter,
    copa,
    entries,
)
"""Each draws one figure, or none where the record has nothing for it."""


def draw_analysis(record: Analysis) -> tuple[Drawn, ...]:
    """Every figure that this record has something for: the same record, the same bytes.

    Raises:
        CopamergeError: matplotlib is not installed.
    """
    with looks():
        found = [sketch for draw in FIGURES if (sketch := draw(record)) is not None]
        return tuple(
            Drawn(
                one.name,
                one.title,
                one.caption,
                rendered(one.figure, "svg").decode(),
                rendered(one.figure, "png"),
            )
            for one in found
        )
