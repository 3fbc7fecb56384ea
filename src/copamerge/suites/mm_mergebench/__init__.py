"""The paper's own benchmark, MM-MergeBench, and its general tasks, read from disk."""

from pathlib import Path

from copamerge.suites._base import Suite
from copamerge.suites.mm_mergebench.checks import check_from
from copamerge.suites.mm_mergebench.conversations import is_validation
from copamerge.suites.mm_mergebench.found import Source, later, task_from
from copamerge.suites.mm_mergebench.general import mm_general
from copamerge.suites.mm_mergebench.layout import layouts, places
from copamerge.suites.mm_mergebench.records import source

__all__ = ["is_validation", "mm_general", "mm_mergebench"]


def mm_mergebench(data: Path | None) -> Suite:
    """Eight seen and four unseen tasks; `data` holds instructions/ and datasets/.

    It is not looked at before the first sample is wanted, nor are a mistake in it or its absence
    found before.
    """
    there = layouts()

    def sources() -> dict[str, Source]:
        known = places(data)
        return {layout.name: source(layout, known) for layout in there}

    tasks = (
        task_from(x.name, x.title, x.metric, later(x.name, sources), x.asking, seen=x.seen)
        for x in there
    )
    return Suite(
        "mm-mergebench",
        tuple(tasks),
        check=check_from(sources),
    )
