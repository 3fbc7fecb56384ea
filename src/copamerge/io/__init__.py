"""Adapters on disk: recognise, open, write."""

from copamerge.io.open import open_adapter
from copamerge.io.write import AdapterWriter, LayerShape

__all__ = ["AdapterWriter", "LayerShape", "open_adapter"]
