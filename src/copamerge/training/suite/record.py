"""What training leaves on disk: adapters with a train.json, and a zoo's manifest."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from copamerge._version import __version__
from copamerge.bench.zoo import MANIFEST, write_manifest
from copamerge.errors import OutputError, first_few
from copamerge.io._atomic import whole_folder

RECORD = "train.json"
ASKED = "asked.json"
"""In the hidden folder of an unfinished training: what it is to become."""
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "pillow")


@dataclass(frozen=True)
class Trained:
    """An adapter on disk, with its train.json."""

    path: Path
    record: Mapping[str, Any]
    is_new: bool

    @property
    def skipped(self) -> list[Mapping[str, Any]]:
        return list(self.record["skipped"])


def work_of(folder: Path) -> Path:
    """Where checkpoints of the run that makes a folder are kept until it is done."""
    return folder.with_name(f".{folder.name}.training")


def found_at(folder: Path, made_by: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of an adapter that is there; None where there is none.

    Raises:
        OutputError: something else is there, or was begun there.
    """
    if folder.exists():
        if not (folder / RECORD).is_file():
            raise OutputError(f"{folder}: already exists and has no {RECORD}; choose another zoo")
        record = read_record(folder)
        if record.get("made_by") != made_by:
            raise OutputError(
                f"{folder}: was trained with other settings ({_differing(record, made_by)}); "
                "choose another zoo or --set-name, or remove it"
            )
        return record
    asked = work_of(folder) / ASKED
    if asked.is_file():
        try:
            begun = json.loads(asked.read_text(encoding="utf-8"))
        except ValueError:
            begun = None
        if begun != made_by:
            raise OutputError(
                f"{asked.parent}: a training with other settings was interrupted here "
                f"({_differing({'made_by': begun}, made_by)}); go on with those, or remove the "
                "folder"
            )
    return None


def _differing(record: Mapping[str, Any], made_by: Mapping[str, Any]) -> str:
    found = record.get("made_by")
    found = found if isinstance(found, dict) else {}
    names = []
    for key, value in made_by.items():
        other = found.get(key)
        if key == "recipe" and isinstance(other, dict):
            names += [name for name in value if other.get(name) != value[name]]
        elif other != value:
            names.append(key)
    return ", ".join(dict.fromkeys(names)) or "another kind of training"


def read_record(folder: Path) -> dict[str, Any]:
    """
    Raises:
        OutputError: a record that is no JSON.
    """
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise OutputError(f"{folder / RECORD}: damaged; remove the folder to train anew") from None
    return dict(content)


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


def versions() -> dict[str, str]:
    found = {"copamerge": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    return found


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
