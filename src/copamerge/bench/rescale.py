"""Scale rules: a merged adapter whose delta is multiplied, layer by layer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from copamerge.core.adapter import Adapter
from copamerge.core.delta import LowRank, squared_norm
from copamerge.io import open_adapter
from copamerge.io._atomic import whole_folder
from copamerge.merging.card import model_card
from copamerge.merging.card.rewrite import read_report
from copamerge.merging.folder import REPORT
from copamerge.merging.sources import CARD

SCALED = (
    "After the merge its deltas were multiplied: rescale.json has the factor of each layer. Norms, "
    "cosines and energies below, and what the recipe gives, are of the merge before that."
)
"""What the card of a rescaled merge says first."""


def layer_norms(adapter: Adapter) -> dict[str, float]:
    """The Frobenius norm of each layer's delta, from its factors; in float64."""
    norms = {}
    for name in sorted(adapter.layers):
        module = adapter.module(name)
        factors = LowRank(module.A.double(), module.B.double())
        # Gram matrices of a delta that cancels to zero may sum to a little less.
        norms[name] = abs(module.scaling) * max(squared_norm(factors), 0.0) ** 0.5
    return norms


def norm_match_factors(merged: Path, inputs: Sequence[Path]) -> dict[str, float]:
    """Per layer what brings the merged delta's norm to the mean of the inputs'.

    The mean is over the inputs that have the layer. A merged delta of zero keeps its factor 1: no
    multiple of it has another norm.
    """
    of_inputs = [layer_norms(open_adapter(str(path))) for path in inputs]
    factors = {}
    for name, norm in layer_norms(open_adapter(str(merged))).items():
        sizes = [norms[name] for norms in of_inputs if name in norms]
        factors[name] = sum(sizes) / len(sizes) / norm if sizes and norm > 0 else 1.0
    return factors


def rescale(merged: Path, factors: Mapping[str, float] | float, out: Path, **note: Any) -> None:
    """Write the adapter `merged` with its deltas multiplied: all alike, or each layer by its own.

    The factors go into B (and a LoRA bias) in float32, so what is written is the product to
    float32's precision whatever the type of `merged`. What `note` says stands in rescale.json
    beside the factors. Full tensors beside the deltas stay as they are.

    Raises:
        OutputError: the place is taken, or cannot be written.
    """
    from safetensors.torch import save_file

    adapter = open_adapter(str(merged))
    config = json.loads((merged / "adapter_config.json").read_text(encoding="utf-8"))
    tensors: dict[str, Tensor] = {
        info.tensor: adapter.tensor(info.tensor) for info in adapter.saved.values()
    }
    used = {}
    for name, info in sorted(adapter.layers.items()):
        used[name] = factors if isinstance(factors, float | int) else factors[name]
        for stored in info.tensors:
            tensor = adapter.tensor(stored).float()
            of_B = ".lora_B." in stored or ".lora_embedding_B" in stored
            tensors[stored] = (tensor.double() * used[name]).float() if of_B else tensor
    report = read_report(merged) if (merged / REPORT).is_file() else None
    with whole_folder(out) as folder:
        save_file(
            {name: tensor.contiguous() for name, tensor in sorted(tensors.items())},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        _write(folder / "adapter_config.json", config)
        _write(folder / "rescale.json", {"of": str(merged), **note, "factors": used})
        if report is not None:
            card = model_card(report.model_copy(update={"dtype": "float32"}), then=SCALED)
            (folder / CARD).write_text(card, encoding="utf-8")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
