"""Models of runs as the points and series of a figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from copamerge.reports.look import COLORS, plain
from copamerge.reports.run import GROUPS, Group, ModelRecord, Run

STYLE_OF = {
    "copa": 0,
    "task_arithmetic": 1,
    "ties": 2,
    "dare": 3,
    "pcb": 4,
    "robustmerge": 5,
    "mean": 6,
    "factor_linear": 7,
    "individual": 7,
    "tsv_m": 8,
    "iso_c": 9,
    "iso_cts": 10,
    "wudi": 11,
}
"""The same method looks the same in every figure."""
SHORT = {
    "copa": "CoPA",
    "task_arithmetic": "Task Arithmetic",
    "ties": "TIES",
    "dare": "DARE",
    "pcb": "PCB",
    "tsv_m": "TSV-M",
    "iso_c": "Iso-C",
    "iso_cts": "Iso-CTS",
    "wudi": "SWUDI",
    "robustmerge": "RobustMerge",
    "mean": "Mean",
    "factor_linear": "PEFT linear",
    "della": "DELLA",
    "breadcrumbs": "Breadcrumbs",
    "sce": "SCE",
    "emr": "EMR (shared)",
    "knots": "KnOTS-TIES",
    "core": "Core-TIES",
    "ctm": "CtM-TIES",
    "pico": "Pico",
    "ocap": "OCap",
    "aswudi": "ASWUDI",
    "dc_merge": "DC-Merge",
    "svd": "PEFT svd",
    "lego": "LEGO",
    "factor_sum": "Sum of factors",
}


@dataclass(frozen=True)
class Point:
    """One model in a figure."""

    x: float | str
    means: Mapping[Group, tuple[float, float | None]]
    """Points and standard error by group; a group without points is not in it."""


@dataclass(frozen=True)
class Series:
    """Models that belong together, in order."""

    label: str
    style: int
    points: tuple[Point, ...]

    def line(self, group: Group) -> tuple[list[Any], list[float], list[float]]:
        """x, points, standard errors (0 where there is none) of the models that have the group."""
        there = [p for p in self.points if group in p.means]
        return (
            [p.x for p in there],
            [p.means[group][0] for p in there],
            [p.means[group][1] or 0.0 for p in there],
        )


def series(run: Run, label: Callable[[ModelRecord], str] | None = None) -> tuple[Series, ...]:
    """Models that have an x, grouped by method (or kind), in the run's order."""
    found: dict[str, list[ModelRecord]] = {}
    for model in run.models:
        if model.name in run.places:
            found.setdefault(label(model) if label else method_label(model), []).append(model)
    return tuple(
        Series(name, _style(models[0], i), tuple(_point(run, model) for model in models))
        for i, (name, models) in enumerate(found.items())
    )


def method_label(model: ModelRecord) -> str:
    if model.kind != "merge":
        return model.kind.capitalize()
    return SHORT.get(model.method or "", plain(model.method or model.title))


def size_label(model: ModelRecord) -> str:
    rules = {"published": "its own scale", "norm_match": "at one size", "search": "scale searched"}
    return rules.get(model.scale_rule or "published", plain(str(model.scale_rule)))


def _style(model: ModelRecord, position: int) -> int:
    return STYLE_OF.get(model.method or model.kind, position % len(COLORS))


def _point(run: Run, model: ModelRecord) -> Point:
    means = {}
    for group in GROUPS:
        mean = run.mean(model.name, group)
        if mean is not None:
            means[group] = (mean.points, mean.stderr)
    return Point(run.places[model.name], means)


def drawn_groups(found: Sequence[Series]) -> tuple[Group, ...]:
    """Groups that some model of the series has points in."""
    return tuple(g for g in GROUPS if any(g in p.means for one in found for p in one.points))


def restyled(found: Sequence[Series]) -> tuple[Series, ...]:
    """Series of one method, told apart by their position."""
    return tuple(Series(one.label, i, one.points) for i, one in enumerate(found))


@dataclass(frozen=True)
class Repeated:
    """One method over several runs or seeds."""

    label: str
    method: str | None
    values: Mapping[Group, tuple[float, ...]]


def repeated(runs: Sequence[Run]) -> tuple[Repeated, ...]:
    """Every method of the runs, with its mean in each run and for each merge seed.

    Random methods have as many values as runs times seeds, the others one a run.
    """
    found: dict[str, Repeated] = {}
    for run in runs:
        for model in run.models:
            label = str(run.places.get(model.name, model.shown))
            values = {
                group: mean.points
                for group in GROUPS
                if (mean := run.mean(model.name, group)) is not None
            }
            before = found.get(label, Repeated(label, model.method, {}))
            found[label] = Repeated(
                label,
                model.method,
                {
                    g: (*before.values.get(g, ()), *([values[g]] if g in values else []))
                    for g in GROUPS
                },
            )
    return tuple(found.values())


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
