"""What a method learns about all layers together before it merges the first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

Tally = Mapping[str, Int64[np.ndarray, " k"]]
"""Named counts of one layer, or of several. Integers, so that their sum has no order."""


@dataclass(frozen=True)
class Survey:
    """Numbers of the whole model, by name: a threshold, a majority."""

    adapters: Mapping[str, Mapping[str, float]]
    """Those of each adapter that takes part anywhere, by its key (`FactorStack.keys`)."""
    model: Mapping[str, float] = field(default_factory=dict)
    """Those of all adapters together."""


def added(tallies: Iterable[Tally]) -> Tally:
    """The sum, name by name; the tallies themselves are left as they are."""
    total: dict[str, Int64[np.ndarray, " k"]] = {}
    for tally in tallies:
        for name, counts in tally.items():
            if name in total:
                total[name] += counts
            else:
                total[name] = counts.copy()
    return total
