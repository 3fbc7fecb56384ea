"""Which files the twelve tasks are read from, and how each is put to a model and scored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites._base import Asking
from copamerge.suites.java import java_there
from copamerge.yamltext import YamlError, loaded

Kind = Literal["plain", "science", "classes", "names", "grounding", "captions"]
"""How records are read: see `records.py`."""
OVERRIDES = "mm-mergebench.yaml"
IMAGE = "<image>"
"""The mark of a picture's place in the texts of the files."""
CHOICES = "Choose an answer from the choices below: "
"""How the released ImageNet runner begins its list of class names; a full stop ends it."""


Files = Mapping[str, tuple[str, ...]]
"""What a file is for -> where it is looked for below the root, in this order."""


def _files(folder: str, test: str, *train: str) -> dict[str, tuple[str, ...]]:
    there: dict[str, tuple[str, ...]] = {"test": (f"instructions/{folder}/{test}.json",)}
    if train:
        there["train"] = tuple(f"instructions/{folder}/{name}.json" for name in train)
    return there


def _coco(folder: str, split: str) -> dict[str, tuple[str, ...]]:
    return {"coco": (f"instructions/{folder}/{split}_coco_type.json",)}


_SCIENCE = _files("ScienceQA", "test", "train") | {
    "problems": ("datasets/ScienceQA/problems.json",),
    "splits": ("datasets/ScienceQA/pid_splits.json",),
}
_IMAGENET = _files("ImageNet", "test", "train") | {
    "classes": ("instructions/ImageNet/classes.txt",)
}
_GROUNDING = _files("Grounding", "test", "train")
_OCRVQA = _files("OCRVQA", "test", "train")
_VIZWIZ = _files("VizWiz-caption", "val", "train") | _coco("VizWiz-caption", "val")
# Which of its train files the released adapter saw is not known: either name will do.
_FLICKR = _files("flickr30k-caption", "val_brief", "train_brief", "train") | _coco(
    "flickr30k-caption", "val"
)
_AOKVQA = _files("AOKVQA", "val")
_IMAGENET_R = _files("ImageNet-R", "test")
_SCREENS = _files("Screen2words", "test") | _coco("Screen2words", "test")

CROP = Asking(1024, template="vicuna_v1", frame="crop")
PAD = Asking(128, template="vicuna_v1", frame="pad")
PAD_LONG = Asking(1024, template="vicuna_v1", frame="pad")


@dataclass(frozen=True)
class Layout:
    """One task: its files below the root, its question's form and its metric."""

    name: str
    title: str
    kind: Kind
    metric: str
    asking: Asking
    files: Files
    text_only: bool = False
    """The runner of this task also asks questions without a picture."""
    images: str = "datasets"

    @property
    def seen(self) -> bool:
        """Whether there is something to train an adapter of its own on."""
        return "train" in self.files

    @property
    def by_line(self) -> bool:
        """Whether the released code pairs answers by line, so that ids need not be unlike."""
        return self.kind in ("classes", "names", "captions")


def layouts() -> tuple[Layout, ...]:
    """The tasks in the paper's order.

    Captions are scored by the paper's mean of seven where Java is, METEOR being a Java program,
    and by the mean of six, a number of its own, where it is not.
    """
    captions = "caption7" if java_there() else "caption6"
    return (
        Layout("scienceqa", "ScienceQA", "science", "science", CROP, _SCIENCE, text_only=True),
        Layout("imagenet", "ImageNet", "classes", "two_way_substring", CROP, _IMAGENET),
        Layout("vqav2", "VQAv2", "plain", "exact_upper", CROP, _files("VQAv2", "val", "train")),
        Layout("grounding", "Grounding", "grounding", "grounding", CROP, _GROUNDING),
        Layout("ocrvqa", "OCRVQA", "plain", "exact_lower_unanswerable", PAD, _OCRVQA),
        Layout("vizwiz", "VizWiz", "captions", captions, PAD, _VIZWIZ),
        Layout("flickr30k", "Flickr30k", "captions", captions, PAD, _FLICKR),
        Layout("iconqa", "IconQA", "plain", "exact_upper", PAD, _files("IconQA", "val", "train")),
        Layout("aokvqa", "A-OKVQA", "plain", "exact_upper", CROP, _AOKVQA, text_only=True),
        Layout("imagenet_r", "ImageNet-R", "names", "two_way_substring", PAD_LONG, _IMAGENET_R),
        Layout("screen2words", "Screen2Words", "captions", captions, PAD, _SCREENS),
        Layout("tabmwp", "TabMWP", "plain", "exact_upper", PAD, _files("TabMWP", "test")),
    )


@dataclass(frozen=True)
class Places:
    """Where the files of the tasks are, by the user's own word or by the usual names."""

    root: Path
    said: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def file(self, layout: Layout, role: str) -> Path:
        """The first of the usual names that is there, or the first of them."""
        if role in (mine := self.said.get(layout.name, {})):
            return self.root / mine[role]
        usual = [self.root / name for name in layout.files[role]]
        return next((path for path in usual if path.is_file()), usual[0])

    def images(self, layout: Layout) -> Path:
        return self.root / self.said.get(layout.name, {}).get("images", layout.images)


def places(root: Path | None) -> Places:
    """Where things are in a root, what its mm-mergebench.yaml says coming first.

    Raises:
        SuiteError: no such folder, or a file that says what cannot be understood.
    """
    if root is None:
        raise SuiteError(
            "suite 'mm-mergebench': its data are read from disk; give the folder that holds "
            "instructions/ and datasets/ by --data"
        )
    if not root.is_dir():
        raise SuiteError(
            f"{root}: no such folder; give the folder that holds instructions/ and datasets/"
        )
    path = root / OVERRIDES
    return Places(root, _said(path) if path.exists() else {})


def _said(path: Path) -> dict[str, dict[str, str]]:
    try:
        content = loaded(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, YamlError) as error:
        reason = " ".join(str(error).split())
        raise SuiteError(f"{path}: not valid YAML ({reason}); correct it") from None
    form = "task: {test: path, train: path, coco: path, images: folder}"
    if not isinstance(content, dict):
        raise SuiteError(f"{path}: not a mapping; write {form}")
    known = {layout.name: layout for layout in layouts()}
    problems = []
    for name, mine in content.items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            problems.append(f"{path}, {name!r}: no task of that name{hint}")
        elif not isinstance(mine, dict):
            problems.append(f"{path}, {name}: not a mapping; write {form}")
        else:
            roles = {*known[name].files, "images"}
            for role, value in mine.items():
                if role not in roles:
                    hint = did_you_mean(str(role), roles)
                    problems.append(f"{path}, {name}: no file is called {role!r}{hint}")
                elif not isinstance(value, str) or not value:
                    problems.append(f"{path}, {name}, {role}: a path is expected (got {value!r})")
    if problems:
        raise SuiteError(problems)
    return content
