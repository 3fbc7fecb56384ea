"""family.json: what a family is made of, in numbers."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from copamerge.merging.sources import SourceCard

FORMAT = 1
"""The format that is written, and the only one that is read."""
RECORD, SHARED, MASKS = "family.json", "shared.safetensors", "masks.safetensors"

FamilySpace = Literal["core", "delta"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MemberRecord(_Part):
    """One adapter, and what is its own in the family."""

    name: str
    """What `copamerge family take` calls it."""
    adapter: str
    """The adapter it is made of, as it was given."""
    revision: str | None
    """The commit a Hub adapter was resolved to; null for local paths."""
    sha256: dict[str, str]
    """Hash of each of the adapter's files, by name."""
    rank: int = Field(ge=1)
    """Largest rank among the adapter's layers: what `take --rank max` gives."""
    layers: int
    """Layers it adapts; the others stay zero."""
    scalar: FiniteFloat = Field(ge=0)
    """c_n: mean magnitude of its delta, over that of the unified delta under its mask, both summed
    over tensors; 0 where its mask is empty."""
    masked: int
    """Entries where its mask is 1."""
    entries: int
    """Entries that its masks cover."""
    delta_norm: FiniteFloat
    """Frobenius norm of the adapter's delta, biases included."""
    error: FiniteFloat | None
    """Norm of member minus adapter, relative to the adapter's; null where the adapter is zero."""
    dropped: tuple[str, ...]
    """Full tensors of the adapter that are left out (`drop`)."""
    card: SourceCard | None = None
    """What the adapter's own model card says; null in families of versions that did not look."""


class FamilyLayer(_Part):
    """One layer of the family."""

    layer: str
    """Name in the base model."""
    kind: Literal["linear", "embedding", "conv"]
    """`linear`, `embedding` or `conv`."""
    d_out: int = Field(ge=1)
    """Rows of the delta."""
    d_in: int = Field(ge=1)
    """Columns of the delta; for a convolution inputs x kernel."""
    kernel: tuple[int, ...]
    """For convolutions, inputs and kernel; else empty."""
    members: tuple[int, ...]
    """Indices of the members that have the layer, in the order of its masks."""
    rows: int = Field(ge=0)
    """Rows of the unified matrix and the masks; 0 when all members are zero here."""
    columns: int = Field(ge=0)
    """Columns of the same."""
    rank: int = Field(ge=1)
    """Sum of the adapters' ranks, at most the smaller side: what `take --rank full` gives."""
    has_bias: bool
    """Whether a member has a LoRA bias here."""


class Storage(_Part):
    """Bytes on disk."""

    shared: int
    """Size of shared.safetensors."""
    masks: int
    """Size of masks.safetensors."""
    scalars: int
    """8 for each member; they are in family.json."""
    adapters: int
    """Size of the weights files of the adapters, which the family stands for."""


class FamilyRecord(_Part):
    """Everything a family is but its tensors. The same inputs and options give the same bytes."""

    format: Literal[1]
    """Version of this format."""
    method: dict[str, Any]
    """Name and options of the rule: `emr`, and the space it ran in."""
    space: FamilySpace
    """Where unified deltas and masks live: `core` or `delta`."""
    base_model: str | None
    """What the adapters change; null when none of them names it."""
    members: tuple[MemberRecord, ...] = Field(min_length=1)
    """One for each adapter, in order."""
    layers: tuple[FamilyLayer, ...] = Field(min_length=1)
    """By name."""
    dtype: Literal["float32", "bfloat16", "float16"]
    """Type of the shared tensors."""
    adapters_dtype: Literal["float32", "bfloat16", "float16"]
    """The adapters' common type: what `take` writes unless told otherwise."""
    rounding: FiniteFloat | None
    """Relative error from `dtype`, of the shared tensor that lost most; null when all are zero."""
    storage: Storage
    """What the family takes, beside what the adapters do."""
    sha256: dict[str, str]
    """Hash of shared.safetensors and of masks.safetensors."""
    config: dict[str, Any]
    """What the members' adapter_config.json have in common."""
    warnings: tuple[str, ...]
    """What its owner should know."""
    copamerge: str
    """The version that made it."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)
