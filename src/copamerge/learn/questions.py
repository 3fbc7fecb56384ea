"""What is learnt from: samples of a suite, or a user's lines of prompt, answer and image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from copamerge.bench.units import canonical, sha256
from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites import Asking, Picture, Sample, Split, suite_named
from copamerge.suites.pictures import PictureError, pixels

FIELDS = ("prompt", "answer", "image")


@dataclass(frozen=True, eq=False)
class Questions:
    """The samples of one task, or of one file; never of a test split."""

    name: str
    samples: tuple[Sample, ...]
    """Without references where the file has no answers."""
    asking: Asking
    """How they are put to the model, and how long an answer may be."""
    metric: str
    """A name in `copamerge.bench.metrics.METRICS`: what `tune` scores answers by."""
    origin: Mapping[str, Any]
    """Where the samples are from, for the record."""


def of_suite(
    suite: str,
    tasks: Sequence[str] | None,
    *,
    items: int,
    split: str = "validation",
    seed: int = 0,
) -> tuple[list[Questions], list[str]]:
    """Samples of a suite's tasks, None being the seen ones, and notes about that choice.

    Raises:
        SuiteError: unknown suite, tasks or split, the test split, no items; all of it.
    """
    problems: list[str] = []
    known: tuple[Split, ...] = ("train", "validation")
    chosen: Split = "validation"
    if split == "test":
        problems.append(
            "split 'test': what was chosen on the test split cannot be judged by it any more; "
            "choose on validation or train"
        )
    elif split in known:
        chosen = "train" if split == "train" else "validation"
    else:
        problems.append(f"split {split!r}: there is none of that name{did_you_mean(split, known)}")
    if items < 1:
        problems.append(f"items: {items}; at least 1 is needed")
    picked = suite_named(suite).seen
    try:
        picked = picked if tasks is None else suite_named(suite).pick(tasks)
    except SuiteError as error:
        problems += error.problems
    if problems:
        raise SuiteError(problems)
    notes = [
        f"{task.name} is an unseen task of the suite: its test points will not be those of an "
        "unseen task any more"
        for task in picked
        if not task.seen
    ]
    found = [
        Questions(
            task.name,
            tuple(task.samples(chosen, items, seed)),
            task.asking,
            task.metric,
            {"suite": suite, "task": task.name, "split": chosen, "items": items, "seed": seed},
        )
        for task in picked
    ]
    return found, notes


def read_questions(
    path: Path, *, answers: bool, max_new_tokens: int = 32, metric: str = "exact_upper"
) -> Questions:
    """One JSON object a line: `prompt`, `answer` (where `answers` asks for it) and maybe `image`.

    Paths of images are relative to the file's folder. Blank lines are passed over.

    Raises:
        SuiteError: every line that is malformed, by its number.
    """
    from copamerge.bench.metrics import METRICS

    if metric not in METRICS:
        hint = did_you_mean(metric, METRICS)
        raise SuiteError(f"metric {metric!r}: there is none of that name{hint}")
    if max_new_tokens < 1:
        raise SuiteError(f"max_new_tokens: {max_new_tokens}; at least 1 is needed")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SuiteError(f"{path}: not a text file; give lines of JSON") from None
    problems: list[str] = []
    samples = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            sample = _sample(path, number, line, answers, problems)
            if sample is not None:
                samples.append(sample)
    if not samples and not problems:
        problems.append(f"{path}: holds no lines; give one JSON object a line")
    if problems:
        raise SuiteError(problems)
    return Questions(str(path), tuple(samples), Asking(max_new_tokens), metric, {"file": str(path)})


def _sample(
    path: Path, number: int, line: str, answers: bool, problems: list[str]
) -> Sample | None:
    place = f"{path}, line {number}"
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        problems.append(f"{place}: not valid JSON ({str(error)[:100]})")
        return None
    if not isinstance(content, dict):
        problems.append(f'{place}: expected an object such as {{"prompt": ..., "answer": ...}}')
        return None
    before = len(problems)
    problems += [
        f"{place}: unknown key {key!r}{did_you_mean(key, FIELDS)}"
        for key in content
        if key not in FIELDS
    ]
    for key in ("prompt", "answer") if answers else ("prompt",):
        if key not in content:
            problems.append(f"{place}: no {key!r}")
    for key in FIELDS:
        value = content.get(key)
        wanted = key == "prompt" or (key == "answer" and answers)
        if key in content and not (isinstance(value, str) and value.strip()):
            if value is None and not wanted:
                continue
            problems.append(f"{place}: {key!r} must be a text that is not empty (got {value!r})")
    if len(problems) > before:
        return None
    images: tuple[Picture, ...] = ()
    if content.get("image"):
        try:
            images = (pixels(path.parent / content["image"]),)
        except PictureError as error:
            problems += [f"{place}: {problem}" for problem in error.problems]
            return None
    answer = content.get("answer")
    return Sample(f"{path.stem}/{number}", images, content["prompt"], (answer,) if answer else ())


def _picture_digest(picture: Picture) -> list[Any]:
    content = pixels(picture)
    return [list(content.shape), sha256(content.tobytes())]


def digest_of(questions: Sequence[Questions]) -> str:
    """SHA-256 over everything of the samples that can change a result."""
    return sha256(
        canonical(
            [
                [
                    asdict(one.asking),
                    [
                        [
                            sample.question,
                            list(sample.references),
                            [_picture_digest(picture) for picture in sample.images],
                        ]
                        for sample in one.samples
                    ],
                ]
                for one in questions
            ]
        ).encode()
    )
