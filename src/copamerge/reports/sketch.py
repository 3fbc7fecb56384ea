"""What figures of an analysis share: names that fit, many lines at once, what is not drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from copamerge.analyzing.record import Analysis
from copamerge.labels import short_names
from copamerge.reports.document import visible
from copamerge.reports.look import look, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 8
"""Lines in a panel that are told apart; more are drawn alike, with their median."""
WIDTH = 7.4
"""Inches, of every figure: a page shows all alike, with letters of one size."""
LETTERS = 20
"""Letters of a name that a figure has room for."""
POINTS = 24
"""Places along an axis that a line is drawn through, at most."""


@dataclass(frozen=True)
class Sketch:
    """A figure before it is a file."""

    name: str
    title: str
    caption: str
    figure: "Figure"


@dataclass(frozen=True)
class Called:
    """What adapters and merges are called: last parts of their paths, harmless, in full."""

    adapters: tuple[str, ...]
    merges: tuple[str, ...]


def called(record: Analysis) -> Called:
    """Names to print; two of the same name get a number."""
    return Called(
        _unlike(short_names([one.adapter for one in record.adapters])),
        _unlike(short_names([one.name for one in record.merges])),
    )


def _unlike(names: Sequence[str]) -> tuple[str, ...]:
    flat = [visible(" ".join(name.split())) for name in names]
    twice = {name for name in flat if flat.count(name) > 1}
    return tuple(f"{name} ({i})" if name in twice else name for i, name in enumerate(flat, 1))


def brief(name: str, letters: int = LETTERS) -> str:
    """A name for a figure, the middle of a long one left out."""
    if len(name) > letters:
        head = letters // 2
        name = f"{name[:head]}…{name[head + 1 - letters :]}"
    return plain(name)


def several(
    ax: "Axes",
    x: Sequence[float],
    rows: Sequence[tuple[int, str, Sequence[float | None]]],
    **more: Any,
) -> None:
    """A line for each row of style, name and values; None breaks a line.

    Rows may be shorter than x. More than `MOST` are drawn thin and grey, with their median.
    """
    nan = float("nan")
    lines = [(style, name, [nan if y is None else y for y in ys]) for style, name, ys in rows]
    if len(lines) <= MOST:
        for style, name, ys in lines:
            each = look(style) | {"markevery": max(1, len(ys) // 8)} | more
            ax.plot(x[: len(ys)], ys, label=brief(name), **each)
        return
    for _, _, ys in lines:
        ax.plot(x[: len(ys)], ys, color="#8c8c8c", lw=0.7)
    middle = []
    for k in range(len(x)):
        there = [ys[k] for _, _, ys in lines if k < len(ys) and ys[k] == ys[k]]
        middle.append(median(there) if there else nan)
    ax.plot(x, middle, color="black", lw=2.2, label=f"Median of {len(lines)}")


def legend_over(figure: "Figure", ax: "Axes") -> None:
    """One legend for the whole figure, in as many columns as there is room for."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels:
        return
    inches = 0.55 + 0.075 * max(map(len, labels))
    columns = max(1, min(len(labels), int(figure.get_figwidth() / inches)))
    rows = -(-len(labels) // columns)
    figure.legend(
        handles, labels, loc="outside upper center", ncols=-(-len(labels) // rows), frameon=False
    )


def along(count: int) -> list[int]:
    """Places 0 to count - 1 that a line is drawn through: all of few, ever fewer of many."""
    if count <= POINTS:
        return list(range(count))
    ratio = count ** (1 / (POINTS - 1))
    found = {round(ratio**i) - 1 for i in range(POINTS)} | set(range(4)) | {count - 1}
    return sorted(k for k in found if 0 <= k < count)


def by_index(ax: "Axes", count: int) -> None:
    """An axis of indices from 1: whole numbers, by powers of two where there are many."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if count > POINTS:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def said_above(ax: "Axes", text: str) -> None:
    """What a panel shows, over it."""
    ax.set_title(text, loc="left")


def left_out(found: Sequence[tuple[str, str | None]]) -> str:
    """A sentence on what is not drawn, with the reason; empty where all is."""
    if not found:
        return ""
    return f"Not drawn: {'; '.join(f'{name} ({why})' if why else name for name, why in found)}."


def joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def many(count: int, what: str = "adapters") -> str:
    """What `several` does with more than it can tell apart; empty otherwise."""
    if count <= MOST:
        return ""
    return f"All {count} {what} are thin lines, their median the thick one."
