"""What models are asked: suites of tasks, tasks of samples. Data only: no model, no torch."""

from copamerge.suites._base import (
    AnswerKind,
    Asking,
    Check,
    Classes,
    Frame,
    Looking,
    Picture,
    Place,
    Sample,
    Split,
    Suite,
    Task,
    TaskCheck,
    Template,
)
from copamerge.suites._table import FILE_SUITES, SUITES, check_suite, suite_named
from copamerge.suites.java import java_there

__all__ = [
    "FILE_SUITES",
    "SUITES",
    "AnswerKind",
    "Asking",
    "Check",
    "Classes",
    "Frame",
    "Looking",
    "Picture",
    "Place",
    "Sample",
    "Split",
    "Suite",
    "Task",
    "TaskCheck",
    "Template",
    "check_suite",
    "java_there",
    "suite_named",
]
