"""What is learnt from: samples of a suite, or a user's lines of prompt, answer and image."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from copamerge.bench.units import canonical, sha256
from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites import Asking, Picture, Sample, Split, suite_named
from copamerge.suites.lines import read_lines
from copamerge.suites.pictures import pixels


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
            tuple(task.samples(chosen, task.count(chosen, items), seed)),
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
    """The lines of a file, as `copamerge.suites.lines` reads them, their pictures opened.

    Raises:
        SuiteError: every line that is malformed, by its number.
    """
    from copamerge.bench.metrics import METRICS

    if metric not in METRICS:
        hint = did_you_mean(metric, METRICS)
        raise SuiteError(f"metric {metric!r}: there is none of that name{hint}")
    if max_new_tokens < 1:
        raise SuiteError(f"max_new_tokens: {max_new_tokens}; at least 1 is needed")
    samples = read_lines(path, answers=answers, opened=True)
    return Questions(str(path), samples, Asking(max_new_tokens), metric, {"file": str(path)})


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
