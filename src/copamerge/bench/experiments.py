"""The paper's tables and figures as lists of models to evaluate: data, without any model."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from copamerge.bench.entries import REFERENCES, TITLES, Entry, Experiment, merge_entry, table_rows
from copamerge.bench.specs import ScaleRule
from copamerge.bench.transforms import Half, Ramp
from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites import Suite

PAPER_METHODS = ("task_arithmetic", "dare", "ties", "pcb", "copa")
COMPARED = ("task_arithmetic", "ties", "copa")
"""The methods of the paper's figures 4 and 5."""

RANKS = (4, 8, 16, 32, 64)
DEFAULT_RANK = 16
COUNTS = (2, 4, 6, 8)
DENSITIES = (1.0, 0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
FACTORS = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
"""What a method's published scale is multiplied by, for the curve of seen against unseen."""
CURVES = (
    "task_arithmetic",
    "dare",
    "ties",
    "pcb",
    "copa",
    "robustmerge",
    "tsv_m",
    "iso_c",
    "iso_cts",
    "wudi",
    "factor_linear",
)
"""Methods with a curve of seen against unseen: as many as a figure can tell apart."""
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


def table2(suite: Suite) -> tuple[Entry, ...]:
    """Every method at its published defaults; no individual models where no task is seen."""
    references = (entry for entry in REFERENCES if suite.seen or entry.kind != "individual")
    return (*references, *(merge_entry(method) for method in table_rows()))


def table3(suite: Suite) -> tuple[Entry, ...]:
    """Table 2's models, asked what none of the adapters was trained on."""
    return tuple(entry for entry in table2(suite) if entry.kind != "individual")


def _with_rule(rule: ScaleRule) -> Callable[[Suite], tuple[Entry, ...]]:
    def models(suite: Suite) -> tuple[Entry, ...]:
        # At one size for all, the mean is task arithmetic.
        methods = [method for method in table_rows() if method != "mean"]
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
            for method in CURVES
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
                "table3",
                "Table 3",
                "POPE, MME and MMBench, asked of the models of Table 2 that are one model: for the "
                "suite mm-general and a zoo of mm-mergebench.",
                table3,
                suite="mm-general",
            ),
            Experiment(
                "table4",
                "Table 4",
                "Every method at its published defaults on eight vision tasks: for the suite clip8 "
                "and adapters of CLIP-ViT-B/32.",
                table2,
                suite="clip8",
            ),
            Experiment(
                "table5",
                "Table 5",
                "As Table 4, for adapters of CLIP-ViT-L/14.",
                table2,
                suite="clip8",
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
                needs=f"adapters of other ranks: runs/mini_more.sh, or {_RANKS_MADE_BY}, and then "
                "python -m copamerge.bench.zoo ZOO",
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
