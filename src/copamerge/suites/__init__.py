"""What models are asked: suites of tasks, tasks of samples. Data only: no model, no torch."""

from copamerge.suites._base import Sample, Split, Suite, Task
from copamerge.suites._table import SUITES, suite_named

__all__ = ["SUITES", "Sample", "Split", "Suite", "Task", "suite_named"]
