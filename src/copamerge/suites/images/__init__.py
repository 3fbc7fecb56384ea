"""Sets of labelled images from any folder, as tasks for models that choose among labels.

`open_image_set` reads one set; `task_of` makes a task of it that reads nothing until it is asked;
`suitefile.py` reads a YAML file that lists several.
"""

from copamerge.suites.images._check import check
from copamerge.suites.images._set import (
    KINDS,
    ImageSet,
    Kind,
    Options,
    Part,
    kind_of,
    open_image_set,
)
from copamerge.suites.images._task import (
    METRIC,
    Asked,
    Where,
    labels_suite,
    read_for,
    set_of,
    task_from,
    task_of,
)

__all__ = [
    "KINDS",
    "METRIC",
    "Asked",
    "ImageSet",
    "Kind",
    "Options",
    "Part",
    "Where",
    "check",
    "kind_of",
    "labels_suite",
    "open_image_set",
    "read_for",
    "set_of",
    "task_from",
    "task_of",
]
