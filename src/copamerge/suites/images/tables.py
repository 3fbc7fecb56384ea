"""Images in tables of the `datasets` library: what `save_to_disk` writes, or parquet files.

A row has a picture and a label. Labels are numbers whose names the column's `ClassLabel` or the
user says, or texts, which are then the names, in alphabetical order.
"""

import io
import warnings
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from copamerge.errors import CopamergeError, SuiteError, did_you_mean, first_few
from copamerge.suites._base import Image, Picture
from copamerge.suites.images._set import WHOLE, Options, Part, Stored, class_names
from copamerge.suites.pictures import PictureError

SAVED, SAVED_ONE = "dataset_dict.json", "dataset_info.json"
"""By which a folder is known that `save_to_disk` wrote: of several parts, of one."""


def looks_so(path: Path) -> bool:
    """Whether a folder is one that the `datasets` library reads."""
    saved = (path / SAVED).is_file() or (path / "state.json").is_file()
    return saved or any(path.glob("*.parquet")) or any(path.glob("*/*.parquet"))


def read_datasets(path: Path, options: Options) -> Stored:
    """
    Raises:
        SuiteError: not readable, no such columns, labels that are none.
        CopamergeError: the library is not installed.
    """
    tables = _tables(path)
    problems: list[str] = []
    for name, table in tables.items():
        for key in (options.image_key, options.label_key):
            if key not in table.column_names:
                where = f"{path}, {name}" if name else str(path)
                problems.append(
                    f"{where}: no column {key!r}{did_you_mean(key, table.column_names)}"
                    " (image_key and label_key say which)"
                )
    if problems:
        raise SuiteError(first_few(problems, str(path), "more columns missing"))
    raw = {name: list(table[options.label_key]) for name, table in tables.items()}
    own = _own_names(tables, raw, options.label_key)
    flat = [label for labels in raw.values() for label in labels]
    if all(isinstance(label, str) for label in flat):
        assert own is not None
        place = {name: i for i, name in enumerate(own)}
        raw = {name: [place[label] for label in labels] for name, labels in raw.items()}
        flat = [label for labels in raw.values() for label in labels]
    _check_labels(path, raw, None if own is None else len(own))
    names = class_names(
        path, own, options, max(flat) + 1 if flat else 0, f"column {options.label_key!r}"
    )
    parts = tuple(
        _part(path, name, table, raw[name], options.image_key) for name, table in tables.items()
    )
    return Stored(names, parts)


def _tables(path: Path) -> dict[str, Any]:
    datasets = _library()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if (path / SAVED).is_file() or (path / "state.json").is_file():
                found = datasets.load_from_disk(str(path))
            else:
                found = datasets.load_dataset(str(path))
    except Exception as error:  # whatever a damaged file makes the library raise
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise SuiteError(
            f"{path}: the datasets library cannot read this ({first[:200]}); copy it again"
        ) from None
    if isinstance(found, dict):
        return {str(name): table for name, table in found.items()}
    return {str(found.split) if found.split is not None else WHOLE: found}


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            datasets = import_module("datasets")
    except ModuleNotFoundError as error:
        raise CopamergeError(
            f"{error.name} is not installed, and reads these image sets; "
            "pip install 'copamerge[images]'"
        ) from None
    datasets.disable_progress_bars()
    return datasets


def _own_names(tables: Any, raw: Any, key: str) -> list[str] | None:
    for table in tables.values():
        if (names := getattr(table.features[key], "names", None)) is not None:
            return [str(name) for name in names]
    flat = {label for labels in raw.values() for label in labels}
    if flat and all(isinstance(label, str) for label in flat):
        return sorted(flat)
    return None


def _check_labels(path: Path, raw: Any, classes: int | None) -> None:
    problems = []
    for name, labels in raw.items():
        for row, label in enumerate(labels):
            number = isinstance(label, int) and not isinstance(label, bool)
            if not number or label < 0 or (classes is not None and label >= classes):
                there = "a whole number from 0" if classes is None else f"one of {classes} classes"
                problems.append(f"{path}, {name} row {row}: label {label!r} is not {there}")
    if problems:
        raise SuiteError(first_few(problems, str(path), "more such labels"))


def _part(path: Path, name: str, table: Any, labels: Sequence[int], image_key: str) -> Part:
    image = import_module("datasets").Image
    # Pictures as the bytes they are stored in: opened by Pillow here, one by one.
    kept = table.select_columns([image_key])
    if isinstance(table.features[image_key], image):
        kept = kept.cast_column(image_key, image(decode=False))

    def picture(index: int) -> Picture:
        where = f"{path}, {name} row {index}" if name else f"{path}, row {index}"
        return lambda: _pixels(kept[index][image_key], where, path)

    def digest() -> str:
        whole = sha256()
        for file in _files(path, name):
            whole.update(f"{file.relative_to(path).as_posix()}\n".encode())
            with file.open("rb") as opened:
                while block := opened.read(2**20):
                    whole.update(block)
        return whole.hexdigest()

    keys = tuple(str(i) for i in range(len(labels)))
    return Part(name, keys, np.array(labels, dtype=np.int64), picture, digest)


def _files(path: Path, name: str) -> list[Path]:
    """The files that a part is stored in; all of the set where that cannot be seen."""
    files = sorted(
        x for x in path.rglob("*") if x.suffix in (".arrow", ".parquet") and _shown(x, path)
    )
    mine = [
        file
        for file in files
        if name and (file.parent.name == name or file.stem.split("-")[0] == name)
    ]
    return mine or files


def _shown(file: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def _pixels(stored: Any, where: str, root: Path) -> Image:
    """A picture from the bytes, or the path, in a table."""
    from PIL import Image as Pil

    if isinstance(stored, dict):
        content, file = stored.get("bytes"), stored.get("path")
        if content is None and file:
            place = Path(file) if Path(file).is_absolute() else root / file
            try:
                content = place.read_bytes()
            except OSError:
                raise PictureError(
                    f"{where}: its picture {place} is not there; copy it from the data set"
                ) from None
    else:
        content = stored
    if not isinstance(content, bytes):
        raise PictureError(f"{where}: no picture in it; copy the set again")
    try:
        with Pil.open(io.BytesIO(content)) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Pil.DecompressionBombError):
        raise PictureError(
            f"{where}: not a picture that Pillow can read; copy the set again"
        ) from None
