"""What `copamerge diff` says: where two adapters differ, and how much."""

from copamerge.difference.compare import diff_adapters as diff_adapters
from copamerge.difference.likeness import folded as folded
from copamerge.difference.record import Difference as Difference

__all__ = ["Difference", "diff_adapters", "folded"]
