"""The eight sets of `clip8`, tiny, in the layout of the Hub's copies."""

from pathlib import Path

import numpy as np

from copamerge.suites.clip8 import TASKS, image_classes

SIDE = 16
CLASSES = 4
"""How many of a set's classes have pictures."""


def pictures(task: str, each=None):
    """x (uint8, N x 16 x 16 x 3), y, split: each class of its own colour, with noise.

    The classes with pictures are spread over the whole list, the last one among them.
    """
    each = each or {"train": 5, "test": 2}
    count = len(image_classes(task).classes.names)
    labels = np.unique(np.linspace(0, count - 1, CLASSES).round().astype(int))
    generator = np.random.default_rng(TASKS.index(task))
    x, y, split = [], [], []
    for part, number in each.items():
        for label in labels.tolist():
            colour = np.random.default_rng(label).integers(0, 200, 3)
            for _ in range(number):
                x.append((colour + generator.integers(0, 50, (SIDE, SIDE, 3))).astype(np.uint8))
                y.append(label)
                split.append(part)
    return np.stack(x), np.array(y), np.array(split)


def write_clip8(root: Path, tasks=TASKS, each=None, names=None) -> Path:
    """ROOT/<folder>, each written by `save_to_disk`; `names` are other label names by task."""
    from pictures_on_disk import as_tables

    for task in tasks:
        known = image_classes(task)
        spelled = (names or {}).get(task, known.classes.names)
        as_tables(root / known.folder, *pictures(task, each), names=spelled)
    return root


def write_clip8_arrays(root: Path, tasks=TASKS, each=None) -> Path:
    """The same as ROOT/<task>.npz and a clip8.yaml that says so, for where `datasets` is not."""
    from pictures_on_disk import as_npz

    root.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        as_npz(
            root / f"{task}.npz", *pictures(task, each), classes=image_classes(task).classes.names
        )
    (root / "clip8.yaml").write_text("".join(f"{task}: {task}.npz\n" for task in tasks))
    return root
