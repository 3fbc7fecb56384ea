"""What training leaves on disk: adapters with a train.json, and a zoo's manifest."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from copamerge.bench.zoo import MANIFEST, write_manifest
from copamerge.errors import first_few
from copamerge.io._atomic import whole_folder
from copamerge.training.places import RECORD, Trained


def write_adapter(
    model: Any, state: Mapping[str, Any], folder: Path, base: str, record: Mapping[str, Any]
) -> None:
    """The adapter as PEFT saves it, with its train.json, at once.

    Raises:
        OutputError: the folder cannot be written.
    """
    model.peft_config["default"].base_model_name_or_path = base
    with whole_folder(folder) as temporary:
        # Without this PEFT asks the Hub for the base, to see whether its vocabulary grew.
        model.save_pretrained(temporary, state_dict=dict(state), save_embedding_layers=False)
        (temporary / "README.md").unlink(missing_ok=True)
        (temporary / RECORD).write_text(
            json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )


def device(low: bool) -> str:
    """What was computed on, and in which numbers."""
    numbers = "bfloat16" if low else "float32"
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {numbers}"
    return f"cpu, {numbers}"


def write_zoo(zoo: Path, script: str) -> None:
    """The manifest of all that lies in the zoo now; what an older one says of criteria stays."""
    kept: dict[str, Any] = {}
    if (zoo / MANIFEST).is_file():
        with contextlib.suppress(ValueError):
            kept = json.loads((zoo / MANIFEST).read_text(encoding="utf-8"))
    write_manifest(zoo, script=kept.get("script") or script, criteria=kept.get("criteria"))


def notes(trained: Sequence[Trained]) -> list[str]:
    """A line for each sample that was left out, the first few by name, and their number.

    And one for an adapter that a training without a rate has left as it began.
    """
    lines = []
    for one in trained:
        recipe = one.record["made_by"]["recipe"]
        if one.record["steps"] == 1 and recipe["warmup"] > 0:
            lines.append(
                f"{one.path}: trained for a single step, in which the warm-up's rate is still "
                "zero, so the adapter changes nothing; remove it, and give a smaller --batch (a "
                f"step is one of {recipe['batch']} samples) or more --epochs"
            )
        each = [f"{x['task']} {x['id']}: {x['reason']}" for x in one.skipped]
        if each:
            total = sum(count["samples"] for count in one.record["counts"].values())
            lines += first_few(each, str(one.path.name), "more samples left out")
            lines.append(
                f"{one.path}: {len(each)} of {total} train samples were left out; train.json "
                "names them all"
            )
    return lines


def is_incomplete(trained: Sequence[Trained]) -> bool:
    """Whether data are at fault: samples without a picture that opens, or without an answer."""
    return any(x["why"] != "length" for one in trained for x in one.skipped)
