"""Names of adapters and folders, as short as tells them apart."""

from collections.abc import Sequence
from pathlib import Path


def short_names(names: Sequence[str]) -> list[str]:
    """The last parts of each path, as many as it takes to tell them apart."""
    parts = [Path(name).parts for name in names]
    for k in range(1, max(map(len, parts)) + 1):
        short = ["/".join(part[-k:]) for part in parts]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)
