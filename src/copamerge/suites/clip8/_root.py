"""Where the eight sets lie below one folder, and what is missing there.

ROOT/<folder of the set>, or where ROOT/clip8.yaml says:

    svhn: digits/svhn
    eurosat: {path: EuroSAT_RGB, splits: {test: holdout}, label_key: labels}

Paths are relative to ROOT.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from copamerge.errors import SuiteError
from copamerge.suites._base import Split
from copamerge.suites._file import content_of, read_as, text_of
from copamerge.suites.clip8._sets import TASKS, ImageClasses, image_classes
from copamerge.suites.images import Kind

FILE = "clip8.yaml"


class Place(BaseModel):
    """Where a set lies, and how it is stored there."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    path: str | None = None
    """Its folder or file; left out: the usual one."""
    kind: Kind | None = None
    """Folder, datasets or npz; left out: as it looks."""
    splits: dict[Split, str] = Field(default_factory=dict)
    """Which part of the set is which split, where its name does not say it."""
    divide: bool = False
    """Divide all its pictures into train, validation and test by hash."""
    image_key: str = "image"
    """Of a table, the column with the pictures."""
    label_key: str = "label"
    """Of a table, the column with the labels."""


Places: type[BaseModel] = create_model(
    "Places",
    __config__=ConfigDict(extra="forbid", frozen=True),
    **{task: (Place, Place()) for task in TASKS},  # type: ignore[call-overload]
)
"""What `clip8.yaml` may say: a `Place` for each task."""


class Root:
    """The folder of the data; nothing of it is read before it is asked for."""

    def __init__(self, data: Path | None) -> None:
        self._data = data

    def found(self, task: str) -> tuple[Path, Place]:
        """Where the set of a task lies, and how it is stored.

        Raises:
            SuiteError: the set is not there (then all that are not there are named), no folder
                was given, or `clip8.yaml` is malformed.
        """
        path, place = self._all[task]
        if not path.exists():
            raise SuiteError([f"task {task!r}: {why}" for task, why in self.missing().items()])
        return path, place

    def missing(self) -> dict[str, str]:
        """Task -> a sentence, for each set that is not there.

        Raises:
            SuiteError: no folder was given, or `clip8.yaml` is malformed.
        """
        return {
            task: f"{path}: no image set is there; {_remedy(image_classes(task))}"
            for task, (path, _) in self._all.items()
            if not path.exists()
        }

    @cached_property
    def _all(self) -> dict[str, tuple[Path, Place]]:
        if self._data is None:
            raise SuiteError("suite 'clip8': its images lie in a folder; give it by --data")
        if not self._data.is_dir():
            raise SuiteError(
                f"--data {self._data}: no such folder; give the one that the image sets of the "
                "suite 'clip8' lie in"
            )
        places = _places(self._data / FILE)
        return {task: (_path(self._data, task, places[task]), places[task]) for task in TASKS}


def _places(file: Path) -> dict[str, Place]:
    if not file.exists():
        return {task: Place() for task in TASKS}
    content = content_of(file, text_of(file), f"a place for some of {', '.join(TASKS)}")
    read: Any = read_as(Places, {task: _as_place(told) for task, told in content.items()}, file)
    return {task: getattr(read, task) for task in TASKS}


def _as_place(told: Any) -> Any:
    return {"path": told} if isinstance(told, str) else told


def _path(root: Path, task: str, place: Place) -> Path:
    if place.path is not None:
        return root / Path(place.path).expanduser()
    known = image_classes(task)
    usual = root / known.folder
    # A whole copy of a data set with several configurations has a folder for each.
    one = usual / known.config if known.config else usual
    return one if one.is_dir() else usual


def _remedy(known: ImageClasses) -> str:
    config = f" ({known.config})" if known.config else ""
    return f"fetch {known.hub}{config}, or say in {FILE} where it lies"
