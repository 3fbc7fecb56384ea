"""The paper's tables and figures as lists of models to evaluate: data, without any model."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from copamerge.bench.specs import Kind, ModelSpec, ScaleRule
from copamerge.bench.transforms import Half, Ramp, Spectral, write_transformed
from copamerge.bench.zoo import Zoo
from copamerge.errors import SuiteError, did_you_mean
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


TITLES: Mapping[str, str] = MappingProxyType(
    {
        "task_arithmetic": "Task Arithmetic",
        "dare": "DARE",
        "ties": "TIES-Merging",
        "pcb": "PCB-Merging",
        "copa": "CoPA-Merging",
        "robustmerge": "RobustMerge (released code)",
        "mean": "Mean of the deltas",
        "factor_linear": "PEFT linear",
    }
)
"""Merge methods in the order of the paper's Table 2, ours of the repository after them."""

PAPER_METHODS = ("task_arithmetic", "dare", "ties", "pcb", "copa")
COMPARED = ("task_arithmetic", "ties", "copa")
"""The methods of the paper's figures 4 and 5."""

RANKS = (4, 8, 16, 32, 64)
DEFAULT_RANK = 16
COUNTS = (2, 4, 6, 8)
DENSITIES = (1.0, 0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
FACTORS = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
"""What a method's published scale is multiplied by, for the curve of seen against unseen."""
RAMPS: Mapping[str, Ramp] = MappingProxyType(
    {
        "large ×2 … small ×0.5": Ramp(2.0, 0.5),
        "as trained": Ramp(1.0, 1.0),
        "large ×1 … small ×2": Ramp(1.0, 2.0),
        "large ×1 … small ×4": Ramp(1.0, 4.0),
        "large ×0 … small ×1": Ramp(0.0, 1.0),
    }
)
"""Multiples for the singular values of each adapter, largest to smallest, at equal norm."""
SEEDS = (0, 1, 2, 3, 4)

_TWO_SIZES: tuple[tuple[ScaleRule, str, str], ...] = (
    ("published", "", ""),
    ("norm_match", "-one-size", ", one size"),
)
"""Pruning makes a delta smaller: with the method's own scale, and with that undone."""


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


def table2(suite: Suite) -> tuple[Entry, ...]:
    """Every method at its published defaults."""
    return (*REFERENCES, *(merge_entry(method) for method in TITLES))


def _with_rule(rule: ScaleRule) -> Callable[[Suite], tuple[Entry, ...]]:
    def models(suite: Suite) -> tuple[Entry, ...]:
        # At one size for all, the mean is task arithmetic.
        methods = [method for method in TITLES if method != "mean"]
        return (*REFERENCES, *(merge_entry(method, scale_rule=rule) for method in methods))

    return models


def table6(suite: Suite) -> tuple[Entry, ...]:
    """Pruning, S, normalisation: first all at one size, then as large as the formulas say."""
    bare = {"density": 1.0, "coefficients": "none", "normalize": False}
    parts: dict[str, tuple[str, dict[str, Any]]] = {
        "sum": ("nothing (the sum)", bare),
        "prune": ("prune", {"coefficients": "none", "normalize": False}),
        "prune-s": ("prune, S", {"normalize": False}),
        "copa": ("prune, S, normalise (copa)", {}),
    }
    return (
        *(
            _copa(f"{name}-one-size", f"{title}, one size", options, scale_rule="norm_match")
            for name, (title, options) in parts.items()
        ),
        *(
            _copa(name, f"{title}, scale 2", options)
            for name, (title, options) in parts.items()
            if name != "prune"
        ),
    )


def table7(suite: Suite) -> tuple[Entry, ...]:
    """Where the coefficients are from, all else at copa's defaults."""
    rows = {
        "none": "Baseline (no coefficients)",
        "A": "individual, A",
        "B": "individual, B",
        "AB": "individual, A + B",
        "inter": "inter-parameter (copa)",
    }
    return tuple(
        _copa(f"coefficients-{value}", title, {} if value == "inter" else {"coefficients": value})
        for value, title in rows.items()
    )


def figure2a(suite: Suite) -> tuple[Entry, ...]:
    """All, the larger half or the smaller half of each adapter's singular values.

    The paper does this to single fine-tuned models (`individual`); the merges show whether what
    is left out matters to them.
    """
    specs = []
    for keep, label in (("all", "all"), ("larger", "larger half"), ("smaller", "smaller half")):
        change: dict[str, Any] = {"spectrum": Half(keep), "x": label}  # type: ignore[arg-type]
        specs += [
            Entry(f"individual-{keep}", "individual", f"Individual, {label}", **change),
            *(
                merge_entry(
                    method,
                    name=f"{method}-{keep}",
                    title=f"{TITLES[method]}, {label}",
                    scale_rule="norm_match",
                    **change,
                )
                for method in ("task_arithmetic", "copa")
            ),
        ]
    return tuple(specs)


def figure2b(suite: Suite) -> tuple[Entry, ...]:
    """The singular values of each adapter scaled unevenly, then summed at one norm."""
    return tuple(
        merge_entry(
            "task_arithmetic",
            name=f"ramp-{i}",
            title=f"Task Arithmetic, {label}",
            scale_rule="norm_match",
            spectrum=ramp,
            x=label,
        )
        for i, (label, ramp) in enumerate(RAMPS.items())
    )


def figure4(suite: Suite) -> tuple[Entry, ...]:
    """The first k seen tasks merged; asked those k and the unseen ones."""
    unseen = tuple(task.name for task in suite.unseen)
    specs = []
    for k in COUNTS:
        if k > len(suite.seen):
            continue
        merged = tuple(task.name for task in suite.seen[:k])
        specs += [
            merge_entry(
                method,
                name=f"{method}-{k}",
                title=f"{TITLES[method]}, {k} tasks",
                adapters=merged,
                tasks=(*merged, *unseen),
                x=float(k),
                scale_rule="norm_match",
            )
            for method in COMPARED
        ]
    return tuple(specs)


def figure5(suite: Suite) -> tuple[Entry, ...]:
    """Adapters of other ranks, merged by three methods."""
    return tuple(
        merge_entry(
            method,
            name=f"{method}-r{rank}",
            title=f"{TITLES[method]}, rank {rank}",
            adapter_set=None if rank == DEFAULT_RANK else f"rank{rank}",
            x=float(rank),
            scale_rule="norm_match",
        )
        for rank in RANKS
        for method in COMPARED
    )


def figure6a(suite: Suite) -> tuple[Entry, ...]:
    """The share of entries that copa prunes."""
    return tuple(
        _copa(
            f"pruned-{round(100 * (1 - density)):02d}{tail}",
            f"pruning rate {1 - density:.2g}{note}",
            {"density": density},
            scale_rule=rule,
            x=round(1 - density, 2),
        )
        for rule, tail, note in _TWO_SIZES
        for density in DENSITIES
    )


def figure6b(suite: Suite) -> tuple[Entry, ...]:
    """Which entries copa prunes: by magnitude, at random, by sign."""
    techniques = {
        "magnitude": "magnitude (copa)",
        "random": "random, as DARE",
        "sign": "aggregated sign, as TIES",
    }
    return tuple(
        _copa(
            f"{prune}{tail}",
            f"{title}{note}",
            {} if prune == "magnitude" else {"prune": prune},
            scale_rule=rule,
            x=prune,
        )
        for rule, tail, note in _TWO_SIZES
        for prune, title in techniques.items()
    )


def figure6c(suite: Suite) -> tuple[Entry, ...]:
    """The paper's methods and copa without normalisation; random ones once for each seed."""
    fixed = [method for method in PAPER_METHODS if method != "dare"]
    return (
        *(merge_entry(method, scale_rule="norm_match", x=TITLES[method]) for method in fixed),
        _copa(
            "copa-unnormalised",
            "CoPA-Merging, not normalised",
            {"normalize": False},
            scale_rule="norm_match",
            x="CoPA-Merging, not normalised",
        ),
        *(
            merge_entry(
                "dare",
                name=f"dare-seed-{seed}",
                title=f"DARE, seed {seed}",
                seed=seed,
                scale_rule="norm_match",
                x=TITLES["dare"],
            )
            for seed in SEEDS
        ),
    )


def tradeoff(suite: Suite) -> tuple[Entry, ...]:
    """Every method at multiples of its published scale."""
    # The mean is task arithmetic at another scale: the same curve.
    methods = [method for method in TITLES if method != "mean"]
    return (
        REFERENCES[0],
        *(
            merge_entry(
                method,
                name=f"{method}-x{factor:g}",
                title=f"{TITLES[method]}, scale × {factor:g}",
                multiple=factor,
                x=factor,
            )
            for method in methods
            for factor in FACTORS
        ),
    )


def _copa(name: str, title: str, options: Mapping[str, Any], **more: Any) -> Entry:
    return merge_entry("copa", name=name, title=title, options=dict(options), **more)


_RANKS_MADE_BY = "copamerge train mini-adapters --rank R -o ZOO/rankR, for R = " + ", ".join(
    str(rank) for rank in RANKS if rank != DEFAULT_RANK
)

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        experiment.name: experiment
        for experiment in (
            Experiment(
                "table2",
                "Table 2",
                "Every method at its published defaults; nothing is tuned.",
                table2,
            ),
            Experiment(
                "table2-norm-match",
                "Table 2, one scale rule",
                "Every merged layer is brought to the mean norm that the adapters' deltas have "
                "there: the same rule for all methods, without data.",
                _with_rule("norm_match"),
            ),
            Experiment(
                "table2-search",
                "Table 2, one search",
                "Every method's scale is chosen among the same factors by the seen mean on the "
                "validation split; the test split is not looked at.",
                _with_rule("search"),
            ),
            Experiment(
                "table6",
                "Table 6",
                "Parts of copa switched off. Without normalisation the formula is n times larger, "
                "so all rows come at one size (every layer at the adapters' mean norm), and then "
                "as large as the formula says. S without pruning is 1, so there is no such row; "
                "normalising without S is dividing by n, so there is none of that either.",
                table6,
            ),
            Experiment(
                "table7",
                "Table 7",
                "Where S is taken from. The paper has no formula for `individual`; our reading is "
                "in `copamerge methods copa`.",
                table7,
            ),
            Experiment(
                "figure2a",
                "Figure 2a",
                "All, the larger half or the smaller half of the singular values of every "
                "adapter's delta: each adapter on its own task as in the paper, and merges of "
                "them, every layer at the changed adapters' mean norm. A stays as it is.",
                figure2a,
            ),
            Experiment(
                "figure2b",
                "Figure 2b",
                "Multiples along the singular values of every adapter, at equal norm, then their "
                "sum at the adapters' mean norm. The report also measures the multiples that copa "
                "itself applies.",
                figure2b,
            ),
            Experiment(
                "figure4",
                "Figure 4",
                "The first 2, 4, 6, 8 seen tasks merged; the seen mean is over the merged tasks. "
                "Every layer at the adapters' mean norm, for all methods.",
                figure4,
            ),
            Experiment(
                "figure5",
                "Figure 5",
                "Adapters of ranks 4 to 64, alpha twice the rank. Every layer at the adapters' "
                "mean norm, for all methods.",
                figure5,
                needs=f"adapters of other ranks: {_RANKS_MADE_BY}",
            ),
            Experiment(
                "figure6a",
                "Figure 6a",
                "The pruning rate, 1 - density, from 0 to 0.95, all else at copa's defaults; and "
                "the same with every layer at the adapters' mean norm, since pruning shrinks it.",
                figure6a,
            ),
            Experiment(
                "figure6b",
                "Figure 6b",
                "Which entries are pruned. `random` keeps the same share; `sign` keeps what agrees "
                "with the summed sign, whatever the share: our reading of the paper.",
                figure6b,
            ),
            Experiment(
                "figure6c",
                "Figure 6c",
                "Mean and standard deviation. The paper does not say over what; ours is over the "
                "runs given to the report, each with other items (bench --seed) or another zoo "
                "(train --seed), and for DARE over merge seeds as well. Every layer at the "
                "adapters' mean norm.",
                figure6c,
            ),
            Experiment(
                "tradeoff",
                "evaluation.md 8b; not in the paper",
                "Every method along its scale: multiples of the published one.",
                tradeoff,
            ),
        )
    }
)


def experiment_named(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        SuiteError: there is none.
    """
    if name not in EXPERIMENTS:
        raise SuiteError(
            f"experiment {name!r}: there is none of that name{did_you_mean(name, EXPERIMENTS)}"
        )
    return EXPERIMENTS[name]


@contextmanager
def model_specs(
    name: str, suite: Suite, zoo: Zoo, adapter_set: str, *, beside: Path
) -> Iterator[tuple[ModelSpec, ...]]:
    """The experiment's models as the engine takes them, made of this zoo's adapters.

    Adapters whose singular values an experiment changes are written to a hidden folder next to
    `beside` and are gone after the block: they are made in seconds, and always the same.

    Raises:
        SuiteError: no such experiment, or adapters that the zoo does not have, with the command
            that makes them.
    """
    experiment = experiment_named(name)
    entries = experiment.models(suite)
    needed = {entry.adapter_set for entry in entries if entry.adapter_set}
    if missing := sorted(needed - set(zoo.sets)):
        how = f"; {experiment.needs}" if experiment.needs else ""
        raise SuiteError(f"{zoo.path}: {name} needs {', '.join(missing)}, not there yet{how}")
    beside.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{beside.name}.inputs-", dir=beside.parent))
    try:
        specs = (_spec(entry, suite, zoo, adapter_set, work) for entry in entries)
        yield tuple(spec for spec in specs if spec is not None)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _spec(entry: Entry, suite: Suite, zoo: Zoo, adapter_set: str, work: Path) -> ModelSpec | None:
    """None for the multi-task model of a zoo that has none."""
    inputs: Mapping[str, Path] = {}
    if entry.kind in ("individual", "merge"):
        found = zoo.adapters(entry.adapter_set or adapter_set)
        inputs = {task.name: found[task.name] for task in suite.tasks if task.name in found}
    if entry.spectrum is not None:
        inputs = _transformed(inputs, entry.spectrum, work)
    if entry.kind == "mtl" and zoo.mtl is None:
        return None
    common: dict[str, Any] = {"kind": entry.kind, "tasks": entry.tasks, "x": entry.x}
    if entry.kind == "individual":
        common["adapter"] = inputs
    elif entry.kind == "mtl":
        common["adapter"] = zoo.mtl
    elif entry.kind == "merge":
        common |= {
            "method": {"name": entry.method, **entry.options},
            "recipe": {"seed": entry.seed},
            "inputs": inputs,
            "merges": entry.adapters,
            "scale_rule": entry.scale_rule,
            "multiple": entry.multiple,
        }
    return ModelSpec(entry.name, entry.title, **common)


def _transformed(inputs: Mapping[str, Path], spectral: Spectral, work: Path) -> dict[str, Path]:
    """The adapters with other singular values, each written once."""
    found = {}
    for task, path in inputs.items():
        out = work / spectral.name / task
        if not out.is_dir():
            write_transformed(str(path), spectral, out)
        found[task] = out
    return found
