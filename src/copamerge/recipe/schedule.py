"""Weights that change with the layer: a number, a gradient over depth, or filters by name."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, FiniteFloat


class Filter(BaseModel):
    """A value for the layers whose name contains a text; without a filter, for all others."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    filter: str | None = None
    """Text that the layer's name contains; none (or `*`) matches every layer."""

    value: FiniteFloat | tuple[FiniteFloat, ...]
    """A number, or a gradient: numbers spread evenly from the first to the last layer."""


Schedule = FiniteFloat | tuple[FiniteFloat, ...] | tuple[Filter, ...]


def weight_at(schedule: Schedule, layer: str, place: float) -> float | None:
    """The weight of one layer; `place` is its depth from 0 (first) to 1 (last).

    Filters are tried in order and the first match counts; None when none matches.
    """
    if isinstance(schedule, int | float):
        return float(schedule)
    if schedule and isinstance(schedule[0], Filter):
        for entry in schedule:
            assert isinstance(entry, Filter)
            if entry.filter in (None, "*") or entry.filter in layer:
                return weight_at(entry.value, layer, place)
        return None
    steps = [float(step) for step in schedule if not isinstance(step, Filter)]
    at = place * (len(steps) - 1)
    low = min(int(at), len(steps) - 1)
    high = min(low + 1, len(steps) - 1)
    return steps[low] + (at - low) * (steps[high] - steps[low])


def places(layers: Iterable[str]) -> Mapping[str, float]:
    """Depth of each layer in [0, 1]: its number over the largest number under the same prefix.

    The number is the first path component made of digits (`model.layers.12.mlp` is 12). Layers
    without one count as first when their name says embedding and as last otherwise.
    """
    found: dict[str, tuple[str, int]] = {}
    last: dict[str, int] = defaultdict(int)
    result: dict[str, float] = {}
    for layer in layers:
        match = re.match(r"((?:.*?\.)??)(\d+)(?:\.|$)", layer)
        if match is None:
            result[layer] = 0.0 if "embed" in layer or "wte" in layer else 1.0
            continue
        found[layer] = (match[1], int(match[2]))
        last[match[1]] = max(last[match[1]], int(match[2]))
    for layer, (prefix, number) in found.items():
        result[layer] = number / last[prefix] if last[prefix] else 0.0
    return result
