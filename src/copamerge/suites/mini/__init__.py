"""MM-MergeBench mini: the paper's eight seen and four unseen tasks, made by code."""

from copamerge.suites._base import Suite
from copamerge.suites.mini.seen import SEEN
from copamerge.suites.mini.unseen import UNSEEN

MINI = Suite("mini", (*SEEN, *UNSEEN), items=1000, ships=True)

__all__ = ["MINI"]
