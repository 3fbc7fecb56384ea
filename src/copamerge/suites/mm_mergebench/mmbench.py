"""MMBench's development set: each question asked once for each turn of its options."""

import base64
import binascii
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from copamerge.suites._base import Image, Place, Sample
from copamerge.suites.mm_mergebench.found import Found, Source, Tally, unreadable
from copamerge.suites.pictures import PictureError, decoded

FILE = Path("mmbench/mmbench_dev_20230712.tsv")
COLUMNS = ("index", "question", "A", "B", "C", "D", "answer", "category", "image")
LETTERS = "ABCD"
HINT = "Answer with the option's letter from the given choices directly."
TURN = 1_000_000
"""Row `index + k * TURN` is row `index` with its options turned k times."""


def mmbench(root: Path) -> Source:
    """The rows of the file; turned options are made where the file has not got them."""
    path = root / FILE
    return Source(
        read=lambda split: _questions(path) if split == "test" else Found(),
        files=lambda split: {"test": path} if split == "test" else {},
    )


@dataclass(frozen=True)
class _Row:
    """A row and where it lies in the file, so that its picture need not be kept."""

    cells: dict[str, str]
    start: int
    end: int

    @property
    def index(self) -> str:
        return self.cells.get("index", "")

    @property
    def options(self) -> list[str]:
        """Those before the first that is not there, as LLaVA reads them."""
        found = []
        for letter in LETTERS:
            option = self.cells.get(letter, "")
            if option.lower() in ("", "nan", "none"):
                break
            found.append(option)
        return found


@dataclass(frozen=True)
class Base64Picture:
    """A picture in a row of the file, read from there when it is wanted."""

    path: Path
    start: int
    end: int
    column: int
    name: str

    def __call__(self) -> Image:
        place = f"{self.path}, row {self.name}, image"
        try:
            with self.path.open("rb") as file:
                file.seek(self.start)
                row = file.read(self.end - self.start).decode("utf-8")
            cell = next(csv.reader(io.StringIO(row, newline=""), delimiter="\t"))[self.column]
            content = base64.b64decode(cell, validate=True)
        except OSError as error:
            raise PictureError(unreadable(self.path, error)) from None
        except (ValueError, binascii.Error) as error:
            raise PictureError(f"{place}: no base64 ({error}); copy the file again") from None
        return decoded(content, place)


def _table(file: BinaryIO) -> Iterator[_Row]:
    """The rows, the one of the columns' names first: quoted cells may hold line ends."""
    csv.field_size_limit(2**31 - 1)  # a picture is a cell
    place = 0

    def lines() -> Iterator[str]:
        nonlocal place
        for line in file:
            place += len(line)
            yield line.decode("utf-8")

    columns: list[str] | None = None
    start = 0
    for cells in csv.reader(lines(), delimiter="\t"):
        columns = columns or cells
        if cells:
            yield _Row(dict(zip(columns, cells, strict=False)), start, place)
        start = place


def _questions(path: Path) -> Found:
    try:
        with path.open("rb") as file:
            rows = _table(file)
            columns = list(next(rows, _Row({}, 0, 0)).cells)
            found = [_light(row) for row in rows]
    except OSError as error:
        return Found(stops=(unreadable(path, error),))
    except (UnicodeDecodeError, csv.Error) as error:
        return Found(stops=(f"{path}: no table of tab-separated text ({error}); copy it again",))
    if lacking := [name for name in COLUMNS if name not in columns]:
        return Found(
            stops=(f"{path}: no column {', '.join(lacking)}; give the file of the dev set",)
        )
    tally = Tally(path, len(found))
    if not found:
        tally.add("rows", "copy the file again", "it is empty")
    groups: dict[int, list[_Row]] = {}
    seen: set[str] = set()
    for i, row in enumerate(found):
        for fact, remedy in _problems(row, seen):
            tally.add(fact, remedy, row.index or f"row {i + 1}")
        seen.add(row.index)
        if row.index.isdigit():
            groups.setdefault(int(row.index) % TURN, []).append(row)
    for index, group in groups.items():
        count = len(group[0].options)
        first = min(int(row.index) for row in group)
        if first >= TURN or len(group) not in (1, count):
            fact = "questions with some, but not all, of their turned options"
            tally.add(fact, "copy the file again", f"{index}: {len(group)} of {count}")
    if tally:
        return Found(stops=tuple(tally.lines()))
    lies = {row.index: row for row in found}
    samples: list[Sample] = []
    for group in groups.values():
        turns = range(len(group[0].options)) if len(group) == 1 else (0,)
        samples += [_sample(path, columns, lies, row, turn) for row in group for turn in turns]
    return Found(tuple(samples))


def _light(row: _Row) -> _Row:
    """Without its picture; what is left of it says whether there is one, or where it lies."""
    image = row.cells.get("image", "")
    return replace(row, cells={**row.cells, "image": image if len(image) < 64 else "here"})


def _problems(row: _Row, seen: set[str]) -> Iterator[tuple[str, str]]:
    again = "copy the file again"
    if not row.index.isdigit():
        yield "rows whose index is no number", again
    elif row.index in seen:
        yield "rows with the index of another", again
    if not row.cells.get("question", "").strip():
        yield "rows without a question", again
    if len(row.options) < 2:
        yield "rows with fewer than two options", again
    answer = row.cells.get("answer", "").strip()
    if answer not in tuple(LETTERS):
        yield "rows without an answer", "the dev set has them, the test set has not"
    elif answer not in LETTERS[: len(row.options)]:
        yield "answers beyond the options", again
    if not row.cells.get("image"):
        yield "rows without a picture", again


def _sample(
    path: Path, columns: Sequence[str], lies: dict[str, _Row], row: _Row, turn: int = 0
) -> Sample:
    """The row with its options turned to the left so many times, the right letter with them."""
    options = row.options[turn:] + row.options[:turn]
    right = (LETTERS.index(row.cells["answer"].strip()) - turn) % len(options)
    hint = row.cells.get("hint", "")
    lines = [] if hint.lower() in ("", "nan", "none") else [hint]
    lines += [row.cells["question"]]
    lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    # Later files name the row whose picture it is, in the place of the picture.
    holder = lies.get(row.cells["image"], row)
    where = columns.index("image")
    index = int(row.index)
    return Sample(
        id=str(index + turn * TURN),
        images=(Base64Picture(path, holder.start, holder.end, where, holder.index),),
        question="\n".join([*lines, HINT]),
        references=(LETTERS[right],),
        choices=len(options),
        place=Place(row.cells.get("l2-category") or row.cells["category"], str(index % TURN)),
    )
