"""run.json and results.json: what a run leaves beside its answers and scores."""

import json
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from copamerge._version import __version__
from copamerge.bench.setting import Setting
from copamerge.bench.specs import ModelSpec
from copamerge.errors import OutputError
from copamerge.suites import Task

RUN, RESULTS = "run.json", "results.json"


class Run(NamedTuple):
    """A finished run as it lies on disk."""

    path: Path
    record: dict[str, Any]
    """run.json"""
    results: dict[str, Any]
    """results.json"""


def of_run(setting: Setting) -> dict[str, Any]:
    """What is known of a run before it begins."""
    return {
        "suite": setting.suite.name,
        "suite_file": None if setting.suite.file is None else str(setting.suite.file),
        "data": None if setting.data is None else str(setting.data),
        "columns": [
            {"task": x.name, "title": x.title, "seen": x.seen, "metric": x.metric}
            for x in setting.tasks
        ],
        "averaged": setting.suite.averaged,
        "experiment": setting.experiment,
        "zoo": None if setting.zoo is None else str(setting.zoo.path),
        "base": str(setting.base),
        "base_digest": setting.base_digest,
        "adapter_set": setting.adapter_set if setting.zoo is not None else None,
        "items": setting.items,
        "seed": setting.seed,
        "split": setting.split,
        "tasks": [task.name for task in setting.tasks],
        "scale_rule": setting.scale_rule,
        "items_validation": setting.items_validation,
        "answers": str(setting.answers),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "finished": False,
        "notes": [],
        "models": [],
    }


def of_model(setting: Setting, spec: ModelSpec, asked: Sequence[Task]) -> dict[str, Any]:
    """What is known of a model before it is made; what is not is null."""
    return {
        "name": spec.name,
        "kind": spec.kind,
        "title": spec.title,
        "method": None,
        "options": {},
        "scale_rule": (spec.scale_rule or setting.scale_rule) if spec.is_made else None,
        "multiple": spec.multiple if spec.is_made else None,
        "adapter": None,
        "digest": None,
        "tasks": [task.name for task in asked],
        "merges": None,
        "merge_seconds": None,
        "answer_seconds": None,
        "warnings": [],
        "search": None,
        "failed": None,
        "x": spec.x,
    }


def versions() -> dict[str, str | None]:
    """Of what results may depend on; None for what is not installed."""
    found: dict[str, str | None] = {
        "copamerge": __version__,
        "python": platform.python_version(),
    }
    for name in ("torch", "transformers", "peft", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def check_out(out: Path, suite: str) -> None:
    """
    Raises:
        OutputError: no folder, no run's folder, or one of a run of another suite.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: exists and is not a folder; choose another output")
    if out.is_dir() and any(out.iterdir()) and not (out / RUN).is_file():
        raise OutputError(
            f"{out}: holds files but no {RUN}, so it is not a run of the benchmark; choose "
            "another output"
        )
    try:
        there = json.loads((out / RUN).read_text(encoding="utf-8"))["suite"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if there != suite:
        raise OutputError(
            f"{out}: holds a run of the suite {there!r}, whose results one of {suite!r} would "
            "replace; choose another output"
        )


def write(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
