"""Figures of merges beside their adapters: which directions they keep, and whose."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from copamerge.analyzing.record import AnalysedMerge, Analysis, DirectionSummary, Quartiles
from copamerge.reports.look import COLORS, look, panels
from copamerge.reports.sketch import (
    MOST,
    WIDTH,
    Sketch,
    along,
    brief,
    by_index,
    called,
    joined,
    left_out,
    legend_over,
    said_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BANDS = 3
"""Merges up to which the middle half of layers is shaded: more shades hide each other."""
SMALL = 8
"""Adapters up to which each has a panel of its own."""

Named = tuple[int, str, AnalysedMerge]


def kept(record: Analysis) -> Sketch | None:
    """What is left of each adapter in each merge: one row an adapter."""
    merges = _there(record)
    names = called(record).adapters
    rows = [i for i in range(len(names)) if any(m.traces[i].directions for _, _, m in merges)]
    if not merges or not rows:
        return None
    titles = (
        ("preserved_energy", "Energy in kept directions, %", 100),
        ("cosine", "Cosine to the merge", 1),
        ("interference_rescaled", "Interference, size aside", 1),
    )
    figure, axes = panels(3, WIDTH, max(2.5, 1.2 + 0.3 * len(rows)), sharey=True)
    for ax, (field, title, times) in zip(axes, titles, strict=True):
        for j, (style, name, merge) in enumerate(merges):
            dodge = (j - (len(merges) - 1) / 2) * min(0.16, 0.6 / len(merges))
            found = [
                (row + dodge, times * value)
                for row, i in enumerate(rows)
                if (value := getattr(merge.traces[i], field)) is not None
            ]
            ax.plot(
                [x for _, x in found], [y for y, _ in found],
                **look(style) | {"linestyle": ""}, label=brief(name),
            )  # fmt: skip
        low = min(0.0, ax.get_xlim()[0]) if field == "cosine" else 0.0
        ax.set(xlabel=title, xlim=(min(low, -0.03 * times), 1.04 * times))
    axes[0].set_yticks(range(len(rows)), [brief(names[i]) for i in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    legend_over(figure, axes[0])
    n = len(record.adapters)
    return Sketch(
        "kept",
        "What is left of each adapter",
        joined(
            "Left: share of the adapter's energy in directions that the merge sends within "
            f"{record.within_degrees:g} degrees of where the adapter does, by chance none. Middle: "
            "cosine of the two deltas; unrelated ones have 0"
            + (
                f", and the mean of {n} unrelated adapters of one norm has {n**-0.5:.2f} to each"
                if n > 1
                else ""
            )
            + ". Right: relative change of the adapter's delta on what it reads, for the best "
            "multiple of the merge: 0 none, 1 as if it were gone.",
            _gone(record),
            left_out([(names[i], record.adapters[i].why_null) for i in range(n) if i not in rows]),
        ),
        figure,
    )


def directions(record: Analysis) -> Sketch | None:
    """The paper's claim: which singular directions point where they did, and how strongly."""
    merges = [m for m in _there(record) if any(m[2].by_direction)]
    if not merges:
        return None
    figure, axes = panels(2, WIDTH, 3.3)
    curves = [(style, name, _mean(merge.by_direction)) for style, name, merge in merges]
    most = max(len(curve) for _, _, curve in curves)
    shown, bands = along(most), len(curves) <= BANDS
    for style, name, curve in curves:
        _curve(axes[0], shown, [one.angle for one in curve], style, name, bands=bands)
        _curve(axes[1], shown, [one.gain for one in curve], style, name, bands=bands)
    _angles(axes[0], record.within_degrees, labelled=True)
    _gains(axes[1], [q for _, _, curve in curves for q in (one.gain for one in curve)])
    for ax, title in zip(axes, ("Where it points", "How strongly it acts"), strict=True):
        by_index(ax, most)
        ax.set_xlabel("Singular direction k, strongest first")
        said_above(ax, title)
    legend_over(figure, axes[0])
    return Sketch(
        "directions",
        "Which directions survive",
        joined(
            "Left: angle between what an adapter and what the merge make of the adapter's "
            "singular direction k; 0 is unchanged, 90 chance. Right: gain, how strongly the merge "
            "acts along that direction, 1 as in the adapter.",
            "Lines are medians over layers"
            + (", shades the middle half of layers" if bands else "")
            + (", both as the mean over adapters." if bands else ", as the mean over adapters.")
            if len(record.adapters) > 1
            else "Lines are medians over layers, shades the middle half of layers.",
            "Where ranks differ, the mean is over the adapters that have a direction k."
            if len({len(one) for _, _, m in merges for one in m.by_direction if one}) > 1
            else "",
            _gone(record),
        ),
        figure,
    )


def directions_by_adapter(record: Analysis) -> Sketch | None:
    """The same angles for each adapter: whose directions a merge gives up."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    merges = [m for m in _there(record) if any(m[2].by_direction)]
    names = called(record).adapters
    rows = [i for i in range(len(names)) if any(m.by_direction[i] for _, _, m in merges)]
    if not merges or not 2 <= len(rows) <= SMALL:
        return None
    columns = len(rows) if len(rows) <= 3 else -(-len(rows) // 2) if len(rows) != 4 else 4
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.2 * lines), layout=ConstrainedLayoutEngine(w_pad=0.05))
    grid = list(figure.subplots(lines, columns, squeeze=False, sharey=True, sharex=True).flat)
    most = max(len(m.by_direction[i]) for i in rows for _, _, m in merges)
    for ax, i in zip(grid, rows, strict=False):
        for style, name, merge in merges:
            found = merge.by_direction[i]
            angles = [one.angle for one in found]
            _curve(ax, along(len(found)), angles, style, name, bands=len(merges) <= BANDS)
        _angles(ax, record.within_degrees)
        by_index(ax, most)
        said_above(ax, brief(names[i]))
    for ax in grid[len(rows) :]:
        ax.axis("off")
    for k, ax in enumerate(grid[: len(rows)]):
        if k % columns:
            ax.set_ylabel("")
        if k + columns >= len(rows):
            ax.set_xlabel("Direction k")
            ax.tick_params(labelbottom=True)
    legend_over(figure, grid[0])
    return Sketch(
        "directions-by-adapter",
        "Which directions survive, adapter by adapter",
        joined(
            "Angle between what the adapter and what the merge make of its singular direction k, "
            "the median over layers"
            + (" with the middle half of layers" if len(merges) <= BANDS else "")
            + "; 90 degrees is chance.",
            _gone(record),
        ),
        figure,
    )


def _there(record: Analysis) -> list[Named]:
    names = called(record).merges
    found = [(j, names[j], merge) for j, merge in enumerate(record.merges) if merge.traces]
    return found[:MOST]


def _gone(record: Analysis) -> str:
    names = called(record).merges
    said = [(n, m.failed) for n, m in zip(names, record.merges, strict=True) if not m.traces]
    more = sum(bool(m.traces) for m in record.merges) - MOST
    return joined(left_out(said), f"The first {MOST} merges are drawn." if more > 0 else "")


def _mean(found: Sequence[Sequence[DirectionSummary]]) -> list[DirectionSummary]:
    """Over adapters that have a direction k."""
    curve = []
    for k in range(max(map(len, found))):
        there = [one[k] for one in found if len(one) > k]
        curve.append(
            DirectionSummary(
                angle=_middle([x.angle for x in there]), gain=_middle([x.gain for x in there])
            )
        )
    return curve


def _middle(found: Sequence[Quartiles]) -> Quartiles:
    return Quartiles(
        low=fmean(x.low for x in found),
        median=fmean(x.median for x in found),
        high=fmean(x.high for x in found),
    )


def _curve(
    ax: "Axes",
    shown: Sequence[int],
    found: Sequence[Quartiles],
    style: int,
    name: str,
    *,
    bands: bool,
) -> None:
    at = [k for k in shown if k < len(found)]
    x = [k + 1 for k in at]
    if bands:
        low, high = [found[k].low for k in at], [found[k].high for k in at]
        ax.fill_between(x, low, high, color=COLORS[style % len(COLORS)], alpha=0.14, lw=0)
    each: dict[str, Any] = look(style) | {"markevery": max(1, len(at) // 8), "markersize": 4}
    ax.plot(x, [found[k].median for k in at], label=brief(name), **each)


def _angles(ax: "Axes", within: float, *, labelled: bool = False) -> None:
    top = ax.get_ylim()[1]
    limit = 185 if top > 112 else 100
    ax.set_ylim(-2, limit)
    ax.set_yticks(range(0, 181, 45) if limit > 100 else range(0, 91, 15))
    ax.axhline(90, color="#444444", ls=":", lw=1.3)
    ax.axhline(within, color="#444444", ls=(0, (6, 3)), lw=0.9)
    ax.set_ylabel("Angle, degrees")
    if labelled:
        for y, text in ((90, "chance"), (within, "kept\nbelow")):
            ax.annotate(
                text, (1, y), (3, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", fontsize=7, color="#444444", va="center",
            )  # fmt: skip


def _gains(ax: "Axes", found: Sequence[Quartiles]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    ax.axhline(1, color="#444444", ls=":", lw=1.3)
    positive = [q.median for q in found if q.median > 0]
    if positive and max(positive) > 6 * max(1e-3, min(positive)) and max(positive) > 3:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(bottom=0)
    ax.set_ylabel("Gain")
