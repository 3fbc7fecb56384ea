"""What all learners share: a model, adapters that fit it, questions, and the folder at the end."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from copamerge.bench.models import Generator, load_base
from copamerge.bench.units import base_digest
from copamerge.bench.wearing import check_fit
from copamerge.errors import AdapterError, CopamergeError, OutputError, RecipeError, did_you_mean
from copamerge.io._atomic import WRITTEN, check_place, whole_folder
from copamerge.learn.model import check_askable
from copamerge.learn.questions import Questions, digest_of
from copamerge.merging import MergeReport, Plan, merge_to_folder, plan, resolve_device
from copamerge.merging.folder import check_apart
from copamerge.merging.walk import sha256_of
from copamerge.recipe import recipe_from

LEARN = "learn.json"
Tell = Callable[[str, int, int], None]
"""(what is going on, steps done, steps in all)"""
Options = TypeVar("Options", bound="LearnOptions")


class LearnOptions(BaseModel):
    """Options of a learner: frozen, and nothing unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


def options_from(cls: type[Options], given: Mapping[str, Any]) -> Options:
    """
    Raises:
        RecipeError: options that there are not, or values out of range; all of them.
    """
    try:
        return cls.model_validate(dict(given))
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"])) or "options"
            if problem["type"] == "extra_forbidden":
                problems.append(f"{name}: unknown option{did_you_mean(name, cls.model_fields)}")
            else:
                message = problem["msg"].removeprefix("Value error, ")
                problems.append(f"{name}: {message} (got {problem['input']!r})")
        raise RecipeError(problems) from None


@dataclass(frozen=True, eq=False)
class Job:
    """A model and adapters that fit it, ready to be asked."""

    model: Generator
    plan: Plan
    """The adapters with weight 1 each."""
    questions: tuple[Questions, ...]
    record: Mapping[str, Any]
    """What the result depends on: adapters, base, data, by digest."""


def prepare(
    adapters: Sequence[str],
    base: Path,
    questions: Sequence[Questions],
    *,
    method: Any,
    answers: bool,
    out: Path,
    more: Mapping[str, Any],
) -> Job:
    """Open, load and check everything before the first step.

    `more` are further fields of the recipe, such as `dtype`.

    Raises:
        CopamergeError: what does not open, load or fit.
    """
    names = [one.name for one in questions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CopamergeError([f"{name}: given twice; give each once" for name in twice])
    sources = [{"adapter": str(name)} for name in adapters]
    planned = plan(recipe_from({**more, "method": method, "adapters": sources}))
    check_apart(planned, out)
    model = load_base(base)
    problems: list[str] = []
    for adapter in planned.adapters:
        try:
            check_fit(adapter, model.model, model.label)
        except AdapterError as error:
            problems += error.problems
    try:
        check_askable(model, questions, answers=answers)
    except CopamergeError as error:
        problems += error.problems
    if problems:
        raise CopamergeError(problems)
    record = {
        "adapters": [
            {"adapter": x.label, "sha256": {file.name: sha256_of(file) for file in x.files}}
            for x in planned.adapters
        ],
        "base": str(base),
        "base_digest": base_digest(base),
        "data": [dict(one.origin) | {"samples": len(one.samples)} for one in questions],
        "data_digest": digest_of(questions),
    }
    return Job(model, planned, tuple(questions), record)


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("copamerge", "torch", "transformers", "peft")}


def check_free(out: Path, *, overwrite: bool) -> None:
    """As `check_place`, knowing the one file more that a learner writes.

    Raises:
        OutputError: the place is taken, or no folder can be made there.
    """
    if overwrite and (out / LEARN).is_file() and not out.is_symlink():
        inside = {path.name for path in out.iterdir()}
        if others := sorted(inside - WRITTEN - {LEARN}):
            raise OutputError(
                f"{out}: holds {others[0]} beside an earlier result, so --overwrite leaves it "
                "alone; move that away or choose another output"
            )
        return
    check_place(out, overwrite=overwrite)


def write_learnt(
    planned: Plan,
    out: Path,
    record: Mapping[str, Any],
    how: str,
    *,
    overwrite: bool,
    started: float,
) -> tuple[MergeReport, dict[str, Any]]:
    """The merged adapter and learn.json in one folder, whole or not at all.

    `how` says what data had to do with it, for the model card.

    Raises:
        OutputError: the place is taken, or cannot be written.
    """
    with whole_folder(out, overwrite=overwrite, check=check_free) as folder:
        merged = folder / "merged"
        report = merge_to_folder(planned, merged, device=resolve_device("auto"), learnt=how)
        for path in list(merged.iterdir()):
            path.rename(folder / path.name)
        merged.rmdir()
        content = {
            **record,
            "seconds": round(time.perf_counter() - started, 3),
            "versions": versions(),
        }
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        (folder / LEARN).write_text(text, encoding="utf-8")
    return report, json.loads(text)
