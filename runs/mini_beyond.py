"""Data-free merges at equal terms: the whole curve along the scale, chosen and reported apart.

    python runs/mini_beyond.py choose --seeds 1 2 3    # validation; runs/out/beyond/choose.json
    python runs/mini_beyond.py report --seeds 4 5 6    # test, what `choose` found

Protocol: docs/beyond.md. Needs runs/out/seeds/shared<seed>/<task> (runs/mini_seeds.sh). A killed
run goes on. One process per seed at a time; `--jobs 2` for two.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

OUT = Path("runs/out/beyond")
TIMES = (0.5, 0.75, 1.0, 1.5, 2.0)

PUBLISHED: dict[str, dict[str, Any]] = {
    name: {"name": name}
    for name in (
        "task_arithmetic",
        "ties",
        "dare",
        "pcb",
        "della",
        "breadcrumbs",
        "sce",
        "copa",
        "tsv_m",
        "iso_c",
        "iso_cts",
        "wudi",
        "dc_merge",
        "core",
        "knots",
        "ctm",
        "pico",
        "svd",
    )
}
OURS: dict[str, dict[str, Any]] = {
    # CoPA's pruning and complementary scaling on the canonical factors, in core space.
    "core-copa": {"rule": "copa", "space": "core", "gauge": "canonical"},
    "core-copa-0.5": {"rule": "copa", "space": "core", "gauge": "canonical", "density": 0.5},
    # Adapter norms balanced first.
    "equal-sum": {"rule": "task_arithmetic", "balance": "equal"},
    "equal-ties": {"rule": "ties", "balance": "equal"},
    "equal-pcb": {"rule": "pcb", "balance": "equal"},
    "equal-tsv": {"rule": "tsv_m", "balance": "equal"},
    "cap-tsv": {"rule": "tsv_m", "balance": "cap"},
    # From TSV-M towards Iso-C.
    "tsv-flat-0.25": {"rule": "tsv_m", "flatten": 0.25},
    "tsv-flat-0.5": {"rule": "tsv_m", "flatten": 0.5},
    "tsv-flat-1": {"rule": "tsv_m", "flatten": 1.0},
    "equal-tsv-flat-0.25": {"rule": "tsv_m", "balance": "equal", "flatten": 0.25},
    # What piles up is damped first.
    "pico-tsv": {"rule": "tsv_m", "calibrate": "pico_each"},
    "pico-ties": {"rule": "ties", "calibrate": "pico_each"},
    "pico-equal-tsv": {"rule": "tsv_m", "balance": "equal", "calibrate": "pico_each"},
    # Element-wise rules in core space, adapters alike.
    "equal-core-ties-0.3": {"rule": "ties", "space": "core", "balance": "equal", "density": 0.3},
    # Fewer directions of each adapter.
    "tsv-keep-8": {"rule": "tsv_m", "keep": 8},
    "equal-tsv-keep-12": {"rule": "tsv_m", "balance": "equal", "keep": 12},
    # Second round, after the first had been seen on validation: more of what led there.
    "tsv-keep-4": {"rule": "tsv_m", "keep": 4},
    "tsv-keep-6": {"rule": "tsv_m", "keep": 6},
    "tsv-keep-12": {"rule": "tsv_m", "keep": 12},
    "equal-tsv-keep-4": {"rule": "tsv_m", "balance": "equal", "keep": 4},
    "equal-tsv-keep-6": {"rule": "tsv_m", "balance": "equal", "keep": 6},
    "equal-tsv-keep-8": {"rule": "tsv_m", "balance": "equal", "keep": 8},
    "equal-wudi": {"rule": "wudi", "balance": "equal"},
    # Third round: both of the ideas that were best at the base's unseen points.
    "wudi-lead-8": {"rule": "wudi", "directions": 8},
    "wudi-lead-4": {"rule": "wudi", "directions": 4},
}
CANDIDATES = PUBLISHED | OURS


def run_seed(seed: int, names: list[str], times: list[float], split: str, items: int) -> None:
    """All models of one training seed on one split."""
    from copamerge.bench.engine import run_bench
    from copamerge.bench.specs import ModelSpec
    from copamerge.bench.zoo import open_zoo

    folder = Path(f"runs/out/seeds/shared{seed}")
    inputs = {
        config.parent.name: config.parent for config in sorted(folder.glob("*/adapter_config.json"))
    }
    specs = [
        ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot"),
        ModelSpec("individual", "Individual", kind="individual", adapter=inputs),
    ]
    for name in names:
        for each in times:
            method = {**CANDIDATES[name], "scale": "norm_match", "times": each}
            specs.append(ModelSpec(f"{name}-x{each:g}", name, method=method, inputs=inputs, x=each))
    run_bench(
        OUT / f"{split}-seed{seed}",
        specs,
        base=open_zoo().base,
        items=items,
        split=split,  # type: ignore[arg-type]
        experiment="beyond",
        answers=OUT / "answers",
    )


def all_seeds(asked: argparse.Namespace, names: list[str], split: str, items: int) -> None:
    """A process for each seed, `--jobs` at a time."""
    waiting = list(asked.seeds)
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < asked.jobs:
            words = [sys.executable, __file__, "seed", "--seeds", str(waiting.pop(0))]
            words += ["--split", split, "--items", str(items), "--names", *names]
            running.append(subprocess.Popen(words))
        done = running.pop(0)
        if done.wait():
            raise SystemExit(f"a seed ended with {done.returncode}")


def points(split: str, seeds: list[int]) -> dict[str, dict[str, list[float]]]:
    """Model -> group -> official mean of each seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        results = json.loads((OUT / f"{split}-seed{seed}" / "results.json").read_text())
        for mean in results["means"]:
            if mean["mode"] == "official" and mean["points"] is not None:
                by = found.setdefault(mean["model"], {}).setdefault(mean["group"], [])
                by.append(mean["points"])
    return found


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def curves(found: dict[str, dict[str, list[float]]], names: list[str]) -> dict[str, Any]:
    """Name -> its curve, and the safe and the bold point of it, by means over the seeds."""
    base = average(found["zero-shot"]["unseen"])
    rows = {}
    for name in names:
        curve = [
            {
                "times": each,
                "seen": average(found[f"{name}-x{each:g}"]["seen"]),
                "unseen": average(found[f"{name}-x{each:g}"]["unseen"]),
            }
            for each in TIMES
        ]
        safe = [point for point in curve if point["unseen"] >= base]
        rows[name] = {
            "curve": curve,
            "safe": max(safe, key=lambda p: p["seen"]) if safe else None,
            "bold": max(curve, key=lambda p: p["seen"]),
        }
    return rows


def leader(rows: dict[str, Any], names: list[str], kind: str) -> str | None:
    """None where no candidate has such a point."""
    there = [name for name in names if rows[name][kind]]
    return max(there, key=lambda name: rows[name][kind]["seen"]) if there else None


def choose(asked: argparse.Namespace) -> None:
    names = list(CANDIDATES)
    if not asked.done:
        all_seeds(asked, names, "validation", asked.items or 45)
    rows = curves(points("validation", asked.seeds), names)
    result = {
        "seeds": asked.seeds,
        "curves": rows,
        "leaders": {
            kind: {
                "published": leader(rows, [*PUBLISHED], kind),
                "ours": leader(rows, [*OURS], kind),
            }
            for kind in ("safe", "bold")
        },
    }
    (OUT / "choose.json").write_text(json.dumps(result, indent=2) + "\n")
    show(rows, result["leaders"])


def show(rows: dict[str, Any], leaders: dict[str, Any]) -> None:
    print(
        "| candidate | safe: seen / unseen (times) | bold: seen / unseen (times) |\n|---|---|---|"
    )
    for name in sorted(rows, key=lambda n: -(rows[n]["safe"] or {"seen": 0})["seen"]):
        cells = [
            "–" if p is None else f"{p['seen']:.1f} / {p['unseen']:.1f} (× {p['times']:g})"
            for p in (rows[name]["safe"], rows[name]["bold"])
        ]
        shown = f"*{name}*" if name in OURS else name
        print(f"| {shown} | {cells[0]} | {cells[1]} |")
    print(json.dumps(leaders))


def report(asked: argparse.Namespace) -> None:
    """The leaders, the plain references, and the claims of the protocol."""
    from copamerge.bench.statistics import Paired, mean_difference
    from copamerge.reports import open_run
    from copamerge.reports.verdicts import holm

    chosen = json.loads((OUT / "choose.json").read_text())
    leaders = chosen["leaders"]
    names = list(
        dict.fromkeys(
            [
                *(
                    leaders[kind][side]
                    for kind in ("safe", "bold")
                    for side in ("published", "ours")
                    if leaders[kind][side]
                ),
                "task_arithmetic",
                "ties",
                "tsv_m",
                "iso_c",
                "iso_cts",
                "copa",
                "core-copa",
            ]
        )
    )
    all_seeds(asked, names, "test", asked.items or 150)
    found = points("test", asked.seeds)
    print("zero-shot", {group: round(average(v), 1) for group, v in found["zero-shot"].items()})
    print("individual", {group: round(average(v), 1) for group, v in found["individual"].items()})
    rows = curves(found, names)
    for name in names:
        row = " ".join(f"{p['seen']:.1f}/{p['unseen']:.1f}" for p in rows[name]["curve"])
        print(f"{name:22} {row}")
    runs = [open_run(OUT / f"test-seed{seed}") for seed in asked.seeds]
    claims = []
    for kind in ("safe", "bold"):
        ours, theirs = leaders[kind]["ours"], leaders[kind]["published"]
        if not (ours and theirs):
            continue
        a, b = (f"{n}-x{chosen['curves'][n][kind]['times']:g}" for n in (ours, theirs))
        for group in ("seen", "unseen"):
            pairs = [
                Paired(
                    run.statistics(a, task, "official"),
                    run.statistics(b, task, "official"),
                    run.combine(task),
                )
                for run in runs
                for task in run.tasks_of(a, group)
            ]
            claims.append((kind, group, a, b, mean_difference(pairs)))
    kinds = [claim[0] for claim in claims if claim[1] == "seen"]
    corrected = holm([claim[4].p_value for claim in claims if claim[1] == "seen"])
    for kind, group, a, b, c in claims:
        note = f", Holm {corrected[kinds.index(kind)]:.4f}" if group == "seen" else ""
        print(
            f"{kind} {group}: {a} - {b} = {c.difference:+.2f} "
            f"[{c.low:+.2f}, {c.high:+.2f}], p {c.p_value:.4f}{note}: {c.verdict}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("choose", "report", "seed", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--items", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--done", action="store_true", help="all was asked: choose from results")
    parser.add_argument("--split", default="validation", help=argparse.SUPPRESS)
    parser.add_argument("--names", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.what == "seed":
        run_seed(asked.seeds[0], asked.names, list(TIMES), asked.split, asked.items)
    elif asked.what == "table":
        chosen = json.loads((OUT / "choose.json").read_text())
        show(chosen["curves"], chosen["leaders"])
    else:
        (choose if asked.what == "choose" else report)(asked)


if __name__ == "__main__":
    main()
