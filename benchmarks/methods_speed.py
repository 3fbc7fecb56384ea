"""How long every method takes on eight adapters of LLaVA-1.5-7B's shapes, and how much memory.

    python benchmarks/methods_speed.py [--methods A,B] [--write]

The data of merge_speed.py. A method whose answer has low rank merges all 224 layers, `--rank 16`;
one whose answer is dense merges one q_proj (4096 x 4096), and its time for all layers is
extrapolated by their entries. Each in a process of its own, once. Beside them the joint SVD of
KnOTS on dense deltas, of one q_proj. `--write` puts the table into docs/benchmarks.md.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time

from merge_speed import LAYERS, OUT, RANK, SHAPES, N, folders, make_data
from page import put

Q_PROJ = "layers.0.self_attn.q_proj"
ENTRIES = LAYERS * sum(d_out * d_in for d_out, d_in in SHAPES.values())
TIMES = ENTRIES / (SHAPES["self_attn.q_proj"][0] * SHAPES["self_attn.q_proj"][1])
"""How many q_proj all layers together are, by entries."""
JOINT_SVD = "dense joint SVD, as KnOTS has it"


def is_dense(method: str) -> bool:
    from copamerge.methods import method_from

    return method_from(method).result_rank([RANK] * N) is None


def merged(method: str) -> float:
    import torch

    from copamerge import merge_to_folder, plan
    from copamerge.recipe import recipe_from

    one = [{"filter": Q_PROJ, "value": 1.0}, {"value": 0.0}]
    weight = one if is_dense(method) else 1.0
    adapters = [{"adapter": str(folder), "weight": weight} for folder in folders()]
    started = time.perf_counter()
    recipe = recipe_from({"method": method, "adapters": adapters, "rank": RANK})
    merge_to_folder(plan(recipe), OUT / method, device=torch.device("cpu"))
    return time.perf_counter() - started


def joint_svd() -> float:
    """SVD of [delta_1 .. delta_8] of one q_proj, in float32; the reference takes float64."""
    import torch
    from safetensors import safe_open

    deltas = []
    for folder in folders():
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            stem = f"base_model.model.model.{Q_PROJ}"
            A, B = (file.get_tensor(f"{stem}.lora_{part}.weight").float() for part in "AB")
        deltas.append(2.0 * B @ A)
    side = torch.cat(deltas, dim=1)
    started = time.perf_counter()
    torch.linalg.svd(side, full_matrices=False)
    return time.perf_counter() - started


def run_one(name: str) -> None:
    """In a process of its own: prints seconds of wall and of CPU, and the peak memory in MB."""
    import torch  # noqa: F401 - importing is not what is measured

    import copamerge.merging  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = joint_svd() if name == JOINT_SVD else merged(name)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": after.ru_maxrss / 1024}))


def row(name: str, found: dict[str, float]) -> str:
    dense = name == JOINT_SVD or is_dense(name)
    what = "one q_proj" if dense else f"all {LAYERS * len(SHAPES)} layers"
    if not dense:
        whole = ""
    elif name == JOINT_SVD:
        # Cost of an SVD grows with the smaller side squared times the larger one.
        q = 4096**2 * N * 4096
        cost = sum(d_out * d_out * N * d_in for d_out, d_in in SHAPES.values()) * LAYERS
        whole = f"about {found['seconds'] * cost / q / 3600:.1f} h"
    else:
        whole = f"about {found['seconds'] * TIMES / 60:.0f} min"
    shown = name if name == JOINT_SVD else f"`{name}`"
    return (
        f"| {shown} | {what} | {found['seconds']:.1f} | {found['cpu']:.1f} | "
        f"{found['peak_mb']:.0f} | {whole} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", help="only these")
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        run_one(asked.one)
        return
    from copamerge.methods import method_names

    make_data()
    names = asked.methods.split(",") if asked.methods else [*method_names(), JOINT_SVD]
    lines = [
        "| method | merged | seconds | CPU seconds | peak MB | all layers, by extrapolation |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        words = [sys.executable, __file__, "--one", name]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
        lines.append(row(name, json.loads(done.stdout.splitlines()[-1])))
        print(lines[-1], flush=True)
    shutil.rmtree(OUT, ignore_errors=True)
    if asked.write:
        lines += ["", f"{os.cpu_count()} cores, one run each, start-up left out."]
        put("methods_speed", "\n".join(lines))


if __name__ == "__main__":
    main()
