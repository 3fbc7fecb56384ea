"""Whether a zoo is a useful instrument: criteria that were fixed before any ranking was seen.

    python -m copamerge.bench.criteria ZOO [--items 1000] [--keep RUN]

asks base, adapters and the multi-task adapter the test split, prints each criterion with its
number, and writes them into the zoo's manifest. No merge is made and none is looked at.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from copamerge.bench.engine import run_bench
from copamerge.bench.metrics import METRICS
from copamerge.bench.record import Run
from copamerge.bench.specs import ModelSpec, baselines
from copamerge.bench.zoo import open_zoo, write_manifest
from copamerge.errors import CopamergeError
from copamerge.suites import Suite, Task, suite_named

CAP = 100.0
"""Captions can exceed 100 points; a criterion must hold with and without that."""


@dataclass(frozen=True)
class Criterion:
    name: str
    asked: str
    found: str
    met: bool


def chance(task: Task, items: int = 1000) -> float:
    """Points (official) of whoever gives each sample the right answer to the next one.

    It knows what answers look like and how often each is right, and nothing of the picture.
    """
    samples = task.samples("test", items)
    references = [sample.references for sample in samples]
    others = [said[0] for said in (*references[1:], references[0])]
    return METRICS[task.metric].points(others, references, "official")


def judge(
    suite: Suite,
    points: Mapping[tuple[str, str], float],
    errors: Mapping[str, float],
    chances: Mapping[str, float],
) -> list[Criterion]:
    """The criteria on (model, task) -> official points and model -> standard error of its mean."""
    found = []

    def check(name: str, asked: str, value: str, met: bool) -> None:
        found.append(Criterion(name, asked, value, met))

    for label, cap in (("", float("inf")), (", captions capped at 100", CAP)):
        mean = {
            model: sum(min(points[model, task.name], cap) for task in suite.seen) / len(suite.seen)
            for model in {model for model, _ in points}
        }
        zero = mean["zero-shot"]
        check(f"zero-shot, seen mean{label}", "30 to 50", f"{zero:.1f}", 30 <= zero <= 50)
        for name, value in sorted(mean.items()):
            if name.startswith("individual"):
                check(f"{name}, seen mean{label}", "80 or more", f"{value:.1f}", value >= 80)
                gap = value - mean["mtl"]
                check(
                    f"{name} less mtl, seen mean{label}", "10 or less", f"{gap:.1f}", abs(gap) <= 10
                )
    for model in sorted({model for model, _ in points}):
        if model.startswith("individual"):
            for task in suite.seen:
                base, own = points["zero-shot", task.name], points[model, task.name]
                check(
                    f"{model}, {task.name}",
                    "15 above zero-shot, or 95",
                    f"{own:.1f} ({base:.1f})",
                    own >= min(base + 15, 95),
                )
                luck = chances[task.name]
                check(
                    f"{model}, {task.name}, not by luck",
                    "15 above chance, or 95",
                    f"{own:.1f} (chance {luck:.1f})",
                    own >= min(luck + 15, 95),
                )
    for task in suite.unseen:
        base, least = points["zero-shot", task.name], chances[task.name]
        check(
            f"zero-shot, {task.name}",
            "above chance and below 80",
            f"{base:.1f} (chance {least:.1f})",
            least < base < 80,
        )
    for model, error in sorted(errors.items()):
        check(f"{model}, standard error of the seen mean", "below 0.5", f"{error:.2f}", error < 0.5)
    return found


def measured(run: Run) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """Official points by model and task, and the standard error of each model's seen mean."""
    points = {
        (row["model"], row["task"]): float(row["points"])
        for row in run.results["rows"]
        if row["mode"] == "official" and row["points"] is not None
    }
    errors = {
        mean["model"]: float(mean["stderr"])
        for mean in run.results["means"]
        if mean["mode"] == "official" and mean["group"] == "seen" and mean["stderr"] is not None
    }
    return points, errors


def examine(zoo: Path, out: Path, items: int, script: str | None) -> list[Criterion]:
    """Ask the zoo's own models, judge them, and write the manifest with the result."""
    write_manifest(zoo, script=script)
    opened = open_zoo(zoo)
    specs: list[ModelSpec] = []
    for name in [name for name in opened.sets if name in ("shared", "own")]:
        for spec in baselines(opened, name, suite_named("mini")):
            if spec.kind == "individual":
                specs.append(
                    ModelSpec(f"individual-{name}", name, kind=spec.kind, adapter=spec.adapter)
                )
            elif spec.name not in {each.name for each in specs}:
                specs.append(spec)
    run = run_bench(out, specs, zoo=opened, items=items)
    suite = suite_named("mini")
    points, errors = measured(run)
    found = judge(suite, points, errors, {task.name: chance(task, items) for task in suite.tasks})
    criteria: dict[str, Any] = {"items": items, "split": "test", "mode": "official"}
    write_manifest(
        zoo, script=script, criteria={**criteria, "found": [asdict(each) for each in found]}
    )
    return found


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m copamerge.bench.criteria")
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder for the run; default: a temporary one")
    parser.add_argument("--script", default="runs/mini_zoo.sh")
    given = parser.parse_args(words)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            place = given.keep or Path(temporary) / "run"
            found = examine(given.zoo, place, given.items, given.script)
    except CopamergeError as error:
        sys.stderr.write("".join(f"error: {problem}\n" for problem in error.problems))
        return 2
    for each in found:
        sys.stdout.write(
            f"{'met' if each.met else 'MISSED':7}{each.name:55}{each.found:>22}   {each.asked}\n"
        )
    return 0 if all(each.met for each in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
