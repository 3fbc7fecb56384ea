"""What a training leaves: folders that appear whole, each with what made it."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from copamerge._version import __version__
from copamerge.errors import OutputError
from copamerge.io._atomic import whole_folder

RECORD = "train.json"
"""In a trained folder."""
ASKED, SKIPPED = "asked.json", "skipped.jsonl"
"""In the hidden one beside it until it is trained."""
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "pillow", "datasets")

Tell = Callable[[str, int, int, float | None], None]
"""(what is being trained, step, of, loss)"""


@dataclass(frozen=True)
class Trained:
    """A folder on disk, with its train.json."""

    path: Path
    record: Mapping[str, Any]
    is_new: bool

    @property
    def skipped(self) -> list[Mapping[str, Any]]:
        """Pictures that did not open."""
        return list(self.record["skipped"])


def trained(
    out: Path, made_by: dict[str, Any], train: Callable[[Path, Path], dict[str, Any]]
) -> Trained:
    """What is at `out`, or is trained now: `train` gets a folder for its checkpoints and the one
    that becomes `out`, and says what belongs into the record beside `made_by`.

    Raises:
        OutputError: something else is there, or was begun there.
    """
    if (there := _already(out, made_by)) is not None:
        return Trained(out, there, is_new=False)
    work, started = _work(out), time.monotonic()
    try:
        work.mkdir(parents=True, exist_ok=True)
        (work / ASKED).write_text(json.dumps(made_by), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}") from None
    with whole_folder(out) as folder:
        found = train(work / "run", folder)
        seconds = round(time.monotonic() - started, 1)
        record = {
            "made_by": made_by,
            "stages": [{"stage": out.name, "seconds": seconds, "loss": found.pop("loss")}],
            "versions": _versions(),
            **found,
        }
        (folder / "README.md").unlink(missing_ok=True)
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        (folder / RECORD).write_text(text, encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return Trained(out, record, is_new=True)


def _already(out: Path, made_by: dict[str, Any]) -> dict[str, Any] | None:
    if out.exists():
        if not (out / RECORD).is_file():
            raise OutputError(f"{out}: already exists and has no {RECORD}; choose another output")
        record = _read(out / RECORD)
        if record.get("made_by") != json.loads(json.dumps(made_by)):
            raise OutputError(
                f"{out}: was trained with other settings ({_differing(record, made_by)}); choose "
                "another output or remove it"
            )
        return record
    if (_work(out) / ASKED).is_file():
        begun = {"made_by": _read(_work(out) / ASKED)}
        if begun["made_by"] != json.loads(json.dumps(made_by)):
            raise OutputError(
                f"{_work(out)}: a training with other settings was interrupted here "
                f"({_differing(begun, made_by)}); go on with those, or remove the folder"
            )
    return None


def _differing(record: Mapping[str, Any], made_by: Mapping[str, Any]) -> str:
    found = record.get("made_by")
    found = found if isinstance(found, dict) else {}
    plain = json.loads(json.dumps(made_by))
    names = []
    for key, value in plain.items():
        other = found.get(key)
        if key == "recipe" and isinstance(other, dict):
            names += [name for name in value if other.get(name) != value[name]]
        elif other != value:
            names.append(key)
    return ", ".join(names) or "another kind of training"


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise OutputError(f"{file}: damaged; remove its folder to train anew") from None


def _work(out: Path) -> Path:
    """Where checkpoints are kept until the folder is done."""
    return out.with_name(f".{out.name}.training")


def _versions() -> dict[str, str]:
    found = {"copamerge": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    return found
