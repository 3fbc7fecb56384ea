"""Questions of one's own, one JSON object a line: for suites of one's own, and to learn from.

    {"prompt": "What is in the picture?", "answer": "a dog", "image": "dog.jpg"}
    {"id": "q2", "prompt": "Which is larger?", "answers": ["the left one", "left"],
     "images": ["a.png", "b.png"], "category": "sizes", "group": "pair 7", "choices": 2}

`prompt` is needed; all else has its use. Pictures are relative to the file's own folder.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copamerge.errors import SuiteError, did_you_mean, first_few
from copamerge.suites._base import Picture, Place, Sample
from copamerge.suites.pictures import PictureError, pixels

FIELDS = (
    "id",
    "prompt",
    "answer",
    "answers",
    "image",
    "images",
    "category",
    "group",
    "choices",
)
SHOWN = 20
"""Problems of a file that are told one by one; the others are counted."""


class _TwiceError(ValueError):
    """A key that a line has two times."""


def read_lines(
    path: Path,
    *,
    answers: bool,
    name: str | None = None,
    folder: Path | None = None,
    opened: bool = False,
    scored: bool = False,
) -> tuple[Sample, ...]:
    """The samples of a file, in order; blank lines are passed over.

    `answers` says whether every line must have one. A line without an id is called by its number,
    after `name` (the file's own without its ending). Pictures are relative to `folder` (the file's)
    and read when they are asked for, with `opened` at once. `scored` refuses what answers of a
    model, which are stripped, could never equal.

    Raises:
        SuiteError: every line that is malformed, by its number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise SuiteError(f"{path}: not a text file; give lines of JSON") from None
    reader = _Reader(path, name or path.stem, folder or path.parent, answers, opened, scored)
    for number, line in enumerate(lines, 1):
        if line.strip():
            reader.read(number, line)
    if not reader.samples and not reader.problems:
        raise SuiteError(f"{path}: holds no lines; give one JSON object a line")
    if reader.problems:
        raise SuiteError(first_few(reader.problems, str(path), "more problems", few=SHOWN))
    return tuple(reader.samples)


class _Reader:
    """What the lines of a file came to so far."""

    def __init__(
        self, path: Path, name: str, folder: Path, answers: bool, opened: bool, scored: bool
    ) -> None:
        self.path, self.name, self.folder = path, name, folder
        self.answers, self.opened, self.scored = answers, opened, scored
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self._lines: dict[str, int] = {}
        """Id -> the line that has it."""

    def read(self, number: int, line: str) -> None:
        place = f"{self.path}, line {number}"
        content = self._object(place, line)
        if content is None:
            return
        found = self._malformed(content)
        if found:
            self.problems += [f"{place}: {problem}" for problem in found]
            return
        given = content.get("id")
        id = f"{self.name}/{number}" if given is None else str(given)
        if id in self._lines:
            self.problems.append(
                f"{place}: id {id!r} is that of line {self._lines[id]} too; give each its own"
            )
            return
        self._lines[id] = number
        try:
            images = self._pictures(content)
        except PictureError as error:
            self.problems += [f"{place}: {problem}" for problem in error.problems]
            return
        category, group = (
            None if content.get(key) is None else str(content[key]) for key in ("category", "group")
        )
        self.samples.append(
            Sample(
                id,
                images,
                content["prompt"],
                _references(content),
                content.get("choices"),
                Place(category, group),
            )
        )

    def _object(self, place: str, line: str) -> dict[str, Any] | None:
        try:
            content = json.loads(line, object_pairs_hook=_once)
        except _TwiceError as error:
            self.problems.append(f"{place}: {error}")
            return None
        except (ValueError, RecursionError) as error:
            self.problems.append(f"{place}: not valid JSON ({str(error)[:100]})")
            return None
        if isinstance(content, dict):
            return content
        self.problems.append(
            f'{place}: expected an object such as {{"prompt": ..., "answer": ...}}'
        )
        return None

    def _malformed(self, content: Mapping[str, Any]) -> list[str]:
        """What is wrong with a line's keys and values, without its place."""
        problems = [
            f"unknown key {key!r}{did_you_mean(key, FIELDS)}"
            for key in content
            if key not in FIELDS
        ]
        if "prompt" not in content:
            problems.append("no 'prompt'")
        elif not _is_text(content["prompt"]):
            problems.append(_not_text("prompt", content["prompt"]))
        for one, many in (("answer", "answers"), ("image", "images")):
            if content.get(one) is not None and content.get(many) is not None:
                problems.append(f"{one!r} and {many!r}: give one of them")
        if self.answers and "answer" not in content and "answers" not in content:
            problems.append("no 'answer'")
        elif self.answers and content.get("answer") is None and content.get("answers") is None:
            problems.append(_not_text("answer", None))
        for key in ("answer", "image"):
            if content.get(key) is not None and not _is_text(content[key]):
                problems.append(_not_text(key, content[key]))
        for key in ("answers", "images"):
            if content.get(key) is not None and not _is_texts(content[key], empty=key == "images"):
                problems.append(
                    f"{key!r} must be a list of texts that are not empty (got {content[key]!r})"
                )
        for key in ("id", "category", "group"):
            value = content.get(key)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (value is None or _is_text(value) or whole):
                problems.append(_not_text(key, value))
        choices = content.get("choices")
        if choices is not None and (
            not isinstance(choices, int) or isinstance(choices, bool) or choices < 2
        ):
            problems.append(
                f"'choices' must say how many options the prompt offers, at least 2 "
                f"(got {choices!r})"
            )
        if not problems and self.scored:
            problems += [
                f"answer {text!r} begins or ends with a blank, and what models say is stripped, so "
                "it could never be right; take the blank away"
                for text in _references(content)
                if text != text.strip()
            ]
        return problems

    def _pictures(self, content: Mapping[str, Any]) -> tuple[Picture, ...]:
        one, many = content.get("image"), content.get("images")
        paths = [self.folder / name for name in (many or ([] if one is None else [one]))]
        return tuple(pixels(path) if self.opened else path for path in paths)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _TwiceError(f"key {key!r} is written twice; keep one of them")
        content[key] = value
    return content


def _references(content: Mapping[str, Any]) -> tuple[str, ...]:
    if content.get("answers") is not None:
        return tuple(content["answers"])
    return () if content.get("answer") is None else (content["answer"],)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any, *, empty: bool) -> bool:
    return isinstance(value, list) and (empty or bool(value)) and all(map(_is_text, value))


def _not_text(key: str, value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    remedy = "; put the number in quotes" if number else ""
    return f"{key!r} must be a text that is not empty (got {value!r}){remedy}"
