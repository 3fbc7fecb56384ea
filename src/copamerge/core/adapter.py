"""An adapter as the merge sees it: layers by name, read one at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from torch import Tensor

from copamerge.core.lora import LoraModule


class Kind(Enum):
    """How a layer's two factors are stored in a PEFT file."""

    LINEAR = "linear"
    EMBEDDING = "embedding"
    CONV = "conv"


@dataclass(frozen=True)
class LayerInfo:
    """What the headers say about one layer of one adapter."""

    name: str
    kind: Kind
    d_in: int
    d_out: int
    rank: int
    scaling: float
    dtype: str
    kernel: tuple[int, ...] = ()
    """Shape of one row of A as stored, for convolutions: (c_in, k) or (c_in, kh, kw)."""
    has_bias: bool = False
    tensors: tuple[str, ...] = ()
    """Names of the tensors in the file that this layer is made of."""


@dataclass(frozen=True)
class SavedInfo:
    """A full tensor that an adapter carries beside its LoRA factors: not a delta, a value."""

    name: str
    """Name in the base model, without PEFT's prefixes."""
    role: str
    """`bias` (PEFT's bias="all" or "lora_only") or `module` (modules_to_save, embeddings)."""
    shape: tuple[int, ...]
    dtype: str
    tensor: str
    """Name of the tensor in the file."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """One fine-tune: headers in memory, tensors on disk until asked for.

    Every tensor of the file is in exactly one place: a layer, `saved`, or `ignored`, where its
    value says why.
    """

    label: str
    """What the user called it."""
    format: str
    path: Path
    files: tuple[Path, ...]
    """What the adapter's identity is made of, weights first."""
    config: Mapping[str, Any]
    base_model: str | None
    layers: Mapping[str, LayerInfo]
    saved: Mapping[str, SavedInfo]
    ignored: Mapping[str, str]
    notes: tuple[str, ...]
    """What was done to read it that its owner may not expect."""
    n_tensors: int
    _module: Callable[[str], LoraModule] = field(repr=False)
    _tensor: Callable[[str], Tensor] = field(repr=False)
    revision: str | None = None
    """The commit a Hub adapter was resolved to."""

    def module(self, layer: str) -> LoraModule:
        """A, B and scaling of one layer, read now, in the dtype of the file."""
        return self._module(layer)

    def tensor(self, name: str) -> Tensor:
        """Any tensor of the file by its stored name."""
        return self._tensor(name)
