"""The recipe: what to merge, with which method, into what."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainSerializer,
    SerializeAsAny,
    WithJsonSchema,
)

from copamerge.core.delta import Energy
from copamerge.io.llava import Layout
from copamerge.methods import MergeMethod, method_from
from copamerge.recipe.schedule import Filter, Schedule

Policy = Literal["error", "mean", "first", "drop"]


def _rank(value: Any) -> Any:
    if isinstance(value, Energy) or value in ("full", "max"):
        return value
    if isinstance(value, str) and value.startswith("energy="):
        share = value.removeprefix("energy=")
        try:
            number = float(share)
        except ValueError:
            number = 0.0
        if 0 < number <= 1:
            return Energy(number)
        raise ValueError(f"energy={share}: expected a share above 0 and up to 1, as in energy=0.99")
    try:
        rank = int(value)
    except (TypeError, ValueError):
        raise ValueError("expected full, max, a whole number or energy=SHARE") from None
    if isinstance(value, float | bool) or rank < 1:
        raise ValueError("expected full, max, a whole number of at least 1 or energy=SHARE")
    return rank


def _rank_text(value: "int | str | Energy") -> "int | str":
    return f"energy={value.share!r}" if isinstance(value, Energy) else value


Rank = Annotated[
    Any,
    BeforeValidator(_rank),
    PlainSerializer(_rank_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["full", "max"]},
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": "^energy=(0?\\.[0-9]+|1(\\.0*)?)$"},
            ]
        }
    ),
]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(_Config):
    """One adapter of the merge."""

    adapter: str
    """Folder, weights file, or Hub id `org/name[@revision][:subfolder]`."""

    weight: Schedule = 1.0
    """Multiplies this adapter's contribution; negative subtracts it, 0 leaves it out."""

    alpha: FiniteFloat | None = None
    """LoRA alpha, for weights that come without an adapter_config.json."""


def _source(value: Any) -> Any:
    return {"adapter": value} if isinstance(value, str) else value


class Recipe(_Config):
    """Together with the adapter files, all that decides a merge."""

    method: Annotated[
        SerializeAsAny[MergeMethod],
        BeforeValidator(method_from),
        WithJsonSchema({"title": "Method"}),
    ] = Field(default_factory=lambda: method_from("copa"))
    """Name of a merge method, or a mapping with `name` and its options."""

    adapters: tuple[
        Annotated[
            Source,
            BeforeValidator(_source, json_schema_input_type=str | Source),
        ],
        ...,
    ] = Field(min_length=1)
    """Adapters in order: names, or mappings with `adapter` and `weight`."""

    rank: Rank = "full"
    """Rank of the result: `full` (holds low-rank answers exactly; dense ones, such as those of
    ties, get the rank of the plain sum), `max` (largest input rank), a number, or `energy=0.99`
    (the smallest at which every layer keeps this share of its squared norm)."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the written tensors; `auto` keeps the inputs'. Merging is always in float32."""

    seed: int = 0
    """For random methods: each layer and adapter draws from a stream derived from it."""

    missing: Literal["zero", "error", "present"] = "zero"
    """A layer an adapter lacks: a delta of zero, an error, or means over those that have it."""

    layout: Layout = "peft"
    """How the result is written: `peft` (names of transformers 5), `peft-4.51` (names of
    transformers up to 4.51, for LLaVA) or `llava` (the files and names of LLaVA's own code)."""

    modules_to_save: Policy = "error"
    """Full modules beside the factors (heads, embeddings): an error, their weighted mean, the
    first adapter's, or left out."""

    bias: Policy = "error"
    """Trained base biases (PEFT's bias="all" or "lora_only"): the same choices."""

    base_model: str | None = None
    """Name of the base written into the result; default: what the adapters say."""

    allow_different_bases: bool = False
    """Merge adapters whose configs name different base models."""

    allow_unmatched_targets: bool = False
    """Accept adapters whose config names targets that have no tensors."""

    allow_unknown_config: bool = False
    """Accept options in an adapter's config that copamerge does not know."""


__all__ = ["Filter", "Recipe", "Source"]
