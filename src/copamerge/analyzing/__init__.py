"""What `copamerge analyze` does: measure adapters and merges, layer by layer, into one record."""

from copamerge.analyzing.record import Analysis
from copamerge.analyzing.walk import DEFAULT_METHODS, analyze

__all__ = ["DEFAULT_METHODS", "Analysis", "analyze"]
