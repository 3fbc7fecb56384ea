"""What adapters are called where room is short."""

from collections.abc import Sequence
from pathlib import Path


def short_names(names: Sequence[str]) -> list[str]:
    """The last parts of each path, as many as it takes to tell them apart."""
    parts = [Path(name).parts for name in names]
    for k in range(1, max(map(len, parts), default=0) + 1):
        short = ["/".join(part[-k:]) for part in parts]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)


FEW = 3
"""Names in front of `and 5 others`."""


def told_together(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """`a: so it is` and `b: so it is` as `a, b: so it is`, by short names, in the first's place."""
    names = dict(zip(labels, short_names(labels), strict=True))
    groups: dict[str, list[str]] = {}
    for text in texts:
        who, colon, rest = text.partition(": ")
        known = colon and who in names
        groups.setdefault(rest if known else text, []).append(names[who] if known else "")
    found = []
    for rest, mine in groups.items():
        few = list(dict.fromkeys(filter(None, mine)))
        more = f" and {len(few) - FEW} others" if len(few) > FEW + 1 else ""
        shown = few[: FEW if more else None]
        found.append(f"{', '.join(shown)}{more}: {rest}" if few else rest)
    return found
