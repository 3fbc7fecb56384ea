"""POPE: is there such a thing in the image, in three categories."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copamerge.suites._base import Place, Sample, Split
from copamerge.suites.mm_mergebench.found import Found, Source, Tally, unreadable

QUESTIONS = Path("pope/llava_pope_test.jsonl")
LABELS = "pope/coco/coco_pope_{}.json"
IMAGES = Path("pope/val2014")
CATEGORIES = ("random", "popular", "adversarial")
_RELEASE = "POPE's files of commit e3e3926 are the ones that fit LLaVA's questions"


def pope(root: Path) -> Source:
    """LLaVA's questions; POPE's own files say what is right, in the order of each category."""
    labels = {category: root / LABELS.format(category) for category in CATEGORIES}
    return Source(
        read=lambda split: _questions(root, labels) if split == "test" else Found(),
        files=lambda split: _files(root, labels, split),
    )


def _files(root: Path, labels: Mapping[str, Path], split: Split) -> dict[str, Path]:
    return {"test": root / QUESTIONS, **labels} if split == "test" else {}


def read_lines(path: Path) -> tuple[list[Any], str | None]:
    """The values of a JSON-lines file, or what is wrong with it."""
    found = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        return [], unreadable(path, error)
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            return [], f"{path}, line {i + 1}: not valid JSON ({error}); copy the file again"
    return found, None if found else f"{path}: it is empty; copy the file again"


def asked(records: list[Any], tally: Tally, *fields: str) -> list[dict[str, Any]]:
    """The records that have all of these fields as strings, and an id."""
    found = []
    for i, record in enumerate(records):
        there = record if isinstance(record, dict) else {}
        lacking = [x for x in fields if not isinstance(there.get(x), str) or not there[x]]
        if not isinstance(there.get("question_id"), str | int) or there["question_id"] == "":
            lacking.insert(0, "question_id")
        for name in lacking:
            tally.add(f"records without {name!r}", "copy the file again", f"line {i + 1}")
        if not lacking:
            found.append(there)
    return found


def _questions(root: Path, labels: Mapping[str, Path]) -> Found:
    path = root / QUESTIONS
    read = {"test": read_lines(path), **{name: read_lines(file) for name, file in labels.items()}}
    if stops := [problem for _, problem in read.values() if problem]:
        return Found(stops=tuple(stops))
    tally = Tally(path, len(read["test"][0]))
    questions = asked(read["test"][0], tally, "text", "image", "category")
    for id, count in Counter(str(one["question_id"]) for one in questions).items():
        if count > 1:
            tally.add("ids used more than once", "give every question its own", f"{id} x{count}")
    for one in questions:
        if one["category"] not in labels:
            tally.add("categories that POPE has not", f"{' '.join(CATEGORIES)}", one["category"])
    stops = tally.lines()
    answers: dict[str, str] = {}
    for category, file in labels.items():
        mine = [one for one in questions if one["category"] == category]
        stops += _paired(file, mine, read[category][0], answers)
    if stops:
        return Found(stops=tuple(stops))
    return Found(
        tuple(
            Sample(
                id=str(one["question_id"]),
                images=(root / IMAGES / one["image"],),
                question=one["text"],
                references=(answers[str(one["question_id"])],),
                place=Place(one["category"]),
            )
            for one in questions
        )
    )


def _paired(
    file: Path, questions: list[dict[str, Any]], labels: list[Any], answers: dict[str, str]
) -> list[str]:
    """Add the right answers of a category; what does not fit."""
    if len(questions) != len(labels):
        return [
            f"{file}: {len(labels)} answers to {len(questions)} questions of {QUESTIONS}, and they "
            f"are paired by order; {_RELEASE}"
        ]
    tally = Tally(file, len(labels))
    for i, (one, label) in enumerate(zip(questions, labels, strict=True)):
        name, there = f"line {i + 1}", label if isinstance(label, dict) else {}
        if there.get("label") not in ("yes", "no"):
            tally.add("answers other than yes and no", "copy the file again", name)
        elif str(there.get("text")).split() != one["text"].splitlines()[0].split():
            tally.add(f"questions other than those of {QUESTIONS}", _RELEASE, name)
        elif there.get("image") != one["image"]:
            tally.add(f"images other than those of {QUESTIONS}", _RELEASE, name)
        else:
            answers[str(one["question_id"])] = there["label"]
    return tally.lines()
