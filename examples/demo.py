"""Three small adapters made with PEFT, merged by copamerge, reloaded in PEFT.

Run by `make demo`. Writes everything under `demo-out/`, which it replaces.
"""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import peft
import torch
from torch import nn

OUT = Path("demo-out")
TASKS = ("legal", "medical", "sports")


class Net(nn.Module):
    """Two blocks of the kind LoRA is put on; big enough for ranks to mean something."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(64, 96)
        self.down = nn.Linear(96, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))


def base() -> Net:
    torch.manual_seed(0)
    return Net()


def make_adapters() -> dict[str, dict[str, torch.Tensor]]:
    """Save one adapter per task; return what PEFT computes as its weight change, by layer."""
    deltas = {}
    for seed, (task, rank) in enumerate(zip(TASKS, (8, 8, 4), strict=True)):
        model = base()
        torch.manual_seed(seed + 1)
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=16,
            target_modules=["up", "down"],
            use_rslora=task == "sports",  # unlike ranks and unlike scaling rules, as in real life
            init_lora_weights=False,
        )
        model = peft.get_peft_model(model, config)
        model.peft_config["default"].base_model_name_or_path = "demo/two-layers"
        model.save_pretrained(str(OUT / "adapters" / task))
        deltas[task] = peft_deltas(model)
    return deltas


def peft_deltas(model: peft.PeftModel) -> dict[str, torch.Tensor]:
    layers = {name: getattr(model.base_model.model, name) for name in ("up", "down")}
    return {name: layer.get_delta_weight("default").detach() for name, layer in layers.items()}


def merge(method: str, out: Path, *more: str) -> None:
    """Run the command a user would type, and show it."""
    words = ["merge", *(str(OUT / "adapters" / task) for task in TASKS)]
    words += ["-o", str(out), "-m", method, *more]
    print(f"\n$ copamerge {' '.join(words)}", flush=True)
    subprocess.run([str(Path(sys.executable).parent / "copamerge"), *words], check=True)


def main() -> int:
    shutil.rmtree(OUT, ignore_errors=True)
    deltas = make_adapters()
    print(f"made three adapters with PEFT {peft.__version__} in {OUT / 'adapters'}")
    merge("copa", OUT / "copa")
    merge("task_arithmetic", OUT / "sum", "--weights", "1", "0.5", "-0.2")

    loaded = peft_deltas(peft.PeftModel.from_pretrained(base(), str(OUT / "sum")))
    peft.PeftModel.from_pretrained(base(), str(OUT / "copa"))
    print("\nPEFT loads both results. What it computes from the weighted sum, against the sum of")
    print("what it computes from the three inputs:")
    worst = 0.0
    for layer, got in loaded.items():
        want = sum(w * deltas[task][layer] for task, w in zip(TASKS, (1, 0.5, -0.2), strict=True))
        error = float((got - want).norm() / want.norm())
        worst = max(worst, error)
        print(f"  {layer:<5} relative difference {error:.1e}")
    print("the same" if worst < 1e-5 else "NOT the same: this is a bug")
    print(f"\nRead {OUT / 'copa' / 'README.md'} (model card) and merge.json (every number).")
    return 0 if worst < 1e-5 else 1


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="peft")  # PEFT remarks that this base has no name
    raise SystemExit(main())
