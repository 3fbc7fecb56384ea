"""From five image sets to a table: a small CLIP, an adapter for each set, merges of them.

    python runs/images.py OUT --data ../shared/images [--seed 1] [--rate 3e-4]

The protocol is that of docs/images.md: what is free is chosen on validation pictures by seed 0, the
table is of test pictures. Another seed trains other adapters on the same base by the same recipe;
another rate is no part of the protocol. A killed run goes on where it was.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import torch

from copamerge.bench.engine import run_bench
from copamerge.bench.specs import ModelSpec
from copamerge.bench.zoo import MANIFEST, write_manifest
from copamerge.suites import suite_named
from copamerge.training.clip import ClipRecipe, PretrainRecipe, pretrain, train_clip

SUITE = str(Path(__file__).with_name("images.yaml"))
STEPS = (400, 800, 1600)
"""Of the base: the first that is good enough is taken."""
ENOUGH = 50.0
"""Mean zero-shot points over the seen sets on validation pictures."""
BASE = PretrainRecipe(width=64, layers=3, patch=8, batch=128, items=2000)
TARGETS = {
    "qv": ("q_proj", "v_proj"),
    "all": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}
ADAPTER = ClipRecipe(steps=300, batch=64, rate=2e-3, warmup=0.03)
VALIDATION_ITEMS = 500
METHODS = (
    "mean task_arithmetic ties dare breadcrumbs della pcb dc_merge tsv_m iso_c robustmerge copa"
).split()


def say(*words: object) -> None:
    print(f"{time.strftime('%H:%M:%S')} cpu {time.process_time():.0f} s:", *words, flush=True)


def tell(what: str, done: int, of: int, loss: float | None = None) -> None:
    if of and done == of:
        say(what, f"{done} of {of}", "" if loss is None else f"loss {loss:.3f}")


def validated(out: Path, data: Path, base: Path, spec: ModelSpec) -> float:
    """The mean points over the seen sets on validation pictures."""
    seen = [task.name for task in suite_named(SUITE, data).seen]
    run = run_bench(
        out,
        [spec],
        suite=SUITE,
        data=data,
        base=base,
        split="validation",
        items=VALIDATION_ITEMS,
        tasks=seen,
    )
    rows = [row for row in run.results["rows"] if row["mode"] == "corrected"]
    for row in rows:
        say("  validation", spec.name, row["task"], row["points"], "+-", row["stderr"])
    return sum(row["points"] for row in rows) / len(rows)


def chosen_base(out: Path, data: Path) -> Path:
    for steps in STEPS:
        recipe = BASE.model_copy(update={"steps": steps})
        base = pretrain(suite_named(SUITE, data), out / "bases" / str(steps), recipe, tell).path
        points = validated(
            out / "validation" / f"base-{steps}",
            data,
            base,
            ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot"),
        )
        say(f"base of {steps} steps: {points:.2f}")
        if points >= ENOUGH:
            break
    return base


def chosen_recipe(out: Path, data: Path, base: Path) -> str:
    suite = suite_named(SUITE, data)
    points = {}
    for name, targets in TARGETS.items():
        recipe = ADAPTER.model_copy(update={"targets": targets})
        made = train_clip(suite, suite.seen, base, out / "candidates" / name, recipe, tell)
        own = {one.path.name: one.path for one in made}
        spec = ModelSpec("individual", "Individual", kind="individual", adapter=own)
        points[name] = validated(out / "validation" / name, data, base, spec)
        say(f"adapters of {name}: {points[name]:.2f}")
    return max(points, key=points.__getitem__)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/images"))
    parser.add_argument("--seed", type=int, default=0, help="of the adapters")
    parser.add_argument("--rate", type=float, default=ADAPTER.rate, help="of the adapters")
    options = parser.parse_args()
    out, data = options.out, options.data
    torch.set_num_threads(1)
    base = chosen_base(out, data)
    name = chosen_recipe(out, data, base)
    say(f"chosen: the base of {base.name} steps, adapters of {name}")
    suite = suite_named(SUITE, data)
    tail = f"-{options.seed}" if options.seed else ""
    tail += f"-rate{options.rate:g}" if options.rate != ADAPTER.rate else ""
    zoo = out / f"zoo{tail}"
    changed = {"targets": TARGETS[name], "seed": options.seed, "rate": options.rate}
    recipe = ADAPTER.model_copy(update=changed)
    if not (zoo / MANIFEST).is_file():
        shutil.rmtree(zoo, ignore_errors=True)
        shutil.copytree(base, zoo / "base")
        if not tail:
            shutil.copytree(out / "candidates" / name / "shared", zoo / "shared")
        write_manifest(zoo, script="runs/images.py")
    train_clip(suite, suite.seen, zoo / "base", zoo, recipe, tell)
    train_clip(suite, suite.seen, zoo / "base", zoo, recipe, tell, mtl=True)
    for rule in ("published", "norm_match"):
        run = run_bench(
            out / f"{rule}{tail}",
            suite=SUITE,
            data=data,
            zoo=zoo,
            methods=METHODS,
            scale_rule=rule,
            answers=out / "answers",
        )
        say(f"wrote {run.path}")
        table(out, run.results, f"{rule}{tail}")
    say("end")
    return 0


def table(out: Path, results: dict, rule: str) -> None:
    """Points of every model on every set, as markdown."""
    rows = [row for row in results["rows"] if row["mode"] == "corrected"]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = [f"| {rule} | {' | '.join(tasks)} | seen mean |", "|---|" + "--:|" * (len(tasks) + 1)]
    for model in dict.fromkeys(row["model"] for row in rows):
        cells = []
        for task in tasks:
            row = next((x for x in rows if (x["model"], x["task"]) == (model, task)), None)
            known = row is not None and row["points"] is not None
            cells.append(f"{row['points']:.1f} ± {row['stderr']:.1f}" if known else "-")
        mean = next(
            x
            for x in results["means"]
            if (x["model"], x["group"], x["mode"]) == (model, "seen", "corrected")
        )
        whole = "-" if mean["points"] is None else f"{mean['points']:.1f} ± {mean['stderr']:.1f}"
        lines.append(f"| {model} | {' | '.join(cells)} | {whole} |")
    text = "\n".join(lines) + "\n"
    (out / f"{rule}.md").write_text(text, encoding="utf-8")
    print(text, flush=True)
    (out / f"{rule}.json").write_text(json.dumps(results["means"]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
