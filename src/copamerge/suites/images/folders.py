"""Images in folders: ROOT/<split>/<class>/*.png, or ROOT/<class>/*.png without splits.

The classes are the folders' names, in alphabetical order, or in the order of the numbers where
all of them are numbers; names the user gives are in that order. A class need not be in each split.
"""

from hashlib import sha256
from pathlib import Path

import numpy as np

from copamerge.errors import SuiteError
from copamerge.suites._base import Picture
from copamerge.suites.images._set import NAMES, WHOLE, Options, Part, Stored, class_names

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def read_folder(path: Path, options: Options) -> Stored:
    """
    Raises:
        SuiteError: no folders of pictures, or not as many names as folders.
    """
    if not path.is_dir():
        raise SuiteError(f"{path}: not a folder; give one with a folder of pictures for each class")
    above = _folders(path)
    usual = {name for names in NAMES.values() for name in names}
    usual |= {name for _, name in options.splits}
    is_split = [folder for folder in above if folder.name.lower() in usual]
    if not is_split:
        roots = {WHOLE: path}
    else:
        # What stands beside a split is another split, unless it holds pictures itself.
        roots = {folder.name: folder for folder in above if folder in is_split or _folders(folder)}
    classes = sorted({x.name for root in roots.values() for x in _folders(root)})
    if classes and all(name.isdecimal() for name in classes):
        classes.sort(key=int)
    if not classes:
        raise SuiteError(
            f"{path}: no folders of classes in it; pictures are looked for as "
            "<split>/<class>/*.png, or <class>/*.png"
        )
    names = class_names(
        path, [name.replace("_", " ") for name in classes], options, len(classes), "folders"
    )
    strays = [str(x.relative_to(path)) for x in above if x not in roots.values() and is_split]
    parts = []
    for part, root in roots.items():
        files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            for file in sorted((root / name).rglob("*")) if (root / name).is_dir() else []:
                if file.is_dir() or file.name.startswith("."):
                    continue
                if file.suffix.lower() in ENDINGS and file.parent == root / name:
                    files.append(file)
                    labels.append(label)
                else:
                    strays.append(str(file.relative_to(path)))
        parts.append(_part(part, root, files, labels))
    notes = (f"{path}: not read: {len(strays)} (first: {strays[0]})",) if strays else ()
    return Stored(names, tuple(parts), notes)


def _part(name: str, root: Path, files: list[Path], labels: list[int]) -> Part:
    keys = tuple(file.relative_to(root).as_posix() for file in files)

    def picture(index: int) -> Picture:
        return files[index]

    def digest() -> str:
        whole = sha256()
        for key, file in zip(keys, files, strict=True):
            whole.update(f"{key} {_content(file)}\n".encode())
        return whole.hexdigest()

    return Part(name, keys, np.array(labels, dtype=np.int64), picture, digest)


def _content(file: Path) -> str:
    """The hash of a file; one that cannot be read is named when its picture is opened."""
    try:
        return sha256(file.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def _folders(path: Path) -> list[Path]:
    return sorted(x for x in path.iterdir() if x.is_dir() and not x.name.startswith("."))
