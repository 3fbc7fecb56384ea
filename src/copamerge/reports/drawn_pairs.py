"""Figures of pairs of adapters: how they lie to each other, beside what chance would give."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from copamerge.analyzing.record import Analysis, Pair
from copamerge.reports.look import look, panels
from copamerge.reports.sketch import (
    WIDTH,
    Sketch,
    brief,
    called,
    joined,
    left_out,
    legend_over,
    said_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 3
"""Adapters up to which pairs are points; above they are cells."""
CELLS = 12
"""Adapters up to which a cell has room for its number."""


@dataclass(frozen=True)
class Relation:
    """One number of a pair."""

    title: str
    of: Callable[[Pair], float | None]
    chance: Callable[[Pair], float | None]
    ends: tuple[float, float] = (0.0, 1.0)
    diverging: bool = False
    """What is neither more nor less lies in the middle between the ends."""


RELATIONS = (
    Relation("Cosine of deltas", lambda p: p.cosine, lambda p: 0.0, (-1.0, 1.0), diverging=True),
    Relation(
        "Cosine of A's rows", lambda p: p.cosine_A, lambda p: 0.0, (-1.0, 1.0), diverging=True
    ),
    Relation("Overlap of what is read", lambda p: p.input.mean, lambda p: p.input.chance),
    Relation("Overlap of what is written", lambda p: p.output.mean, lambda p: p.output.chance),
    Relation("Sign conflict", lambda p: p.sign_conflict, lambda p: 0.5, diverging=True),
)


def pairs(record: Analysis) -> Sketch | None:
    """Every relation of every pair."""
    found = [p for p in record.pairs if any(r.of(p) is not None for r in RELATIONS)]
    if not found:
        return None
    names = called(record).adapters
    few = len(names) <= FEW
    figure = _points(found, names) if few else _cells(record, names)
    gone = [
        (f"{names[p.one]} and {names[p.other]}", p.why_null) for p in record.pairs if p not in found
    ]
    return Sketch(
        "pairs",
        "How adapters lie to each other",
        joined(
            "Cosine of deltas: all shared layers as one vector. Cosine of A's rows: near 1 for a "
            "shared random start. Overlaps: mean squared cosine of the principal angles between "
            "the spaces that two adapters read from or write to. Sign conflict: share of entries "
            "with opposite signs.",
            "Bars mark what unrelated adapters would have."
            if few
            else "Beside each title is what unrelated adapters would have. Hatched cells have no "
            "number.",
            "Rows of A are compared only where ranks are equal."
            if any(p.cosine_A is None for p in found)
            else "",
            left_out(gone[:6]),
            f"{len(gone) - 6} more are not drawn." if len(gone) > 6 else "",
        ),
        figure,
    )


def _points(found: list[Pair], names: tuple[str, ...]) -> "Figure":
    figure, (ax,) = panels(1, WIDTH, 3.1)
    for i, pair in enumerate(found):
        y0 = (i - (len(found) - 1) / 2) * 0.2
        there = [(k, x) for k, r in enumerate(RELATIONS) if (x := r.of(pair)) is not None]
        ax.plot(
            [x for _, x in there],
            [k + y0 for k, _ in there],
            **look(i) | {"linestyle": "", "markersize": 6.5},
            label=f"{brief(names[pair.one])} and {brief(names[pair.other])}",
        )
    for k, relation in enumerate(RELATIONS):
        levels = {x for p in found if (x := relation.chance(p)) is not None}
        for level in levels:
            ax.plot([level, level], [k - 0.36, k + 0.36], color="#444444", lw=2.4, zorder=1)
    ax.set_yticks(range(len(RELATIONS)), [r.title for r in RELATIONS])
    ax.set_ylim(len(RELATIONS) - 0.4, -0.6)
    low = min([0.0, *(x for p in found for r in RELATIONS if (x := r.of(p)) is not None)])
    ax.set_xlim(min(-0.08, low - 0.06), 1.05)
    ax.axvline(0, color="#888888", lw=0.8)
    ax.plot([], [], color="#444444", lw=2.4, label="by chance")
    legend_over(figure, ax)
    return figure


def _cells(record: Analysis, names: tuple[str, ...]) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    n = len(names)
    size = min(3.3, max(2.2, 0.5 + 0.3 * n))
    figure = Figure(
        figsize=(3 * size, 2 * (size + 0.25)),
        layout=ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09),
    )
    axes = list(figure.subplots(2, 3, squeeze=False).flat)
    for ax, relation in zip(axes, RELATIONS, strict=False):
        _matrix(ax, record, relation, n)
    axes[-1].axis("off")
    list_of = "\n".join(f"{i:>2}  {brief(name, 26)}" for i, name in enumerate(names[:24], 1))
    if n > 24:
        list_of += f"\nand {n - 24} more"
    axes[-1].text(
        0, 1, list_of, transform=axes[-1].transAxes, va="top", fontsize=8 if n <= 12 else 6,
        linespacing=1.5,
    )  # fmt: skip
    return figure


def _matrix(ax: "Axes", record: Analysis, relation: Relation, n: int) -> None:
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import NullLocator

    maps: dict[bool, Any] = {True: _colours("diverging"), False: _colours("sequential")}
    scale = Normalize(*relation.ends)
    for pair in record.pairs:
        row, column = max(pair.one, pair.other), min(pair.one, pair.other)
        value, corner = relation.of(pair), (column - 0.5, row - 0.5)
        if value is None:
            ax.add_patch(Rectangle(corner, 1, 1, fc="white", ec="#999999", hatch="////", lw=0.5))
            continue
        color = maps[relation.diverging](scale(value))
        ax.add_patch(Rectangle(corner, 1, 1, fc=color, ec="white", lw=0.8))
        if n <= CELLS:
            light = sum(w * c for w, c in zip((0.299, 0.587, 0.114), color[:3], strict=True))
            ax.text(
                column, row, _short(value), ha="center", va="center",
                fontsize=7 if n <= 9 else 5.5, color="black" if light > 0.5 else "white",
            )  # fmt: skip
    step = -(-n // 12)
    ax.set(xlim=(-0.5, n - 1.5), ylim=(n - 0.5, 0.5), aspect="equal")
    ax.set_xticks(range(0, n - 1, step), [str(i + 1) for i in range(0, n - 1, step)])
    ax.set_yticks(range(1, n, step), [str(i + 1) for i in range(1, n, step)])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    levels = [x for p in record.pairs if (x := relation.chance(p)) is not None]
    said_above(ax, f"{relation.title}\nby chance {_range(levels)}")


def _colours(kind: str) -> Any:
    """White where there is nothing, darker with more: numbers stay legible, in grey as well."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = {
        "diverging": ("#b35806", "#fdb863", "#f7f7f7", "#92c5de", "#2166ac"),
        "sequential": ("#ffffff", "#c6dbef", "#6baed6", "#2171b5", "#08306b"),
    }[kind]
    return LinearSegmentedColormap.from_list(kind, stops)


def _short(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _range(levels: list[float]) -> str:
    if not levels:
        return "not known"
    low, high = f"{min(levels):.2g}", f"{max(levels):.2g}"
    return low if low == high else f"{low} to {high}"
