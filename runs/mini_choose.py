"""Evidence for docs/choose.md: output rank, number of adapters, shared or unrelated first A.

    python runs/mini_choose.py [--items 300]

On the zoo that ships, test split. Every method at the data-free multiple of `norm_match` that
runs/mini_beyond.py chose for it on other adapters (the *safe* one, or else the *bold* one).
"""

import argparse
import json
from pathlib import Path

METHODS = (
    "task_arithmetic",
    "ties",
    "pcb",
    "copa",
    "tsv_m",
    "equal-tsv",
    "iso_c",
    "iso_cts",
    "core",
    "knots",
    "ctm",
    "svd",
)
OUT = Path("runs/out/choose")


def main() -> None:
    from mini_beyond import CANDIDATES

    from copamerge.bench.engine import run_bench
    from copamerge.bench.specs import ModelSpec
    from copamerge.bench.zoo import open_zoo
    from copamerge.suites import suite_named

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=300)
    asked = parser.parse_args()
    chosen = json.loads(Path("runs/out/beyond/choose.json").read_text())["curves"]
    seen = tuple(task.name for task in suite_named("mini").seen)
    unseen = tuple(task.name for task in suite_named("mini").unseen)
    for adapters in ("shared", "own"):
        specs = [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")]
        for name in METHODS:
            point = chosen[name]["safe"] or chosen[name]["bold"]
            method = {**CANDIDATES[name], "scale": "norm_match", "times": point["times"]}
            for rank in ("full", 16):
                more = {"method": method, "recipe": {"rank": rank}, "x": point["times"]}
                specs.append(ModelSpec(f"{name}-rank-{rank}", name, **more))
            few = {"merges": seen[:3], "tasks": (*seen[:3], *unseen), "method": method}
            specs.append(ModelSpec(f"{name}-few", name, **few))
        run = run_bench(
            OUT / adapters,
            specs,
            zoo=open_zoo(),
            adapter_set=adapters,
            items=asked.items,
            experiment="choose",
            answers=OUT / "answers",
        )
        means = {
            (mean["model"], mean["group"]): mean
            for mean in run.results["means"]
            if mean["mode"] == "official"
        }
        print(
            f"\n{adapters}\n| method | 8, free rank | 8, rank 16 | first 3, free rank |\n"
            "|---|---|---|---|"
        )
        for name in METHODS:
            cells = []
            for kind in ("rank-full", "rank-16", "few"):
                pair = [means.get((f"{name}-{kind}", group)) for group in ("seen", "unseen")]
                cells.append(
                    " / ".join(
                        "–" if m is None or m["points"] is None else f"{m['points']:.1f}"
                        for m in pair
                    )
                )
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
