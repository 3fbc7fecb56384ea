"""The figure of how entries of A and B are distributed: uniform, Gaussian, or neither."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from copamerge.analysis.entries import NEAR
from copamerge.analyzing.record import Analysis, LayerEntries
from copamerge.reports.look import COLORS, MARKERS, panels
from copamerge.reports.sketch import MOST, WIDTH, Sketch, brief, called, joined, legend_over

if TYPE_CHECKING:
    from matplotlib.axes import Axes

APART = 0.057
"""The distance between a uniform and a Gaussian distribution of one deviation."""
CLOUD = 300
"""Layers of a kind that are drawn as points, at most: evenly through all."""


def entries(record: Analysis) -> Sketch | None:
    """Whether A is uniform and B Gaussian, as the paper says."""
    names = called(record).adapters
    kinds = ("A", "B")
    found = {
        kind: [
            [x for layer in record.layers if (x := _entries(layer.adapters[i], kind)) is not None]
            for i in range(len(names))
        ]
        for kind in kinds
    }
    if not any(x for rows in found.values() for x in rows):
        return None
    shown = [i for i in range(len(names)) if any(found[kind][i] for kind in kinds)][: 2 * MOST]
    figure, axes = panels(2, WIDTH, max(3.3, 1.3 + 0.3 * len(shown)), width_ratios=(1.15, 1))
    _kurtoses(axes[0], shown, names, found)
    drawn = _plane(axes[1], found)
    legend_over(figure, axes[1])
    total = sum(len(x) for rows in found.values() for x in rows)
    return Sketch(
        "entries",
        "How entries are distributed",
        joined(
            "Left: kurtosis of the entries of A and B, the median over layers with the middle half "
            "(thick) and all of them (thin): 1.8 if uniform, 3 if Gaussian, more with heavy tails.",
            "Right: Kolmogorov-Smirnov distances of each layer to both distributions; U and G mark "
            f"exact ones, which are {APART:g} apart. In the shaded bands, up to {NEAR:g}, a layer "
            "counts as the one or the other.",
            f"{drawn} of {total} points are drawn, evenly through all." if drawn < total else "",
            f"The first {len(shown)} adapters." if len(shown) == 2 * MOST < len(names) else "",
            "The paper's figure 2c finds A uniform and B Gaussian.",
        ),
        figure,
    )


def _entries(one: object, kind: str) -> LayerEntries | None:
    value = getattr(one, kind, None)
    return value if isinstance(value, LayerEntries) else None


def _kurtoses(
    ax: "Axes",
    shown: Sequence[int],
    names: Sequence[str],
    found: dict[str, list[list[LayerEntries]]],
) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for j, kind in enumerate(found):
        for row, i in enumerate(shown):
            values = sorted(x.kurtosis for x in found[kind][i])
            if not values:
                continue
            low, middle, high = (values[round(q * (len(values) - 1))] for q in (0.25, 0.5, 0.75))
            y, color = row + (j - 0.5) * 0.34, COLORS[2 * j]
            ax.plot([values[0], values[-1]], [y, y], color=color, lw=0.8)
            ax.plot([low, high], [y, y], color=color, lw=3.2, solid_capstyle="butt")
            ax.plot(
                [middle], [y], marker=MARKERS[j], color=color, markerfacecolor="white",
                markersize=5, linestyle="",
            )  # fmt: skip
    for at, text in ((1.8, "uniform"), (3.0, "Gaussian")):
        ax.axvline(at, color="#444444", ls=":", lw=1.1)
        ax.annotate(
            text, (at, 1), (2, 1), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=7, color="#444444", va="bottom", ha="center",
        )  # fmt: skip
    low, high = ax.get_xlim()
    ax.set_xscale("log")
    ax.set_xlim(min(1.5, low if low > 0 else 1.5), max(4.0, high))
    ticks = [
        t
        for t in (1, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000)
        if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]
    ]
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(shown)), [brief(names[i]) for i in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set(xlabel="Kurtosis (logarithmic)")
    ax.grid(visible=False, axis="y")


def _plane(ax: "Axes", found: dict[str, list[list[LayerEntries]]]) -> int:
    """How many points were drawn."""
    drawn = 0
    ax.axvspan(0, NEAR, color="#000000", alpha=0.06, lw=0)
    ax.axhspan(0, NEAR, color="#000000", alpha=0.06, lw=0)
    for j, (kind, rows) in enumerate(found.items()):
        points = [x for row in rows for x in row]
        some = points[:: max(1, -(-len(points) // CLOUD))]
        drawn += len(some)
        filled: dict[str, Any] = {"markerfacecolor": "none"} if j else {}
        ax.plot(
            [x.to_uniform for x in some], [x.to_gaussian for x in some],
            marker=MARKERS[j], color=COLORS[2 * j], linestyle="", markersize=3.6 if j else 3,
            markeredgewidth=0.7, alpha=0.75, label=f"{kind}, a layer each", **filled,
        )  # fmt: skip
    for x, y, text in ((0, APART, "U"), (APART, 0, "G")):
        ax.annotate(
            text, (x, y), ha="center", va="center", fontsize=8, fontweight="bold",
            bbox={"boxstyle": "circle,pad=0.25", "fc": "white", "ec": "black", "lw": 0.9},
            annotation_clip=False, zorder=5,
        )  # fmt: skip
    ax.set(xlabel="Distance to a uniform distribution", ylabel="Distance to a Gaussian one")
    ax.set(xlim=(0, None), ylim=(0, None))
    return drawn
