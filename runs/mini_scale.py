"""One multiple for all methods: norm_match against gain_match, chosen and reported apart.

    python runs/mini_scale.py

Protocol: the addendum of docs/beyond.md. Needs what runs/mini_beyond.py needs; a killed run goes
on, and answers are shared with it.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from mini_beyond import OUT, average, points

METHODS = (
    "task_arithmetic",
    "ties",
    "pcb",
    "sce",
    "copa",
    "tsv_m",
    "iso_c",
    "wudi",
    "core",
    "ctm",
)
TIMES = {"norm_match": (0.5, 0.75, 1.0, 1.5, 2.0), "gain_match": (0.3, 0.45, 0.6, 0.8, 1.0)}
CHOOSING, REPORTING = (1, 2, 3), (4, 5, 6)


def model(method: str, rule: str, times: float) -> str:
    return f"{method}-{rule}-x{times:g}"


def run_seed(seed: int, split: str, items: int, pairs: list[tuple[str, float]]) -> None:
    from copamerge.bench.engine import run_bench
    from copamerge.bench.specs import ModelSpec
    from copamerge.bench.zoo import open_zoo

    folder = Path(f"runs/out/seeds/shared{seed}")
    inputs = {found.parent.name: found.parent for found in sorted(folder.glob("*/train.json"))}
    specs = [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")]
    for name in METHODS:
        for rule, times in pairs:
            method = {"name": name, "scale": rule, "times": times}
            specs.append(ModelSpec(model(name, rule, times), name, method=method, inputs=inputs))
    run_bench(
        OUT / f"scale-{split}-seed{seed}",
        specs,
        base=open_zoo().base,
        items=items,
        split=split,  # type: ignore[arg-type]
        experiment="scale",
        answers=OUT / "answers",
    )


def options(seed: int, split: str, items: int) -> list[str]:
    return [f"--seed={seed}", f"--split={split}", f"--items={items}"]


def all_seeds(
    seeds: tuple[int, ...], split: str, items: int, pairs: list[tuple[str, float]]
) -> None:
    """A process for each seed, two at a time."""
    said = [f"{rule}:{times}" for rule, times in pairs]
    for some in (seeds[:2], seeds[2:]):
        running = [
            subprocess.Popen(
                [sys.executable, __file__, *options(seed, split, items), "--pairs", *said]
            )
            for seed in some
        ]
        if any(process.wait() for process in running):
            raise SystemExit("a seed failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, kind in (("--seed", int), ("--split", str), ("--items", int)):
        parser.add_argument(option, type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--pairs", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.seed is not None:
        said = [pair.split(":") for pair in asked.pairs]
        pairs = [(rule, float(times)) for rule, times in said]
        run_seed(asked.seed, asked.split, asked.items, pairs)
        return
    every = [(rule, times) for rule in TIMES for times in TIMES[rule]]
    all_seeds(CHOOSING, "validation", 45, every)
    found = points("scale-validation", list(CHOOSING))
    chosen = {}
    for rule, grid in TIMES.items():
        print(f"\n{rule}: seen / unseen on the choosing side\n")
        print(f"| method | {' | '.join(f'× {times:g}' for times in grid)} |")
        print(f"|---|{'---|' * len(grid)}")
        for name in METHODS:
            cells = [found[model(name, rule, times)] for times in grid]
            texts = [f"{average(x['seen']):.1f} / {average(x['unseen']):.1f}" for x in cells]
            print(f"| {name} | {' | '.join(texts)} |")
        means = {
            times: average([average(found[model(name, rule, times)]["seen"]) for name in METHODS])
            for times in grid
        }
        print("mean seen", {times: round(mean, 1) for times, mean in means.items()})
        chosen[rule] = max(grid, key=lambda times: means[times])
    print("chosen", chosen)
    report(chosen)


def report(chosen: dict[str, float]) -> None:
    from copamerge.bench.statistics import Paired, mean_difference
    from copamerge.reports import open_run

    all_seeds(REPORTING, "test", 150, list(chosen.items()))
    found = points("scale-test", list(REPORTING))
    runs = [open_run(OUT / f"scale-test-seed{seed}") for seed in REPORTING]
    norm, gain = (f"{rule}-x{times:g}" for rule, times in chosen.items())
    print(f"\n| method | {norm} | {gain} |\n|---|---|---|")
    for name in METHODS:
        cells = [found[f"{name}-{which}"] for which in (norm, gain)]
        texts = [f"{average(x['seen']):.1f} / {average(x['unseen']):.1f}" for x in cells]
        print(f"| {name} | {' | '.join(texts)} |")
    for group in ("seen", "unseen"):
        pairs = [
            Paired(
                run.statistics(f"{name}-{gain}", task, "official"),
                run.statistics(f"{name}-{norm}", task, "official"),
                run.combine(task),
            )
            for run in runs
            for name in METHODS
            for task in run.tasks_of(f"{name}-{gain}", group)
        ]
        c = mean_difference(pairs)
        print(
            f"{group}: {gain} - {norm} = {c.difference:+.2f} [{c.low:+.2f}, {c.high:+.2f}], "
            f"p {c.p_value:.4f}: {c.verdict}"
        )


if __name__ == "__main__":
    main()
