"""What an experiment is made of: entries that know their method and not yet any folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from copamerge.bench.specs import Kind, ScaleRule
from copamerge.bench.transforms import Spectral
from copamerge.suites import Suite


@dataclass(frozen=True)
class Entry:
    """One model of an experiment, before anybody knows where a zoo is."""

    name: str
    """Unique in its experiment; names a folder."""
    kind: Kind
    """`zero-shot` is the base; `individual` answers each task with that task's own adapter, and
    has no answer to an unseen one; `mtl` is the adapter trained on all seen tasks."""
    title: str
    """The row's label."""
    method: str | None = None
    """A merge method, for `merge` only."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The method's options that are not its defaults."""
    scale_rule: ScaleRule = "published"
    multiple: float = 1.0
    """Multiplies the merged delta after the scale rule."""
    adapters: tuple[str, ...] | None = None
    """Seen tasks whose adapters are merged, in this order; None: all of the suite's."""
    adapter_set: str | None = None
    """The zoo's set of adapters that is merged; None: the run's."""
    spectrum: Spectral | None = None
    """What is done to the singular values of each adapter first."""
    seed: int = 0
    """Of the merge, for random methods."""
    tasks: tuple[str, ...] | None = None
    """Tasks it is asked; None: all."""
    x: float | str | None = None
    """Where it stands in a figure."""


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the paper."""

    name: str
    source: str
    """The paper's table or figure, or where else the idea is from."""
    about: str
    """What is varied, and what our reading of the paper is where it does not say."""
    models: Callable[[Suite], tuple[Entry, ...]]
    needs: str | None = None
    """What the zoo has to hold beside base, adapters and MTL, and the command that makes it."""
    suite: str | None = None
    """The only suite that it is a table of; None: its rows mean the same on any."""


TITLES: Mapping[str, str] = MappingProxyType(
    {
        "task_arithmetic": "Task Arithmetic",
        "dare": "DARE",
        "ties": "TIES-Merging",
        "pcb": "PCB-Merging",
        "copa": "CoPA-Merging",
        "robustmerge": "RobustMerge (released code)",
        "della": "DELLA",
        "breadcrumbs": "Model Breadcrumbs",
        "sce": "SCE",
        "emr": "EMR-Merging (shared delta alone)",
        "knots": "KnOTS-TIES",
        "core": "Core-space TIES",
        "ctm": "Compress-then-merge TIES",
        "pico": "Pico, mean",
        "ocap": "OCap, mean",
        "tsv_m": "TSV-M",
        "iso_c": "Iso-C",
        "iso_cts": "Iso-CTS",
        "wudi": "SWUDI",
        "aswudi": "ASWUDI",
        "dc_merge": "DC-Merge",
        "svd": "PEFT svd",
        "lego": "LoRA-LEGO",
        "mean": "Mean of the deltas",
        "factor_linear": "PEFT linear",
        "factor_sum": "Sum of the factors (LoraHub at weights 1)",
    }
)
"""Merge methods in the order of the paper's Table 2, then those that it does not have."""

SYNONYMS = ("swudi",)
"""Names of what another row already is: SWUDI is `wudi` with its defaults."""


def table_rows() -> tuple[str, ...]:
    """Every method of a table: those with a title, then what nobody has given one yet."""
    from copamerge.methods import method_names

    return tuple(dict.fromkeys([*TITLES, *(x for x in method_names() if x not in SYNONYMS)]))


def merge_entry(method: str, **more: Any) -> Entry:
    """A merge of all adapters by a method's defaults."""
    given = {"name": method, "title": TITLES.get(method, method), **more}
    return Entry(kind="merge", method=method, **given)


REFERENCES = (
    Entry("zero-shot", "zero-shot", "Zero-Shot"),
    Entry("individual", "individual", "Individual"),
    Entry("mtl", "mtl", "Traditional MTL"),
)
"""What merges are seen against: the first three rows of Table 2."""
