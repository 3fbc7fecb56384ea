"""Sets of labelled images from any folder, as tasks for models that choose among labels.

`open_image_set` reads one set; `task_of` makes a task of it that reads nothing until it is asked;
`suitefile.py` reads a YAML file that lists several.
"""

from copamerge.suites.images._set import KINDS, ImageSet, Kind, Options, Part, open_image_set
from copamerge.suites.images._task import METRIC, Where, labels_suite, task_of

__all__ = [
    "KINDS",
    "METRIC",
    "ImageSet",
    "Kind",
    "Options",
    "Part",
    "Where",
    "labels_suite",
    "open_image_set",
    "task_of",
]
