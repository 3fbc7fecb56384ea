"""From what is wanted of a run to a run that is known to make sense."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from copamerge.bench.checking import check_eyes, check_kind, unusable
from copamerge.bench.executors import Executor, executor_for
from copamerge.bench.record import check_out
from copamerge.bench.setting import Setting, Tell
from copamerge.bench.specs import (
    SCALE_RULES,
    ModelSpec,
    ScaleRule,
    baselines,
    check_specs,
    methods_as_published,
)
from copamerge.bench.suiting import suited
from copamerge.bench.units import base_digest, weights_bytes
from copamerge.bench.zoo import Zoo, open_zoo
from copamerge.errors import CopamergeError, SuiteError, did_you_mean
from copamerge.suites import Split, Suite, Task, suite_named

LARGE_BYTES, LARGE_BATCH = 2_000_000_000, 16
"""Weights from which on fewer samples are answered at once, and how many."""


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for, beside the models themselves."""

    suite: str = "mini"
    """A name, or a file that describes one."""
    data: Path | None = None
    """The folder of a suite that is not made by code."""
    zoo: Zoo | Path | None = None
    """None: the one that ships, opened only where something of it is needed."""
    base: Path | None = None
    """Another base model than the zoo's."""
    adapter_set: str = "shared"
    methods: Sequence[str] | None = None
    """Merge methods, where neither models nor an experiment are given; None: all."""
    experiment: str | None = None
    """Whose rows are run; where models are given, only what the run is called."""
    items: int | None = None
    """Of each task; None: as many as the suite says."""
    seed: int = 0
    split: Split = "test"
    tasks: Sequence[str] | None = None
    scale_rule: ScaleRule = "published"
    items_validation: int = 100
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What recipes of all merges say beside their method: `modules_to_save`, `rank`, ..."""
    batch: int | None = None
    """Samples answered at once; None: 100, or for large models `LARGE_BATCH`."""
    ray: str | None = None
    gpus_per_actor: float = 1.0
    """Of a Ray cluster with GPUs: 0.5 puts two actors on each."""
    executor: Executor | None = None
    answers: Path | None = None
    """Where answers files lie, for runs that share them; None: in the run's folder."""
    tell: Tell = lambda *_: None


@dataclass(frozen=True)
class Planned:
    """A run that is known to make sense."""

    setting: Setting
    specs: tuple[ModelSpec, ...]
    batch: int


@contextmanager
def planned(out: Path, specs: Sequence[ModelSpec] | None, wanted: Wanted) -> Iterator[Planned]:
    """Check everything that can be known before a model is made.

    `specs` None: the rows of the experiment, or zero-shot, individual, multi-task, and the merge
    methods.

    Raises:
        SuiteError: unknown suite, tasks or methods, data that are not there, all of it; a zoo that
            is not what its manifest says.
        OutputError: `out` holds something else.
    """
    chosen = suite_named(wanted.suite, wanted.data)
    items = chosen.items if wanted.items is None else wanted.items
    named = specs is None
    asked, listed = _checked(wanted, chosen, items, named=named)
    opened = _opened(wanted, chosen, specs)
    check_out(out, chosen.name)
    with ExitStack() as stack:
        if specs is None:
            assert opened is not None
            if wanted.experiment:
                from copamerge.bench.placing import model_specs

                specs = stack.enter_context(
                    model_specs(wanted.experiment, chosen, opened, wanted.adapter_set, beside=out)
                )
            else:
                specs = [*baselines(opened, wanted.adapter_set, chosen), *listed]
        specs = [
            replace(x, recipe={**wanted.recipe, **x.recipe}) if x.is_made else x for x in specs
        ]
        check_specs(specs)
        if opened is not None and named:
            _check_full_modules(opened, specs, wanted.adapter_set)
        base = wanted.base or (opened.base if opened is not None else Path())
        if wanted.base is None and not base.is_dir():
            raise SuiteError(f"{base}: this zoo has no base model; give one by --base")
        if wanted.executor is None:
            check_kind(base, chosen)
        if wanted.base is not None and wanted.executor is None and chosen.answers == "text":
            check_eyes(base, asked, wanted.split, items)
        batch = wanted.batch or default_batch(base)
        chosen, notes = suited(chosen, base)
        setting = Setting(
            out=out,
            suite=chosen,
            data=wanted.data,
            tasks=tuple(chosen.by_name[task.name] for task in asked),
            notes=tuple(notes),
            base=base,
            base_digest=base_digest(base),
            zoo=opened,
            adapter_set=wanted.adapter_set,
            items=items,
            seed=wanted.seed,
            split=wanted.split,
            answers=wanted.answers or out / "answers",
            scale_rule=wanted.scale_rule,
            items_validation=wanted.items_validation,
            experiment=wanted.experiment,
            tell=wanted.tell,
            executor=wanted.executor
            or executor_for(
                base,
                chosen.answers,
                ray=wanted.ray,
                batch=batch,
                gpus_per_actor=wanted.gpus_per_actor,
            ),
        )
        yield Planned(setting, tuple(specs), batch)


def default_batch(base: Path) -> int:
    """100, or `LARGE_BATCH` where the weights alone are large."""
    return 100 if weights_bytes(base) <= LARGE_BYTES else LARGE_BATCH


def _checked(
    wanted: Wanted, suite: Suite, items: int | None, *, named: bool
) -> tuple[tuple[Task, ...], list[ModelSpec]]:
    """The tasks, and the rows of `methods` where those are what is run."""
    problems: list[str] = []
    asked, listed = suite.tasks, list[ModelSpec]()
    try:
        asked = suite.pick(wanted.tasks)
    except CopamergeError as error:
        problems += error.problems
    try:
        if named and not wanted.experiment:
            listed = methods_as_published(wanted.methods)
    except CopamergeError as error:
        problems += error.problems
    if named and wanted.experiment:
        problems += _of_another_suite(wanted.experiment, suite)
    if wanted.scale_rule not in SCALE_RULES:
        hint = did_you_mean(wanted.scale_rule, SCALE_RULES)
        problems.append(f"scale rule {wanted.scale_rule!r}: there is none of that name{hint}")
    numbers = {
        "items": items,
        "items_validation": wanted.items_validation,
        "batch": wanted.batch,
    }
    small = {k: n for k, n in numbers.items() if n is not None and n < 1}
    problems += [f"{k}: {n}; at least 1 is needed" for k, n in small.items()]
    if not 0 < wanted.gpus_per_actor <= 1:
        problems.append(
            f"gpus per actor: {wanted.gpus_per_actor:g}; above 0, and at most 1: a model lies on "
            "one GPU"
        )
    if not problems:
        found = [problem for task in asked for problem in unusable(task, wanted.split, items)]
        problems += dict.fromkeys(found)
    if problems:
        raise SuiteError(problems)
    return asked, listed


def _of_another_suite(name: str, suite: Suite) -> list[str]:
    from copamerge.bench.experiments import EXPERIMENTS

    theirs = EXPERIMENTS[name].suite if name in EXPERIMENTS else None
    if theirs in (None, suite.name):
        return []
    return [
        f"--experiment {name}: is a table of the suite {theirs!r}, and this is {suite.name!r}; "
        "leave it out: without it all methods are run"
    ]


def _check_full_modules(zoo: Zoo, specs: Sequence[ModelSpec], adapter_set: str) -> None:
    """Refuse a run all of whose merges would fail for want of a word about full modules.

    Raises:
        SuiteError: adapters of the set have some, and no recipe says what becomes of them.
    """
    made = [x for x in specs if x.is_made and x.inputs is None]
    silent = [x for x in made if x.recipe.get("modules_to_save", "error") == "error"]
    if not made or len(silent) < len(made):
        return
    from copamerge.io import open_adapter

    for path in zoo.adapters(adapter_set).values():
        try:
            saved = open_adapter(str(path), allow_unmatched_targets=True).saved.values()
        except CopamergeError:
            continue  # the rows that need it say so
        if full := sorted(one.name for one in saved if one.role == "module"):
            raise SuiteError(
                f"{path}: full modules beside the factors ({full[0]} and {len(full) - 1} more), "
                "and nothing says what merging makes of them; give --modules-to-save mean, first "
                "or drop"
            )


def _opened(wanted: Wanted, suite: Suite, specs: Sequence[ModelSpec] | None) -> Zoo | None:
    """The zoo, where something of it is needed."""
    if not suite.ships and wanted.zoo is None and (wanted.base is None or specs is None):
        how = "give one by --base"
        if specs is None:
            how = "give the folder of adapters by --zoo, and of their base by --base"
        raise SuiteError(f"suite {suite.name!r}: no model for it comes with copamerge; {how}")
    needed = wanted.base is None or specs is None
    if not needed and not any(x.is_made and x.inputs is None for x in specs or ()):
        return None
    return wanted.zoo if isinstance(wanted.zoo, Zoo) else open_zoo(wanted.zoo)
