"""The table of `copamerge diff`: whole model, modules, blocks, and the layers that differ most."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from copamerge.cli._grid import grid, number, show
from copamerge.cli._names import plain

if TYPE_CHECKING:
    from copamerge.difference.record import Difference, Group, LayerDifference, Likeness

LINES = 12
"""Lines that blocks or modules take at most."""
NAMES = 28
"""Columns that names have at least."""
NUMBERS = ("share", "distance", "cosine", "times", "rest", "in", "out", "A")


def print_table(found: "Difference", layers: int, width: int) -> None:
    """Numbers are whole however narrow the terminal is; names give way."""
    rows = [
        (name, [""] * len(NUMBERS) if likeness is None else _cells(likeness))
        for name, likeness in _rows(found, layers)
    ]
    columns = zip(NUMBERS, *(cells for _, cells in rows), strict=True)
    room = max(width - sum(1 + max(map(len, column)) for column in columns), NAMES)
    table = grid("", *NUMBERS)
    for name, cells in rows:
        table.add_row(_fitted(plain(name), room), *cells)
    typer.echo()
    show(table)
    typer.echo()


def _rows(found: "Difference", layers: int) -> "Iterable[tuple[str, Likeness | None]]":
    n = len(found.layers)
    yield f"all {n} shared layers" if n > 1 else "the shared layer", found.whole
    if len(found.by_module) > 1:
        yield "by module", None
        yield from _modules(found.by_module)
    if len(found.by_block) > 1:
        yield "by block", None
        yield from _blocks(found)
    if most := _most(found, layers):
        yield "layers that differ most", None
        stem = len(stem_of(found))
        yield from ((f"  {x.layer[stem:]}", x.likeness) for x in most)
        if left := len(_most(found, 0)) - len(most):
            yield f"  and {left} more: -n 0", None


def _modules(groups: "Sequence[Group]") -> "Iterable[tuple[str, Likeness | None]]":
    shown = groups
    if len(groups) > LINES:
        shown = sorted(groups, key=lambda x: -(x.likeness.share or 0.0))[: LINES - 1]
    yield from ((f"  {group.name}", group.likeness) for group in shown)
    if left := len(groups) - len(shown):
        yield f"  and {left} more: --json", None


def _blocks(found: "Difference") -> "Iterable[tuple[str, Likeness]]":
    """Blocks in the order of the model, as many to a line as it takes."""
    from copamerge.difference import folded

    for names, likeness in folded(found, LINES):
        first = names[0][len(stem_of(found)) :] or "outside of blocks"
        if len(names) == 1:
            yield f"  {first}", likeness
        elif len({name.rpartition(".")[0] for name in names}) == 1:
            yield f"  {first} to {names[-1].rpartition('.')[2]}", likeness
        else:
            yield f"  {_numbered(names)} x{len(names)}", likeness


def _most(found: "Difference", layers: int) -> "Sequence[LayerDifference]":
    """Those with the largest part in the difference; what is rounding is none."""
    limit = found.verdict.equal_below
    some = [x for x in found.layers if (x.likeness.relative_distance or 0.0) > limit]
    some.sort(key=lambda x: -(x.likeness.share or 0.0))
    return some[:layers] if layers else some


def _cells(x: "Likeness") -> list[str]:
    return [
        _share(x.share),
        small(x.relative_distance),
        _signed(x.cosine, "+.4f"),
        small(x.multiple),
        small(x.remainder),
        number(x.input_overlap, ".2f"),
        number(x.output_overlap, ".2f"),
        _signed(x.cosine_A, "+.2f"),
    ]


def _share(value: float | None) -> str:
    if value is None:
        return "-"
    return "<1%" if 0 < value < 0.005 else f"{value:.0%}"


def small(value: float | None) -> str:
    """Three digits, two of what is next to nothing."""
    if value is None:
        return "-"
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def _signed(value: float | None, form: str) -> str:
    # A rounded -0.00 is 0.
    return number(value if value is None else float(format(value, form)) + 0.0, form)


def _fitted(name: str, room: int) -> str:
    """A name without its middle, or its beginning: the end tells layers apart."""
    from rich.cells import cell_len

    if cell_len(name) <= room:
        return name
    parts = name.split(".")
    number = max((i for i, part in enumerate(parts) if part.isdecimal()), default=0)
    for head, tail in [(2, number), (1, number), (1, number + 1), (1, len(parts) - 1)]:
        short = f"{'.'.join(parts[:head])}…{'.'.join(parts[tail:])}"
        if head < tail and cell_len(short) <= room:
            return short
    end = name
    while cell_len(end) >= room:
        end = end[1:]
    return f"…{end}"


def stem_of(found: "Difference") -> str:
    """What all names begin with: `model.layers.`"""
    names = [x.layer.rpartition(".")[0] for x in found.layers]
    begin = _begin(names) if len(names) > 1 else ""
    # A block's own name stays whole.
    return f"{begin}." if begin and begin not in {x.block for x in found.layers} else ""


def _numbered(names: Sequence[str]) -> str:
    """What they begin with, without a last word after a number: `down_blocks.0`."""
    begin = _begin(names)
    parts = begin.split(".")
    return ".".join(parts[:-1]) if len(parts) > 1 and parts[-2].isdecimal() else begin


def _begin(names: Sequence[str]) -> str:
    common = []
    for parts in zip(*(name.split(".") for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)
