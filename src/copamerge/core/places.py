"""Where layers sit in their model: in which block, and which module of it."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Place(NamedTuple):
    """A layer's name in two: `model.layers.3.mlp.up_proj` is `mlp.up_proj` of `model.layers.3`."""

    block: str
    """The repeated part of the model that holds it; empty outside of such parts."""
    module: str
    """Its name there, the same in every block."""


def places_of(layers: Iterable[str]) -> dict[str, Place]:
    """The place of each layer, blocks in the order of their numbers, modules as they come.

    A number in a name counts blocks if most of its siblings hold the same modules: `layers.0` to
    `layers.31` do, the two linear layers of `ff.net.0.proj` and `ff.net.2` do not. Where blocks
    lie in blocks (`down_blocks.0.attentions.1.transformer_blocks.0`), the innermost is taken.
    """
    names = sorted(layers, key=natural)
    inside = _inside(names)
    return {name: _place(name, inside) for name in names}


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts `h.2` before `h.10`."""
    parts = (part for part in re.split(r"(\d+)", name) if part)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


Siblings = Mapping[str, Mapping[str, set[str]]]
"""What comes before a number -> the number -> the names inside it."""


def _inside(names: Iterable[str]) -> Siblings:
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        parts = name.split(".")
        for i, part in enumerate(parts):
            if part.isdecimal():
                found[".".join(parts[:i])][part].add(".".join(parts[i + 1 :]))
    return found


def _place(name: str, inside: Siblings) -> Place:
    parts = name.split(".")
    for i in reversed(range(1, len(parts) - 1)):
        if parts[i].isdecimal() and _alike(inside[".".join(parts[:i])]):
            return Place(".".join(parts[: i + 1]), ".".join(parts[i + 1 :]))
    return Place("", name)


def _alike(siblings: Mapping[str, set[str]]) -> bool:
    """Whether more than half of them hold the same."""
    counts = Counter(frozenset(names) for names in siblings.values())
    return 2 * counts.most_common(1)[0][1] > len(siblings)
