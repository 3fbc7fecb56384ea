"""What is evaluated: a list of models, each by what makes it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from copamerge.bench.zoo import Zoo
from copamerge.errors import RecipeError, SuiteError
from copamerge.suites import Suite

Kind = Literal["zero-shot", "individual", "mtl", "merge"]
ScaleRule = Literal["published", "norm_match", "search"]
"""`published`: the method as it is. `norm_match`: each layer's delta brought to the mean norm of
the inputs'. `search`: the published answer times the best of a few multiples, by validation."""
SCALE_RULES: tuple[ScaleRule, ...] = ("published", "norm_match", "search")
GRID = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)
"""Multiples of a method's published answer among which `search` chooses."""

NAME = re.compile(r"[A-Za-z0-9][\w.+@=,-]*")


@dataclass(frozen=True)
class ModelSpec:
    """One row of the table, by what makes it: a merge method, or an adapter as it is."""

    name: str
    """A folder's name."""
    title: str
    kind: Kind = "merge"
    method: str | Mapping[str, Any] | None = None
    """A merge method's name, or a mapping of `name` and options."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What else a recipe says: `rank`, `dtype`, `seed`, ..."""
    weights: tuple[float, ...] | None = None
    """One for each merged adapter; None: 1 each."""
    adapter_set: str | None = None
    """The folder of the zoo with the inputs (`own`, `ranks/8`); None: the run's."""
    inputs: Mapping[str, Path] | None = None
    """The inputs themselves by task, instead of a folder of the zoo."""
    merges: tuple[str, ...] | None = None
    """Which of the inputs take part, in this order; None: all, in the suite's order."""
    adapter: Path | Mapping[str, Path] | None = None
    """An adapter as it is, or one for each task that has its own (`individual`); None without a
    method: the bare base."""
    tasks: tuple[str, ...] | None = None
    """Only these tasks are asked; None: all of the run's."""
    scale_rule: ScaleRule | None = None
    """For what is merged; None: the run's."""
    multiple: float = 1.0
    """Multiplies the merged delta after the scale rule."""
    x: float | str | None = None
    """Where it stands in a figure."""

    @property
    def is_made(self) -> bool:
        return self.method is not None


def check_specs(specs: Sequence[ModelSpec]) -> None:
    """
    Raises:
        SuiteError: names that cannot be folders or occur twice, rows that are two things at once.
    """
    problems = []
    seen: set[str] = set()
    for spec in specs:
        if not NAME.fullmatch(spec.name):
            problems.append(
                f"model {spec.name!r}: its name is used for a folder; use letters, digits and "
                "._+@=,- only"
            )
        if spec.name in seen:
            problems.append(f"model {spec.name!r}: the name occurs twice; rename one")
        seen.add(spec.name)
        if spec.is_made and spec.adapter is not None:
            problems.append(
                f"model {spec.name!r}: a method and an adapter are given; one of them makes a model"
            )
    if not specs:
        problems.append("no models: there is nothing to evaluate; name one at least")
    if problems:
        raise SuiteError(problems)


def baselines(zoo: Zoo, adapter_set: str, suite: Suite) -> list[ModelSpec]:
    """The base model, each task's own adapter, and the multi-task adapter, where there are some."""
    own = zoo.adapters(adapter_set)
    specs = [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")]
    if any(task.name in own for task in suite.tasks):
        specs.append(ModelSpec("individual", "Individual", kind="individual", adapter=own))
    if zoo.mtl is not None:
        specs.append(ModelSpec("mtl", "Traditional MTL", kind="mtl", adapter=zoo.mtl))
    return specs


def methods_as_published(names: Sequence[str] | None = None) -> list[ModelSpec]:
    """One row per merge method with its defaults; None: every one of the table.

    Raises:
        RecipeError: unknown methods, all of them.
    """
    from copamerge.bench.entries import TITLES, table_rows
    from copamerge.methods import method_from

    problems, specs = list[str](), []
    for name in dict.fromkeys(table_rows() if names is None else names):
        try:
            method_from(name)
        except RecipeError as error:
            problems += error.problems
        specs.append(ModelSpec(name, TITLES.get(name, name), method=name))
    if problems:
        raise RecipeError(problems)
    return specs
