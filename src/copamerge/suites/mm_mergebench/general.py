"""The general tasks of the paper: POPE, MME and MMBench, in LLaVA's layout."""

from pathlib import Path
from types import MappingProxyType

from copamerge.errors import SuiteError
from copamerge.suites._base import Suite
from copamerge.suites.mm_mergebench.checks import check_from
from copamerge.suites.mm_mergebench.found import Source, later, task_from
from copamerge.suites.mm_mergebench.layout import PAD, PAD_LONG
from copamerge.suites.mm_mergebench.mmbench import mmbench
from copamerge.suites.mm_mergebench.mme import mme
from copamerge.suites.mm_mergebench.pope import pope

_READERS = MappingProxyType({"pope": pope, "mme": mme, "mmbench": mmbench})


def mm_general(data: Path | None) -> Suite:
    """POPE, MME and MMBench, whose points are no percentages of one kind, so without a mean.

    `data` is LLaVA's playground/data/eval; it is not looked at before the first sample is wanted.
    """
    tasks = (
        task_from(name, title, metric, later(name, lambda: _sources(data)), asking)
        for name, title, metric, asking in (
            ("pope", "POPE", "pope", PAD),
            ("mme", "MME", "mme", PAD),
            ("mmbench", "MMBench", "mmbench_circular", PAD_LONG),
        )
    )
    return Suite(
        "mm-general",
        tuple(tasks),
        averaged=False,
        check=check_from(lambda: _sources(data)),
    )


def _sources(data: Path | None) -> dict[str, Source]:
    folders = "the folder that holds pope/, MME/ and mmbench/"
    if data is None:
        raise SuiteError(
            f"suite 'mm-general': its data are read from disk; give {folders} by --data"
        )
    if not data.is_dir():
        raise SuiteError(f"{data}: no such folder; give {folders}")
    return {name: reader(data) for name, reader in _READERS.items()}
