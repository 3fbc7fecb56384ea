"""How long a merge takes and how much memory, beside the alternatives, in one run.

    python benchmarks/merge_speed.py [--rounds 3] [--peft] [--write]

Makes eight adapters in the shapes of LLaVA-1.5-7B's language model (32 layers x 7 projections,
rank 16, bfloat16, 611 MiB together) under benchmarks/data, then runs each contender in a process
of its own, in turn, `rounds` times. Times leave out starting Python and importing; memory is the
process's peak. Files are in the page cache for everybody. `--peft` adds PEFT's
`add_weighted_adapter` on fewer layers (minutes); `--write` puts the table into
docs/benchmarks.md.
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

from page import put

HERE = Path(__file__).parent
DATA = HERE / "data" / "llava-1.5-7b"
OUT = HERE / "data" / "out"
N, LAYERS, RANK = 8, 32, 16
SHAPES = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (4096, 4096),
    "self_attn.v_proj": (4096, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (11008, 4096),
    "mlp.up_proj": (11008, 4096),
    "mlp.down_proj": (4096, 11008),
}


def folders() -> list[Path]:
    return [DATA / f"task{i}" for i in range(N)]


def make_data() -> None:
    """Eight adapters with the distributions of the paper's figure 2c: A uniform, B Gaussian."""
    import torch
    from safetensors.torch import save_file

    if (DATA / "complete").exists():
        return
    shutil.rmtree(DATA, ignore_errors=True)
    rng = torch.Generator().manual_seed(0)
    for folder in folders():
        tensors = {}
        for layer in range(LAYERS):
            for name, (d_out, d_in) in SHAPES.items():
                stem = f"base_model.model.model.layers.{layer}.{name}"
                A = (torch.rand(RANK, d_in, generator=rng) * 2 - 1) * d_in**-0.5
                B = torch.randn(d_out, RANK, generator=rng) * 0.01
                tensors[f"{stem}.lora_A.weight"] = A.bfloat16()
                tensors[f"{stem}.lora_B.weight"] = B.bfloat16()
        folder.mkdir(parents=True)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {
            "peft_type": "LORA",
            "base_model_name_or_path": "llava-hf/llava-1.5-7b-hf",
            "r": RANK,
            "lora_alpha": 2 * RANK,
            "target_modules": sorted({name.split(".")[1] for name in SHAPES}),
            "task_type": "CAUSAL_LM",
            "bias": "none",
            "fan_in_fan_out": False,
        }
        (folder / "adapter_config.json").write_text(json.dumps(config))
    (DATA / "complete").touch()


def read_all() -> list[bytes]:
    return [(folder / "adapter_model.safetensors").read_bytes() for folder in folders()]


def floor(n_files: int) -> float:
    """Read every byte, write as many bytes as the result has, flush to disk."""
    started = time.perf_counter()
    contents = read_all()
    with (OUT / "floor").open("wb") as file:
        for content in contents[:n_files]:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started


def literal() -> float:
    """The released RobustMerge steps as they stand: everything loaded, stacked, kthvalue."""
    import torch
    from safetensors.torch import load_file, save_file

    started = time.perf_counter()
    adapters = [load_file(folder / "adapter_model.safetensors") for folder in folders()]
    merged, S = {}, None
    for name in adapters[0]:  # lora_A comes before lora_B of the same layer
        X = torch.stack([adapter[name].float() for adapter in adapters])
        flat = X.flatten(1)
        k = int(flat.shape[1] * (1 - 0.2))
        threshold = flat.abs().kthvalue(k, dim=1, keepdim=True).values
        pruned = X * (flat.abs() >= threshold).view_as(X)
        if "lora_A" in name:
            ratio = X.abs().sum(2) / pruned.abs().sum(2)
            ascending = ratio.sort(dim=1).values
            r = ratio.shape[1]
            low, high = ascending[:, int(r * (1 - 0.2))], ascending[:, r - 1]
            S = torch.clamp(ratio, low[:, None], high[:, None])
            merged[name] = (2.0 * pruned).sum(0)
        else:
            assert S is not None
            merged[name] = (2.0 * S[:, None, :] * pruned).sum(0) / S.sum(0)
    save_file({k: v.bfloat16() for k, v in merged.items()}, OUT / "literal.safetensors")
    return time.perf_counter() - started


def ours(method: str, rank: str = "full") -> float:
    import torch

    from copamerge import merge_to_folder, plan
    from copamerge.recipe import recipe_from

    started = time.perf_counter()
    adapters = [str(folder) for folder in folders()]
    recipe = recipe_from({"method": method, "adapters": adapters, "rank": rank})
    merge_to_folder(plan(recipe), OUT / f"ours-{method}-{rank}", device=torch.device("cpu"))
    return time.perf_counter() - started


def one_dense_layer(method: str) -> float:
    """A dense method on one q_proj of the 224 layers, compressed to rank 16."""
    import torch

    from copamerge import merge_to_folder, plan
    from copamerge.recipe import recipe_from

    started = time.perf_counter()
    weight = [{"filter": "layers.0.self_attn.q_proj", "value": 1.0}, {"value": 0.0}]
    adapters = [{"adapter": str(folder), "weight": weight} for folder in folders()]
    recipe = recipe_from({"method": method, "adapters": adapters, "rank": RANK})
    merge_to_folder(plan(recipe), OUT / f"one-{method}", device=torch.device("cpu"))
    return time.perf_counter() - started


def peft_merge(kind: str, layers: int, names: tuple[str, ...]) -> float:
    """PEFT's add_weighted_adapter and save, on some of the layers; loading is not timed."""
    import warnings

    import peft
    import torch
    from safetensors import safe_open
    from torch import nn

    warnings.simplefilter("ignore")

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in names:
                parent, leaf = name.split(".")
                if not hasattr(self, parent):
                    setattr(self, parent, nn.Module())
                d_out, d_in = SHAPES[name]
                layer = nn.Linear(d_in, d_out, bias=False, dtype=torch.bfloat16)
                setattr(getattr(self, parent), leaf, layer)

    class Base(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Module()
            self.model.layers = nn.ModuleList(Block() for _ in range(layers))

    config = peft.LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=[name.split(".")[1] for name in names]
    )
    model = peft.get_peft_model(Base(), config, adapter_name="task0")
    for i, folder in enumerate(folders()):
        if i:
            model.add_adapter(f"task{i}", config)
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            wanted = {
                name: file.get_tensor(name)
                for name in file.keys()
                if int(name.split(".")[4]) < layers and any(part in name for part in names)
            }
        peft.set_peft_model_state_dict(model, wanted, adapter_name=f"task{i}")
    started = time.perf_counter()
    more = {"density": 0.2} if "ties" in kind else {}
    if kind == "svd":
        more["svd_rank"] = RANK
    tasks = [f"task{i}" for i in range(N)]
    model.add_weighted_adapter(tasks, [1.0] * N, "merged", combination_type=kind, **more)
    model.save_pretrained(str(OUT / f"peft-{kind}"), selected_adapters=["merged"])
    return time.perf_counter() - started


ALL = tuple(SHAPES)
CONTENDERS: dict[str, tuple[Callable[[], float], float]] = {
    # name -> what runs, and what its time is multiplied by to stand for all 224 layers
    "floor: read all, write 76 MiB": (lambda: floor(1), 1),
    "floor: read all, write 611 MiB": (lambda: floor(N), 1),
    "literal robustmerge": (literal, 1),
    "copamerge robustmerge": (lambda: ours("robustmerge"), 1),
    "copamerge copa, rank full (128)": (lambda: ours("copa"), 1),
    "copamerge copa --rank 16": (lambda: ours("copa", "16"), 1),
    "copamerge task_arithmetic, rank full": (lambda: ours("task_arithmetic"), 1),
    "copamerge task_arithmetic --rank 16": (lambda: ours("task_arithmetic", "16"), 1),
}
DENSE = {
    "copamerge ties (dense), one q_proj": (lambda: one_dense_layer("ties"), 1),
    "copamerge dare (dense), one q_proj": (lambda: one_dense_layer("dare"), 1),
    "copamerge pcb (dense), one q_proj": (lambda: one_dense_layer("pcb"), 1),
}
PEFT = {
    "PEFT linear (factors), 2 of 32 layers": (lambda: peft_merge("linear", 2, ALL), 16),
    "PEFT ties (factors), 2 of 32 layers": (lambda: peft_merge("ties", 2, ALL), 16),
    "PEFT cat, 2 of 32 layers": (lambda: peft_merge("cat", 2, ALL), 16),
    "PEFT svd, one q_proj": (lambda: peft_merge("svd", 1, ("self_attn.q_proj",)), 1),
}


def run_one(name: str) -> None:
    """In a process of its own: prints seconds and the peak memory in MB."""
    import torch  # noqa: F401 - importing is not what is measured

    import copamerge.merging  # noqa: F401

    work, _ = (CONTENDERS | DENSE | PEFT)[name]
    seconds = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def measure(names: list[str], rounds: int) -> dict[str, dict[str, float]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            if turn and name in PEFT:
                continue  # minutes each: once is enough
            shutil.rmtree(OUT, ignore_errors=True)
            OUT.mkdir(parents=True)
            done = subprocess.run(
                [sys.executable, __file__, "--one", name], check=True, stdout=subprocess.PIPE
            )
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
    shutil.rmtree(OUT, ignore_errors=True)
    return {
        name: {
            "seconds": sorted(run["seconds"] for run in runs)[len(runs) // 2],
            "best": min(run["seconds"] for run in runs),
            "peak_mb": max(run["peak_mb"] for run in runs),
        }
        for name, runs in found.items()
    }


def help_seconds() -> float:
    command = [str(Path(sys.executable).parent / "copamerge"), "--help"]
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return sorted(times)[2]


def table(found: dict[str, dict[str, float]]) -> str:
    literal_seconds = found["literal robustmerge"]["seconds"]
    small = found["floor: read all, write 76 MiB"]["seconds"]
    large = found["floor: read all, write 611 MiB"]["seconds"]
    lines = [
        "| | seconds (median) | best | peak MB | of literal | of its floor |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in found.items():
        base = large if "full" in name or "611" in name else small
        whole = name in CONTENDERS
        of_literal = f"{run['seconds'] / literal_seconds:.2f}" if whole else ""
        of_floor = f"{run['seconds'] / base:.1f}" if whole else ""
        lines.append(
            f"| {name} | {run['seconds']:.2f} | {run['best']:.2f} | {run['peak_mb']:.0f} | "
            f"{of_literal} | {of_floor} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peft", action="store_true", help="add PEFT (minutes)")
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/benchmarks.md"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        run_one(asked.one)
        return
    make_data()
    names = [*CONTENDERS, *DENSE, *(PEFT if asked.peft else ())]
    result = table(measure(names, asked.rounds))
    import torch

    result += (
        f"\n\n`copamerge --help`: {help_seconds():.2f} s. torch {torch.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {asked.rounds} rounds."
    )
    print(result)
    if asked.write:
        put("merge_speed", result)


if __name__ == "__main__":
    main()
