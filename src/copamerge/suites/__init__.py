"""What models are asked: suites of tasks, tasks of samples. Data only: no model, no torch."""

from copamerge.suites._base import (
    AnswerKind,
    Asking,
    Classes,
    Frame,
    Picture,
    Place,
    Sample,
    Split,
    Suite,
    Task,
    Template,
)
from copamerge.suites._table import FILE_SUITES, SUITES, suite_named

__all__ = [
    "FILE_SUITES",
    "SUITES",
    "AnswerKind",
    "Asking",
    "Classes",
    "Frame",
    "Picture",
    "Place",
    "Sample",
    "Split",
    "Suite",
    "Task",
    "Template",
    "suite_named",
]
