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
from copamerge.suites._table import SUITES, suite_named
from copamerge.suites.java import java_there

__all__ = [
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
    "java_there",
    "suite_named",
]
