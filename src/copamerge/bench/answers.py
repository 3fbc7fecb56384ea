"""Answers on disk: one file per unit, named by the unit's hash, written whole.

The first line is the record; then one line per sample:

    {"unit": {...}, "versions": {...}, "warnings": [], "seconds": 1.2, "sha256": "..."}
    {"id": "vqa/test/0/0", "answer": "red"}
    {"id": "vqa/test/0/1", "answer": null, "error": "image a.jpg: not there; ..."}
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copamerge.bench.units import Unit, sha256
from copamerge.errors import OutputError, SuiteError


class DamagedAnswersError(SuiteError):
    """An answers file that is cut off or was changed: to be made again, never to be scored."""


@dataclass(frozen=True)
class Answers:
    """What a model said to the samples of a unit, in their order."""

    ids: tuple[str, ...]
    texts: tuple[str | None, ...]
    """None: it was not asked, for a reason in `errors`. An empty answer is an empty string."""
    seconds: float
    """What answering took; loading the model and putting the adapter on are not counted."""
    versions: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    """What the model said about the adapter when it was put on."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why samples could not be asked, by their ids."""


def answers_file(folder: Path, unit: Unit) -> Path:
    return folder / f"{unit.key}.jsonl"


def write_answers(folder: Path, unit: Unit, answers: Answers) -> Path:
    """Write a unit's file; it appears whole, or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    assert len(answers.ids) == len(answers.texts) == unit.count, (len(answers.ids), unit)
    path = answers_file(folder, unit)
    body = "".join(
        _line({"id": id, "answer": text} | ({"error": answers.errors[id]} if text is None else {}))
        for id, text in zip(answers.ids, answers.texts, strict=True)
    )
    record = {
        "unit": unit.record(),
        "versions": dict(answers.versions),
        "warnings": list(answers.warnings),
        "seconds": answers.seconds,
        "sha256": sha256(body.encode()),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{unit.key}.", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(_line(record) + body)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}; what was answered before is kept"
        ) from None
    return path


def read_answers(path: Path, unit: Unit, ids: Sequence[str]) -> Answers:
    """The answers to a unit whose samples have these ids.

    Raises:
        DamagedAnswersError: cut off, or not what was written.
        SuiteError: no such file, or a whole file that answers something else.
    """
    try:
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        record = json.loads(head)
        fields, whole = record["unit"], record["sha256"] == sha256(body.encode())
        seconds, versions = float(record["seconds"]), dict(record["versions"])
        warnings = tuple(map(str, record["warnings"]))
        lines = [json.loads(line) for line in body.split("\n")[:-1]] if whole else []
        found = [str(line["id"]) for line in lines]
        texts = [None if line["answer"] is None else str(line["answer"]) for line in lines]
        errors = {str(line["id"]): str(line["error"]) for line in lines if line["answer"] is None}
    except FileNotFoundError:
        raise SuiteError(
            f"{path}: no such answers file; run the same command again to make it"
        ) from None
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path) from None
    if not whole or not isinstance(fields, dict):
        raise _damaged(path)
    wanted = unit.record()
    if fields != wanted:
        other = ", ".join(
            f"{key} {_brief(fields.get(key))} instead of {_brief(wanted[key])}"
            for key in wanted
            if fields.get(key) != wanted[key]
        )
        raise SuiteError(
            f"{path}: answers of another run ({other}); they are not scored. Remove the file, and "
            "the same command makes the right one"
        )
    if found != list(ids):
        at = next((i for i, (a, b) in enumerate(zip(found, ids, strict=False)) if a != b), None)
        fact = (
            f"{len(found)} answers to {len(ids)} samples"
            if at is None
            else f"answer {at + 1} is to {found[at]!r}, the sample is {ids[at]!r}"
        )
        raise SuiteError(
            f"{path}: not the samples of {unit.task}/{unit.split} with seed {unit.seed}: {fact}; "
            "remove the file, and the same command makes the right one"
        )
    return Answers(tuple(found), tuple(texts), seconds, versions, warnings, errors)


def _damaged(path: Path) -> DamagedAnswersError:
    return DamagedAnswersError(
        f"{path}: cut off or changed since it was written; it is not used. "
        "The same command answers these samples again"
    )


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False) + "\n"


def _brief(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value)
