"""A set of labelled images: three splits of pictures, whatever they are stored in.

A reader (folders.py, tables.py, arrays.py) gives the *parts* as they are stored, called `train`,
`test` or as the set has it. Here the parts become the three splits:

*   A part called `train`, `validation` or `test`, or by another usual name of these (`NAMES`), is
    that split; `splits` in the options says it of parts with other names. Other parts are not used
    and are named in `notes`.
*   Where there is no validation part, a tenth of train is held out as that: of each class the
    tenth (at least one picture, where a class has two) whose keys have the smallest SHA-256.
*   Where there is no train part either, the set can be evaluated and not trained on.
*   Where there is no test part, the set cannot be evaluated, and opening it says so. With
    `divide` all pictures of the set are divided by the same hash: of each class a fifth is test
    and a tenth validation.

The pictures of a split are in the order of that hash, so that the first N are a draw from all of
its classes, the same on every machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int64

from copamerge.errors import SuiteError, did_you_mean, first_few
from copamerge.suites._base import Picture, Split

Kind = Literal["folder", "datasets", "npz"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SPLITS: tuple[Split, ...] = get_args(Split)

NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
"""What parts are called that are these splits."""
WHOLE = ""
"""The name of a part that belongs to no split."""
VALIDATION_SHARE, TEST_SHARE = 0.1, 0.2
"""Of each class: what is held out where a set has no such part."""


@dataclass(frozen=True)
class Part:
    """Pictures that are stored together."""

    name: str
    keys: tuple[str, ...]
    """What each picture is called in this part; no two alike."""
    labels: Int64[np.ndarray, " pictures"]
    """Indices into the set's class names."""
    picture: Callable[[int], Picture]
    digest: Callable[[], str]
    """SHA-256 over the files that this part is stored in."""


@dataclass(frozen=True)
class Stored:
    """What a reader found."""

    names: tuple[str, ...]
    """Of the classes, in the order of the labels."""
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    """What was left out, and how much of it."""


Naming = Callable[[tuple[str, ...] | None], tuple[str, ...]]
"""From the names that a set has itself, or None, to those it is read with; raises SuiteError."""


@dataclass(frozen=True)
class Options:
    """How a set is stored, where that cannot be seen."""

    kind: Kind | None = None
    """None: as it looks."""
    names: tuple[str, ...] | None = None
    """Class names in the order of the labels; None: those that the set has itself."""
    splits: tuple[tuple[Split, str], ...] = ()
    """(split, the part that it is), for parts with other names."""
    divide: bool = False
    """Divide all pictures into the three splits by hash."""
    image_key: str = "image"
    """Of a table, the column with the pictures."""
    label_key: str = "label"
    """Of a table, the column with the labels."""
    naming: Naming | None = None
    """Instead of `names`, for suites that know their classes."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures in three splits, each with one of the classes."""

    path: Path
    names: tuple[str, ...]
    """Of the classes, in the order of the labels."""
    notes: tuple[str, ...]
    """What of the set is not used, and how much of it."""
    _options: Options
    _where: Mapping[Split, tuple[Part, Int64[np.ndarray, " pictures"]]]
    """Split -> (part, the indices of its pictures there, in the split's order)."""
    _digests: dict[str, str] = field(default_factory=dict)

    def size(self, split: Split) -> int:
        """How many pictures a split has."""
        return len(self._where[split][1]) if split in self._where else 0

    def picture(self, split: Split, index: int) -> Picture:
        """A path or a function that opens it: nothing is read before that."""
        part, rows = self._row(split)
        return part.picture(int(rows[index]))

    def label(self, split: Split, index: int) -> int:
        """0 to `len(names) - 1`."""
        part, rows = self._row(split)
        return int(part.labels[rows[index]])

    def labels(self, split: Split) -> Int64[np.ndarray, " pictures"]:
        """The labels of a whole split, in its order."""
        part, rows = self._row(split)
        return np.asarray(part.labels[rows])

    def key(self, split: Split, index: int) -> str:
        """What the picture is called in the set: `test/cat/001.png`."""
        part, rows = self._row(split)
        return f"{part.name}/{part.keys[rows[index]]}".lstrip("/")

    def digest(self, split: Split) -> str:
        """SHA-256 over the files of a split, and all that decides which pictures it has."""
        part, _ = self._row(split)
        if part.name not in self._digests:
            self._digests[part.name] = part.digest()
        decides = {
            "files": self._digests[part.name],
            "split": split,
            "part": part.name,
            "names": self.names,
            "held_out": self._held_out,
            "divide": self._options.divide,
            "columns": [self._options.image_key, self._options.label_key],
        }
        return sha256(dumps(decides, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _held_out(self) -> bool:
        """Whether validation is a piece of train."""
        both = [self._where[x][0] for x in ("train", "validation") if x in self._where]
        return len(both) == 2 and both[0] is both[1]

    def _row(self, split: Split) -> tuple[Part, Int64[np.ndarray, " pictures"]]:
        if split not in self._where:
            raise SuiteError(
                f"{self.path}: has no {split} split (its parts: "
                f"{', '.join(sorted({x.name or 'one' for x, _ in self._where.values()}))}); "
                f"say which part it is by `splits`, or set `divide: true`"
            )
        return self._where[split]


def open_image_set(
    path: Path,
    *,
    kind: Kind | None = None,
    names: Sequence[str] | None = None,
    splits: Mapping[Split, str] | None = None,
    divide: bool = False,
    image_key: str = "image",
    label_key: str = "label",
) -> ImageSet:
    """A set of images that lies at `path`; its pictures are opened one by one, when asked for.

    `kind` None: an `.npz` is that; a folder with parquet files, or that `save_to_disk` wrote, is
    `datasets`; any other folder is `folder`.

    Raises:
        SuiteError: not there, malformed, no test split: all that is wrong with it.
        CopamergeError: a library that reads it is not installed.
    """
    options = Options(
        kind,
        None if names is None else tuple(names),
        tuple((splits or {}).items()),
        divide,
        image_key,
        label_key,
    )
    return read(path, options)


def read(path: Path, options: Options) -> ImageSet:
    """As `open_image_set`."""
    stored = _reader(path, options.kind)(path, options)
    if problems := [*_of_names(path, stored.names), *_of_keys(path, stored.parts)]:
        raise SuiteError(problems)
    if not sum(len(part.keys) for part in stored.parts):
        left_out = "".join(f"; {note.removeprefix(f'{path}: ')}" for note in stored.notes)
        raise SuiteError(
            _no_such_parts(path, stored.parts, options)
            or f"{path}: no pictures in it{left_out}; is it the right folder?"
        )
    where, unused = _splits(path, stored.parts, options)
    return ImageSet(path, stored.names, (*stored.notes, *unused), options, where)


def _reader(path: Path, kind: Kind | None) -> Callable[[Path, Options], Stored]:
    from copamerge.suites.images import arrays, folders, tables

    if not path.exists():
        raise SuiteError(f"{path}: no image set is there; give the folder it lies in by --data")
    kind = kind or kind_of(path)
    if kind == "npz":
        return arrays.read_npz
    return tables.read_datasets if kind == "datasets" else folders.read_folder


def kind_of(path: Path) -> Kind:
    """What is at this path, as it looks."""
    from copamerge.suites.images import tables

    return "npz" if path.is_file() else "datasets" if tables.looks_so(path) else "folder"


# --- the classes -------------------------------------------------------------------------------


def class_names(
    path: Path, own: Sequence[str] | None, options: Options, classes: int, whose: str
) -> tuple[str, ...]:
    """The user's names where there are some, else the set's.

    Raises:
        SuiteError: neither, not as many as the set has classes, or in another order.
    """
    given = options.names
    if options.naming is not None:
        given = options.naming(None if own is None else tuple(own))
    if given is None and own is None:
        raise SuiteError(
            f"{path}: does not say what its {classes} classes are called; list them as `names`"
        )
    names = tuple(given if given is not None else own or ())
    if len(names) < classes or (own is not None and len(names) != len(own)):
        there = max(classes, len(own or ()))
        raise SuiteError(
            f"{path}: {len(names)} names for {there} classes ({whose}); give one name for each"
        )
    if options.names is not None and options.naming is None and own is not None:
        _check_order(path, names, own)
    return names


def _check_order(path: Path, names: Sequence[str], own: Sequence[str]) -> None:
    """Names in place of the set's may be any; the same ones in another order are a mistake."""
    plain = [[" ".join(name.lower().replace("_", " ").split()) for name in x] for x in (names, own)]
    if plain[0] == plain[1] or sorted(plain[0]) != sorted(plain[1]):
        return
    first = next(i for i, (one, other) in enumerate(zip(*plain, strict=True)) if one != other)
    raise SuiteError(
        f"{path}: `names` are the set's own in another order: class {first} is {own[first]!r}, "
        f"not {names[first]!r}; leave `names` out, or give them in the set's order"
    )


def _of_names(path: Path, names: Sequence[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    bad = [name for name in names if not name.strip() or name.splitlines() != [name]]
    return [
        *first_few(
            [f"{path}: two classes are called {name!r}; give unlike names" for name in twice],
            str(path),
            "more names that two classes have",
        ),
        *first_few(
            [f"{path}: {name!r} is no class name: write one line of text" for name in bad],
            str(path),
            "more such names",
        ),
        *([] if names else [f"{path}: no classes; is it the right folder?"]),
    ]


def _of_keys(path: Path, parts: Sequence[Part]) -> list[str]:
    problems = []
    for part in parts:
        if len(set(part.keys)) == len(part.keys):
            continue
        seen: set[str] = set()
        twice = dict.fromkeys(key for key in part.keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        place = f"{path}, {part.name or 'its pictures'}"
        problems += first_few(
            [f"{place}: two pictures are called {key!r}; rename one" for key in twice],
            place,
            "more names that two pictures have",
        )
    return problems


# --- the splits --------------------------------------------------------------------------------

Rows = Int64[np.ndarray, " pictures"]


def _splits(
    path: Path, parts: Sequence[Part], options: Options
) -> tuple[dict[Split, tuple[Part, Rows]], list[str]]:
    if options.divide:
        return _divided(joined(parts)), []
    by_name = {part.name: part for part in parts}
    found: dict[Split, Part] = {}
    if problems := _no_such_parts(path, parts, options):
        raise SuiteError(problems)
    asked = dict(options.splits)
    for split in SPLITS:
        usual = [name for name in by_name if name.lower() in NAMES[split]]
        if split in asked:
            found[split] = by_name[asked[split]]
        elif len(usual) > 1:
            raise SuiteError(
                f"{path}: {' and '.join(usual)} could both be its {split} split; say which by "
                "`splits`"
            )
        elif usual and usual[0] not in asked.values():
            found[split] = by_name[usual[0]]
    if "test" not in found:
        there = ", ".join(part.name or "pictures of no split" for part in parts)
        raise SuiteError(
            f"{path}: has no test split (there: {there}), so nothing could be evaluated; say which "
            "part it is by `splits`, or divide all pictures by `divide: true`"
        )
    unused = [
        f"{path}: {len(part.keys)} pictures of {part.name or 'no split'} are not used"
        for part in parts
        if not any(part is one for one in found.values())
    ]
    where = {split: (part, _by_hash(part)) for split, part in found.items()}
    if "train" in where and "validation" not in where:
        part, rows = where["train"]
        held = _first_of_each_class(part, rows, VALIDATION_SHARE)
        where["validation"] = part, rows[held]
        where["train"] = part, rows[~held]
    return where, unused


def _no_such_parts(path: Path, parts: Sequence[Part], options: Options) -> list[str]:
    by_name = {part.name for part in parts if part.name != WHOLE}
    hint = {name: did_you_mean(name, by_name) for _, name in options.splits} if by_name else {}
    return [
        f"{path}: splits: {split}: {name!r}: there is no such part{hint.get(name, '')}"
        for split, name in options.splits
        if name not in by_name
    ]


def _divided(part: Part) -> dict[Split, tuple[Part, Rows]]:
    rows = _by_hash(part)
    test = _first_of_each_class(part, rows, TEST_SHARE)
    rest = rows[~test]
    held = _first_of_each_class(part, rest, VALIDATION_SHARE / (1 - TEST_SHARE))
    return {
        "train": (part, rest[~held]),
        "validation": (part, rest[held]),
        "test": (part, rows[test]),
    }


def joined(parts: Sequence[Part]) -> Part:
    """Several parts as one, without a split."""
    if len(parts) == 1 and parts[0].name == WHOLE:
        return parts[0]
    starts = np.cumsum([0, *(len(part.keys) for part in parts)])

    def picture(index: int) -> Picture:
        which = int(np.searchsorted(starts, index, side="right")) - 1
        return parts[which].picture(index - int(starts[which]))

    def digest() -> str:
        return sha256(dumps([[x.name, x.digest()] for x in parts]).encode()).hexdigest()

    return Part(
        WHOLE,
        tuple(f"{part.name}/{key}".lstrip("/") for part in parts for key in part.keys),
        np.concatenate([part.labels for part in parts]),
        picture,
        digest,
    )


def _by_hash(part: Part) -> Rows:
    """All pictures of a part in the order of their keys' hashes."""
    hashes = [sha256(f"{part.name}/{key}".encode()).digest() for key in part.keys]
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)


def _first_of_each_class(part: Part, rows: Rows, share: float) -> Any:
    """Which rows are among the first `share` of their class: at least one where it has two."""
    labels = part.labels[rows]
    chosen = np.zeros(len(rows), dtype=bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        if len(mine) > 1:
            chosen[mine[: max(1, round(share * len(mine)))]] = True
    return chosen
