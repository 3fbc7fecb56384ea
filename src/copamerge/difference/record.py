"""The record of a difference: everything that `copamerge diff --json` prints."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

DEEPEST = 6
"""Levels of a value from a stranger's config that are kept."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _writable(cls, value: Any) -> Any:
        return kept(value)


def kept(value: Any, depth: int = 0) -> Any:
    """A value, of a stranger perhaps, as JSON can hold it: finite, valid Unicode, not too deep."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | dict) and depth == DEEPEST:
        return "(nested deeper)"
    if isinstance(value, list | tuple):
        return [kept(x, depth + 1) for x in value]
    if isinstance(value, dict):
        return {kept(k): kept(x, depth + 1) for k, x in value.items()}
    return value


class Side(_Part):
    """One of the two adapters."""

    adapter: str
    """As it was called."""
    revision: str | None
    """The commit a Hub adapter was resolved to."""
    format: str
    base_model: str | None
    sha256: dict[str, str]
    """Hash of each file, by name, weights first."""
    layers: int
    ranks: dict[int, int]
    """Rank -> number of layers."""
    dtypes: dict[str, int]
    """Type of the stored factors -> number of layers."""
    delta_norm: float
    """Frobenius norm over all its layers, also those that the other lacks."""
    notes: tuple[str, ...]


class ConfigDifference(_Part):
    """One thing that is not the same in what the two adapters say of themselves."""

    field: str
    """A key of adapter_config.json, or with `read` one of: format, rank, scaling, dtype, kind."""
    read: bool
    """Whether it was read off the layers (name -> number of layers) and not in the config."""
    one: Any
    """Null: not set. What is false or empty counts as not set."""
    other: Any


class Likeness(_Part):
    """How two deltas a (the first adapter's) and b (the second's) compare.

    Of one layer, or of several as one vector. A number that is not to be had is null, and
    `missing` says why.
    """

    layers: int
    norm_one: float
    norm_other: float
    distance: float
    """`||a - b||_F`"""
    share: float | None
    """Its square over that of all shared layers: where the difference lies."""
    relative_distance: float | None
    """`||a - b||_F / max(||a||_F, ||b||_F)`: 0 equal, 1.41 unrelated and of one norm, 2
    opposite."""
    cosine: float | None
    cosine_chance: float | None
    """Root mean square of the cosine of deltas that have nothing to do with each other."""
    multiple: float | None
    """The c for which `||a - c b||_F` is least."""
    remainder: float | None
    """`||a - c b||_F / ||a||_F` with that c: 0 multiples of each other, 1 nothing in common."""
    input_overlap: float | None
    """Of the directions that the two read from: mean squared cosine of the principal angles, over
    the smaller rank. 1: one space holds the other. A mean over layers."""
    output_overlap: float | None
    """The same of the directions that they write to."""
    input_chance: float | None
    """What the input overlap is for unrelated deltas of these ranks."""
    output_chance: float | None
    cosine_A: float | None
    """Mean cosine between rows of A with the same index: about 0 for unrelated starts, near 1 for
    a shared one that training moved little."""
    rows_of_A: int
    """How many rows that is a mean over."""
    missing: dict[str, str]
    """Name of a null above -> why it is null."""


class BiasDifference(_Part):
    """LoRA's own bias of one layer, scaling folded in; an adapter without one counts as zero."""

    norm_one: float
    norm_other: float
    same: bool
    """Bit for bit, scaling included."""
    relative_distance: float | None
    """Null where both are zero."""
    multiple: float | None
    remainder: float | None
    """Null, like the multiple, where one of them is zero."""


Factors = Literal["same", "one_rounded", "other_rounded", "unlike"]


class LayerDifference(_Part):
    """One layer that both adapters have."""

    layer: str
    block: str
    """The repeated part of the model that holds it; empty outside of such parts."""
    module: str
    """Its name there."""
    d_out: int
    d_in: int
    ranks: tuple[int, int]
    scalings: tuple[float, float]
    dtypes: tuple[str, str]
    factors: Factors
    """`same`: A and B bit for bit as stored. `one_rounded`: the first's are the second's, rounded
    to the first's type; `other_rounded` the other way round. Scaling is apart."""
    likeness: Likeness
    bias: BiasDifference | None
    """Null where neither has one."""


class Lone(_Part):
    """A layer that one adapter has and the other lacks."""

    layer: str
    norm: float


class Unlike(_Part):
    """A layer that both have in shapes or kinds that cannot be compared."""

    layer: str
    one: str
    other: str
    norm_one: float
    norm_other: float


class Group(_Part):
    """Some of the shared layers together."""

    name: str
    likeness: Likeness


class FullTensor(_Part):
    """A full tensor beside the factors: a value, not a delta."""

    name: str
    role: str
    """`bias` or `module`."""
    found: Literal["equal", "differs", "other_shape", "only_in_one", "only_in_other"]
    """`equal`: the same values, whatever the type."""
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    dtypes: tuple[str | None, str | None]
    relative_distance: float | None
    """Norm of the difference over the larger norm."""
    missing: str | None
    """Why there is no distance."""


Kind = Literal[
    "same_file",
    "same_factors",
    "rounded",
    "zero",
    "same_delta",
    "scaled",
    "scaled_by_layer",
    "all_but",
    "close",
    "opposite",
    "shared_start",
    "unrelated",
    "related",
    "nothing_shared",
]


class Verdict(_Part):
    """How the two relate, in a word and in a sentence."""

    kind: Kind
    sentence: str
    equal_below: float
    """Relative distance up to which two deltas count as the same: rounding of the coarser of the
    types that they are stored in."""
    differing: tuple[str, ...] = ()
    """With `all_but`: the layers."""


class Difference(_Part):
    """Everything `copamerge diff` says."""

    one: Side
    other: Side
    verdict: Verdict
    same: bool
    """Whether both do the same to the bit: layers, factors, scalings, biases, full tensors."""
    same_files: bool
    """Whether weights and config are the same byte for byte."""
    same_weights: bool
    """Whether the weights files are, whatever the configs say."""
    config: tuple[ConfigDifference, ...]
    whole: Likeness
    """All shared layers as one vector."""
    by_module: tuple[Group, ...]
    by_block: tuple[Group, ...]
    """In the order of the model; layers outside of blocks under an empty name."""
    layers: tuple[LayerDifference, ...]
    """Those that both have, in the order of the model."""
    only_in_one: tuple[Lone, ...]
    only_in_other: tuple[Lone, ...]
    unlike: tuple[Unlike, ...]
    full_tensors: tuple[FullTensor, ...]
    warnings: tuple[str, ...]
