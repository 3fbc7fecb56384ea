"""The general tasks of the paper: POPE, MME and MMBench, in LLaVA's layout."""

from pathlib import Path
from types import MappingProxyType

from copamerge.errors import SuiteError
from copamerge.suites._base import Suite, Task
from copamerge.suites.mm_mergebench.checks import check_from
from copamerge.suites.mm_mergebench.found import Source, later, no_sample, task_from
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
        Task("pope", "POPE", "pope", False, no_sample, PAD),
        Task("mme", "MME", "mme", False, no_sample, PAD),
        Task("mmbench", "MMBench", "mmbench_circular", False, no_sample, PAD_LONG),
    )

    return Suite(
        "mm-general",
        tuple(task_from(task, later(task.name, lambda: _sources(data))) for task in tasks),
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
