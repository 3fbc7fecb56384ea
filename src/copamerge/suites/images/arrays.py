"""Images in one `.npz`: x, y, and where there are some split and names.

x       uint8, N x height x width, or N x height x width x 1 or 3
y       whole numbers, N: the classes, from 0
split   N texts (`train`, `validation`, `test`, or empty for none), or N whole numbers: 0 is
        train, 1 validation, 2 test; left out: no splits
names   N texts: what each picture is called; or one text for each class: what that is called
classes one text for each class
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from copamerge.errors import SuiteError, did_you_mean, first_few
from copamerge.suites._base import Picture
from copamerge.suites.images._set import SPLITS, Options, Part, Stored, class_names

ARRAYS = ("x", "y", "split", "names", "classes")


def read_npz(path: Path, options: Options) -> Stored:
    """
    Raises:
        SuiteError: not an `.npz` of this kind: all that is wrong with it.
    """
    arrays = _arrays(path)
    if problems := _problems(path, arrays):
        raise SuiteError(problems)
    x, y = arrays["x"], arrays["y"].astype(np.int64)
    classes = int(y.max()) + 1 if len(y) else 0
    own: list[str] | None = None
    keys = [str(i) for i in range(len(y))]
    if "classes" in arrays:
        own = [str(name) for name in arrays["classes"]]
    if "names" in arrays:
        names = [str(name) for name in arrays["names"]]
        if len(names) == len(y):
            keys = names
        elif own is None:
            own = names
    found = class_names(path, own, options, classes, "labels in y")
    split = _split_names(arrays.get("split"), len(y))
    file = _hash_of(path)
    parts = [
        _part(name, np.flatnonzero(split == name), x, y, keys, file)
        for name in dict.fromkeys(split.tolist())
    ]
    extra = sorted(set(arrays) - set(ARRAYS))
    notes = (f"{path}: arrays that are not read: {', '.join(extra)}",) if extra else ()
    return Stored(found, tuple(parts), notes)


def _arrays(path: Path) -> Mapping[str, Any]:
    try:
        return _loaded(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, BadZipFile, EOFError, KeyError) as error:
        what = "it may be cut off"
        if "pickle" in str(error):
            what = "it holds Python objects" if is_zipfile(path) else "it is none"
        raise SuiteError(
            f"{path}: cannot be read as an .npz ({what}); write it anew by numpy.savez_compressed"
        ) from None


# Suites are opened for each command's questions; the arrays are read once.
@lru_cache(maxsize=16)
def _loaded(path: Path, changed: int) -> Mapping[str, Any]:
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("one array")
        return {name: loaded[name] for name in loaded.files}


def _problems(path: Path, arrays: Mapping[str, Any]) -> list[str]:
    problems = []
    for name in ("x", "y"):
        if name not in arrays:
            problems.append(f"{path}: no array {name!r}{did_you_mean(name, arrays)}")
    if problems:
        return problems
    x, y = arrays["x"], arrays["y"]
    if x.dtype != np.uint8 or not (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))):
        problems.append(
            f"{path}: x is {x.dtype} of shape {x.shape}; uint8 of N x height x width (x 1 or 3) "
            "is read"
        )
    if y.ndim != 1 or y.dtype.kind not in "iu":
        problems.append(f"{path}: y is {y.dtype} of shape {y.shape}; N whole numbers are read")
    elif len(y) and y.min() < 0:
        problems.append(
            f"{path}: {int((y < 0).sum())} labels in y are below 0; labels count from 0"
        )
    for name in ("y", "split"):
        if name in arrays and len(np.atleast_1d(arrays[name])) != len(x):
            problems.append(
                f"{path}: {len(np.atleast_1d(arrays[name]))} entries in {name} for {len(x)} "
                "pictures in x; give one for each"
            )
    if "split" in arrays and arrays["split"].dtype.kind not in "iuU":
        problems.append(
            f"{path}: split is {arrays['split'].dtype}; texts or the numbers 0, 1, 2 are read"
        )
    elif "split" in arrays and arrays["split"].dtype.kind in "iu":
        wrong = sorted(set(arrays["split"].tolist()) - {0, 1, 2})
        problems += first_few(
            [f"{path}: split {n}: 0 is train, 1 validation, 2 test" for n in wrong],
            str(path),
            "more such numbers",
        )
    for name in ("names", "classes"):
        if name in arrays and (arrays[name].dtype.kind != "U" or arrays[name].ndim != 1):
            problems.append(f"{path}: {name} is {arrays[name].dtype}; a list of texts is read")
    return problems


def _split_names(split: Any, count: int) -> Any:
    if split is None:
        return np.full(count, "")
    if split.dtype.kind == "U":
        return split
    return np.array(SPLITS)[split]


def _hash_of(path: Path) -> Any:
    def digest() -> str:
        whole = sha256()
        with path.open("rb") as file:
            while block := file.read(2**20):
                whole.update(block)
        return whole.hexdigest()

    return digest


def _part(name: str, rows: Any, x: Any, y: Any, keys: list[str], digest: Any) -> Part:
    def picture(index: int) -> Picture:
        return lambda: in_color(x[rows[index]])

    return Part(name, tuple(keys[i] for i in rows), y[rows], picture, digest)


def in_color(image: Any) -> Any:
    """Height x width (x 1 or 3) as height x width x 3."""
    if image.ndim == 2:
        image = image[:, :, None]
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
