"""Names as they are shown: short enough for a table, and harmless to a terminal."""

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


def plain(text: str) -> str:
    """Text from a stranger's file without what could steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
