"""In which fields two configs differ, and what was read off the layers."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from copamerge.core.adapter import Adapter, LayerInfo
from copamerge.difference.record import ConfigDifference, kept

FIRST = (
    "base_model_name_or_path",
    "revision",
    "task_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "modules_to_save",
    "bias",
)
"""What decides most comes first; the rest follows by name."""
SETS = ("target_modules", "modules_to_save", "exclude_modules")
"""Lists whose order says nothing: PEFT writes them as they come out of a set."""

READ: Mapping[str, Callable[[LayerInfo], str]] = {
    "rank": lambda info: str(info.rank),
    "scaling": lambda info: f"{info.scaling:g}",
    "dtype": lambda info: info.dtype,
    "kind": lambda info: info.kind.value,
}


def config_differences(one: Adapter, other: Adapter) -> tuple[ConfigDifference, ...]:
    """First what was read off the layers, then the configs' own fields.

    What is false, empty or null counts as not set: versions of PEFT differ in what they spell out.
    """
    found = []
    if format_of(one) != format_of(other):
        found.append(_read("format", format_of(one), format_of(other)))
    for name, look in READ.items():
        a, b = (dict(sorted(Counter(map(look, x.layers.values())).items())) for x in (one, other))
        # How many layers there are is no difference of these.
        if a.keys() != b.keys() or (a != b and len(one.layers) == len(other.layers)):
            found.append(_read(name, a, b))
    keys = one.config.keys() | other.config.keys()
    for key in [k for k in FIRST if k in keys] + sorted(keys - set(FIRST)):
        a, b = (kept(_unordered(key, x.config.get(key) or None)) for x in (one, other))
        if _text(a) != _text(b):
            found.append(ConfigDifference(field=key, read=False, one=a, other=b))
    return tuple(found)


def format_of(adapter: Adapter) -> str:
    return f"{adapter.format} {adapter.files[0].suffix}"


def _read(field: str, one: Any, other: Any) -> ConfigDifference:
    return ConfigDifference(field=field, read=True, one=one, other=other)


def _unordered(key: str, value: Any) -> Any:
    texts = isinstance(value, list) and all(isinstance(x, str) for x in value)
    return sorted(value) if key in SETS and texts else value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
