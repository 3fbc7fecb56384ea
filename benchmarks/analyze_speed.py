"""How long a look inside takes and how much memory, beside the matrices themselves, in one run.

    python benchmarks/analyze_speed.py [--rounds 3] [--write]

The eight adapters of merge_speed.py (LLaVA-1.5-7B's language model, 224 layers, rank 16). Each
contender runs in a process of its own, in turn; times leave out starting Python and importing,
memory is the process's peak. The dense ones do what scripts do that form each delta: they are
timed on one 4096 x 4096 layer, and what all 224 would take is counted by their entries. `--write`
puts the table into docs/benchmarks.md.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from merge_speed import LAYERS, SHAPES, folders, make_data
from page import put

OUT = Path(__file__).parent / "data" / "analysis"
ENTRIES = LAYERS * sum(d_out * d_in for d_out, d_in in SHAPES.values()) / 4096**2
"""All layers, in layers of 4096 x 4096."""


def names() -> list[str]:
    return [str(folder) for folder in folders()]


def ours(methods: tuple[str, ...] | None, out: bool = False) -> float:
    from copamerge import analyze
    from copamerge.recipe import recipe_from
    from copamerge.reports.analysis import write_analysis

    started = time.perf_counter()
    found = analyze(recipe_from({"adapters": names()}), methods=methods)
    if out:
        shutil.rmtree(OUT, ignore_errors=True)
        write_analysis(found, OUT)
    return time.perf_counter() - started


def inspected() -> float:
    from copamerge import inspect_adapters

    started = time.perf_counter()
    inspect_adapters(names())
    return time.perf_counter() - started


def different() -> float:
    from copamerge import diff_adapters

    started = time.perf_counter()
    diff_adapters(*names()[:2])
    return time.perf_counter() - started


def dense_pairs() -> float:
    """Cosines and sign conflict of all pairs, from float32 matrices."""
    started = time.perf_counter()
    flat = [delta.flatten() for delta in _deltas(8)]
    for i, one in enumerate(flat):
        for other in flat[:i]:
            float(one @ other / one.norm() / other.norm())
            float(((one > 0) ^ (other > 0)).float().mean())
    return time.perf_counter() - started


def dense_spectrum() -> float:
    """The singular values of one adapter's delta."""
    import torch

    started = time.perf_counter()
    torch.linalg.svdvals(_deltas(1)[0])
    return time.perf_counter() - started


def _deltas(count: int):
    from safetensors import safe_open

    found = []
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    for folder in folders()[:count]:
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            A = file.get_tensor(f"{stem}.lora_A.weight").float()
            B = file.get_tensor(f"{stem}.lora_B.weight").float()
        found.append(2.0 * B @ A)
    return found


CONTENDERS: dict[str, tuple[Callable[[], float], float]] = {
    # name -> what runs, and what its time is multiplied by to stand for all layers and adapters
    "copamerge inspect": (inspected, 1),
    "copamerge diff, two of them": (different, 1),
    "copamerge analyze --methods none": (lambda: ours(()), 1),
    "copamerge analyze (three merges)": (lambda: ours(None), 1),
    "copamerge analyze -o (and JSON, CSV, figures, page)": (lambda: ours(None, True), 1),
    "dense cosines and signs, one layer": (dense_pairs, ENTRIES),
    "dense spectrum, one layer of one adapter": (dense_spectrum, 8 * ENTRIES),
}


def run_one(name: str) -> None:
    """In a process of its own: prints seconds and the peak memory in MB."""
    import torch  # noqa: F401 - importing is not what is measured

    import copamerge.analyzing  # noqa: F401

    seconds = CONTENDERS[name][0]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def table(rounds: int) -> str:
    lines = [
        "| | seconds (median) | best | peak MB | for all layers and adapters, s |",
        "|---|---|---|---|---|",
    ]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--one", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
    for name, runs in found.items():
        seconds = sorted(run["seconds"] for run in runs)
        middle, peak = seconds[len(runs) // 2], max(run["peak_mb"] for run in runs)
        whole = f"{middle * CONTENDERS[name][1]:,.0f}"
        lines.append(f"| {name} | {middle:.1f} | {seconds[0]:.1f} | {peak:.0f} | {whole} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        run_one(asked.one)
        return
    make_data()
    result = table(asked.rounds)
    import torch

    result += (
        f"\n\ntorch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {asked.rounds} rounds."
    )
    if (OUT / "index.html").exists():
        sizes = {
            name: (OUT / name).stat().st_size / 1e6 for name in ("index.html", "analysis.json")
        }
        result += " " + ", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items()) + "."
    shutil.rmtree(OUT, ignore_errors=True)
    print(result)
    if asked.write:
        put("analyze_speed", result)


if __name__ == "__main__":
    main()
