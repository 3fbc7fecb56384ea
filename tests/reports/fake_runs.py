"""Run folders as `copamerge bench` writes them, with made-up scores: no model is run."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from copamerge.bench.entries import Entry
from copamerge.bench.experiments import EXPERIMENTS
from copamerge.bench.metrics import METRICS
from copamerge.bench.statistics import mean_standard_error, standard_error
from copamerge.suites import suite_named

MINI = suite_named("mini")
SKILL = {
    "zero-shot": (0.42, 0.30),
    "individual": (0.86, 0.30),
    "mtl": (0.80, 0.36),
    "task_arithmetic": (0.60, 0.33),
    "dare": (0.60, 0.32),
    "ties": (0.58, 0.33),
    "pcb": (0.59, 0.34),
    "copa": (0.66, 0.38),
    "robustmerge": (0.40, 0.28),
    "mean": (0.52, 0.33),
    "factor_linear": (0.45, 0.29),
}
"""How often a model of this kind or method is right, on seen and on unseen tasks."""


@dataclass(frozen=True)
class Sum:
    """A metric whose points go up to 2000, as MME's do."""

    def combine(self, mean: Any) -> Any:
        return np.asarray(2000.0 * mean[..., 0])


def accuracy_items(rng: np.random.Generator, share: float, items: int, hard: Any) -> Any:
    """Right or wrong for each item; `hard` is shared by all models, as real items are."""
    return (hard + 0.35 * rng.random(items) < share * 1.35).astype(np.float64)[:, None]


def caption_items(rng: np.random.Generator, share: float, items: int, metric: Any) -> Any:
    """Thirteen numbers an item, from real captions that are right as often as `share`."""
    right, wrong = "a photo of a red star lying on a wooden table", "a blue ring on a table"
    references = [(right, "a red star on a wooden table"), ("a green ring", "one ring")] * 2
    kinds = metric.statistics([right, "a ring", wrong, wrong], references, "official")
    kinds[:, -1] = items
    return kinds[np.where(rng.random(items) < share, 0, 2)]


def make_run(
    path: Path,
    entries: Sequence[Entry],
    *,
    experiment: str | None = None,
    items: int = 60,
    seed: int = 0,
    skill: Callable[[Entry, bool], float] | None = None,
    record: Mapping[str, Any] | None = None,
    models: Mapping[str, Mapping[str, Any]] | None = None,
    tasks: Sequence[Any] = MINI.tasks,
    alter: Callable[[dict[str, Any]], object] = lambda row: None,
    bugs: Mapping[str, int] = MappingProxyType({}),
) -> Path:
    """A finished run of these models; `record` and `models` replace what run.json says.

    `alter` changes a row of results.json. `bugs` says for how many right answers of a task the
    official score gives credit that the corrected one does not.
    """
    path.mkdir(parents=True)
    rows, means, described = [], [], []
    hard = {
        task.name: np.random.default_rng([seed, i]).random(items) for i, task in enumerate(tasks)
    }
    for number, entry in enumerate(entries):
        mine = []
        for place, task in enumerate(tasks):
            if entry.tasks is not None and task.name not in entry.tasks:
                continue
            asked = task.seen or entry.kind != "individual"
            share = skill(entry, task.seen) if skill else default_skill(entry, task.seen)
            rng = np.random.default_rng([seed, number, place])
            metric = METRICS.get(task.metric, Sum())
            if task.metric == "caption6":
                numbers = caption_items(rng, share, items, metric)
            else:
                numbers = accuracy_items(rng, share, items, hard[task.name])
            if asked:
                folder = path / "scores" / entry.name
                folder.mkdir(parents=True, exist_ok=True)
                strict = numbers.copy()
                strict[np.flatnonzero(numbers[:, 0])[: bugs.get(task.name, 0)]] = 0.0
                np.savez(folder / f"{task.name}.npz", official=numbers, corrected=strict)
            for mode in ("official", "corrected"):
                kept = numbers if mode == "official" or not asked else strict
                points = float(metric.combine(kept.mean(axis=0)))
                error = standard_error(kept, metric.combine, resamples=100) if items > 1 else None
                mine.append(
                    {
                        "model": entry.name,
                        "task": task.name,
                        "seen": task.seen,
                        "metric": task.metric,
                        "mode": mode,
                        "items": items,
                        "points": points if asked else None,
                        "stderr": error if asked else None,
                        "unreadable": int(entry.name == "ties") if asked else None,
                    }
                )
                alter(mine[-1])
        rows += mine
        means += group_means(entry.name, mine)
        described.append(described_model(entry, number) | dict((models or {}).get(entry.name, {})))
    content = {
        "suite": "mini",
        "zoo": None,
        "base_digest": "ab12" * 16,
        "adapter_set": "shared",
        "items": items,
        "seed": seed,
        "split": "test",
        "created": "2026-11-22T10:00:00+00:00",
        "versions": {"copamerge": "0.2.0", "torch": "2.13.0"},
        "experiment": experiment,
        "finished": True,
        "notes": [],
        "models": described,
        **(record or {}),
    }
    (path / "run.json").write_text(json.dumps(content))
    if not content.get("averaged", True):
        means = []
    (path / "results.json").write_text(json.dumps({"rows": rows, "means": means}))
    return path


def default_skill(entry: Entry, seen: bool) -> float:
    return SKILL.get(entry.method or entry.kind, (0.5, 0.3))[not seen]


def described_model(entry: Entry, number: int) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "title": entry.title,
        "method": entry.method,
        "options": dict(entry.options) if entry.method else None,
        "scale_rule": entry.scale_rule if entry.method else None,
        "multiple": entry.multiple if entry.method else None,
        "adapter": f"merged/{entry.name}",
        "digest": "cd34" * 16,
        "merge_seconds": 0.1 * number if entry.method else None,
        "answer_seconds": 8.0 + number,
        "warnings": [],
        "failed": None,
        "search": None,
    }


def group_means(model: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for group in ("seen", "unseen"):
        for mode in ("official", "corrected"):
            mine = [r for r in rows if r["seen"] == (group == "seen") and r["mode"] == mode]
            if not mine:
                continue
            sure = all(r["stderr"] is not None for r in mine)
            whole = all(r["points"] is not None for r in mine)
            found.append(
                {
                    "model": model,
                    "group": group,
                    "mode": mode,
                    "points": sum(r["points"] for r in mine) / len(mine) if whole else None,
                    "stderr": mean_standard_error([r["stderr"] for r in mine]) if sure else None,
                }
            )
    return found


def experiment_run(path: Path, name: str, **more: Any) -> Path:
    """A finished run of an experiment."""
    return make_run(path, EXPERIMENTS[name].models(MINI), experiment=name, **more)


def curved(entry: Entry, seen: bool) -> float:
    """Points that rise and fall along x, so that a figure shows a shape."""
    base = default_skill(entry, seen)
    if entry.name.startswith(("pruned", "magnitude", "random", "sign")):
        x = entry.x if isinstance(entry.x, float) else {"magnitude": 0.7}.get(str(entry.x), 0.1)
        return (
            base + (0.12 * x if x < 0.85 else -0.3 * x) - 0.04 * (entry.scale_rule != "published")
        )
    if "-x" in entry.name:
        reach = {"copa": 2.0, "robustmerge": 0.25}.get(entry.method or "", 0.6)
        away = abs(np.log2(entry.multiple / reach))
        small = 0.42 if seen else 0.30
        if entry.multiple < reach:
            return small + (base - small) * 2.0 ** (-away)
        return max(0.02, base - (0.08 if seen else 0.13) * away**1.5)
    if isinstance(entry.x, float):
        return base + (0.02 if seen else 0.01) * (8 - entry.x if entry.x <= 8 else 2) * (-1) ** seen
    if entry.spectrum is not None:
        name = entry.spectrum.name
        return base - {"half-smaller": 0.3, "half-larger": 0.01}.get(name, 0.05 * name.count("4"))
    return base
