"""What lies where a training writes: a finished folder, one that was begun, or something else.

A finished folder has a train.json, which says by `made_by` what made it. One that is begun has a
hidden folder beside its place, with checkpoints and what it is to become.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from copamerge._version import __version__
from copamerge.errors import OutputError

RECORD = "train.json"
"""In a trained folder; written last, so its existence means that training ended."""
ASKED = "asked.json"
"""In the hidden folder: what it is to become."""
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "pillow", "datasets")


@dataclass(frozen=True)
class Trained:
    """A trained folder on disk, with its train.json."""

    path: Path
    record: Mapping[str, Any]
    is_new: bool

    @property
    def skipped(self) -> list[Mapping[str, Any]]:
        """Samples that were left out, each with the reason."""
        return list(self.record["skipped"])


def work_of(folder: Path) -> Path:
    """Where checkpoints of the run that makes a folder are kept until it is done."""
    return folder.with_name(f".{folder.name}.training")


def found_at(folder: Path, made_by: Mapping[str, Any], instead: str) -> dict[str, Any] | None:
    """The record of what is finished there; None where nothing is, or the same was begun.

    `instead` is what to choose where something else is: `another zoo`.

    Raises:
        OutputError: something else is there, or was begun there.
    """
    wanted = json.loads(json.dumps(made_by))
    if folder.exists():
        if not (folder / RECORD).is_file():
            raise OutputError(f"{folder}: already exists and has no {RECORD}; choose {instead}")
        record = read_record(folder)
        if record.get("made_by") != wanted:
            raise OutputError(
                f"{folder}: was trained with other settings ({_differing(record, wanted)}); "
                f"choose {instead}, or remove it"
            )
        return record
    asked = work_of(folder) / ASKED
    if asked.is_file():
        try:
            begun = {"made_by": json.loads(asked.read_text(encoding="utf-8"))}
        except ValueError:
            begun = {"made_by": None}
        if begun["made_by"] != wanted:
            raise OutputError(
                f"{asked.parent}: a training with other settings was interrupted here "
                f"({_differing(begun, wanted)}); go on with those, or remove the folder"
            )
    return None


def read_record(folder: Path) -> dict[str, Any]:
    """
    Raises:
        OutputError: a record that is no JSON.
    """
    try:
        return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise OutputError(f"{folder / RECORD}: damaged; remove the folder to train anew") from None


def versions() -> dict[str, str]:
    """Of what a training may depend on, as far as it is installed."""
    found = {"copamerge": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    return found


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
