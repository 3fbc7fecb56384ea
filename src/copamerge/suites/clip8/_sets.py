"""Which classes the eight image sets have, in which order, and in which words CLIP is asked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from copamerge.suites._base import Classes

TASKS = ("cars", "dtd", "eurosat", "gtsrb", "mnist", "resisc45", "sun397", "svhn")
"""In the order of the table."""
FEW = 3
"""How many differences of a list are named."""
SCENE_LETTER = re.compile(r"^/[a-z]/")
"""SUN397 files its scenes by their initial: /a/abbey."""


@dataclass(frozen=True)
class ImageClasses:
    """One of the eight sets, as far as it is known without its pictures."""

    task: str
    title: str
    folder: str
    """Below the root of the data, unless `clip8.yaml` there says otherwise."""
    hub: str
    """The data set on the Hugging Face Hub whose label ids are meant."""
    config: str | None
    """Its configuration, where it has several."""
    samples: dict[str, int]
    """How many pictures its splits have, as far as known."""
    source: str
    checked: tuple[str, ...]
    """Which other sources were compared, and what they say."""
    notes: tuple[str, ...]
    also: tuple[tuple[str, ...], ...]
    """What else data may call the same classes, in the same order."""
    classes: Classes

    def differences(self, names: Sequence[str]) -> list[str]:
        """Where class names, by label id, are not these classes: sentences, or none.

        Capitals, blanks and punctuation are no difference. The first three differences are told,
        and how many more there are.
        """
        ours = self.classes.names
        known = [[_bare(name) for name in spelled] for spelled in (ours, *self.also)]
        theirs = [_bare(name) for name in names]
        if theirs in known:
            return []
        if len(names) != len(ours):
            return [f"{len(names)} classes, and {self.title} has {len(ours)}"]
        # Told against the spelling that is closest: one class out of place is one difference.
        unlike = min(
            (
                [
                    i
                    for i, (one, other) in enumerate(zip(theirs, spelled, strict=True))
                    if one != other
                ]
                for spelled in known
            ),
            key=len,
        )
        told = [f"class {i} is {names[i]!r}, and here {ours[i]!r}" for i in unlike[:FEW]]
        if len(unlike) > FEW:
            told.append(f"and {len(unlike) - FEW} more")
        if sorted(theirs) in [sorted(spelled) for spelled in known]:
            told.append("the same classes in another order")
        return told

    def in_order_of(self, names: Sequence[str]) -> tuple[str, ...] | None:
        """These classes in the order that data name them in; None where they are not the same."""
        theirs = [_bare(name) for name in names]
        for spelled in (self.classes.names, *self.also):
            known = dict(zip(map(_bare, spelled), self.classes.names, strict=True))
            if sorted(theirs) == sorted(known):
                return tuple(known[name] for name in theirs)
        return None


def _bare(name: str) -> str:
    return "".join(filter(str.isalnum, SCENE_LETTER.sub("", name.strip().casefold())))


@lru_cache(maxsize=len(TASKS))
def image_classes(task: str) -> ImageClasses:
    """What is known of a set; `task` is one of `TASKS`."""
    text = (files("copamerge") / "suites" / "clip8" / f"{task}.yaml").read_text(encoding="utf-8")
    told: dict[str, Any] = yaml.safe_load(text)
    return ImageClasses(
        task=task,
        title=told["title"],
        folder=told["folder"],
        hub=told["hub"],
        config=told.get("config"),
        samples=told["samples"],
        source=told["source"],
        checked=tuple(told["checked"]),
        notes=tuple(told.get("notes", ())),
        also=tuple(tuple(spelled) for spelled in told.get("also", ())),
        classes=Classes(tuple(told["names"]), tuple(told["templates"])),
    )
