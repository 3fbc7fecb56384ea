"""Figures of adapters on their own: singular values, where their energy is, how entries lie."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from copamerge.analysis.entries import NEAR
from copamerge.analyzing.record import AnalysedAdapter, Analysis, LayerEntries
from copamerge.core.places import natural
from copamerge.reports.heat import short_labels
from copamerge.reports.look import COLORS, MARKERS, look, panels
from copamerge.reports.sketch import (
    MOST,
    Sketch,
    along,
    brief,
    by_index,
    called,
    joined,
    left_out,
    legend_over,
    many,
    said_above,
    several,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

APART = 0.057
"""The distance between a uniform and a Gaussian distribution of one deviation."""
CLOUD = 300
"""Layers of a kind that are drawn as points, at most: evenly through all."""
MODULES = 14
"""Modules that are drawn, at most: those with the most energy."""
FLOOR = 1e-4
"""Singular values below this share of the first are not drawn."""


def spectra(record: Analysis) -> Sketch | None:
    """Singular values of each adapter, and how many directions their plain sum needs."""
    from matplotlib.ticker import NullLocator

    names = called(record).adapters
    rows = [(i, names[i], one.spectrum) for i, one in enumerate(record.adapters) if one.spectrum]
    if not rows:
        return None
    energy = record.together.energy
    figure, axes = panels(2 if energy else 1, 7.4 if energy else 4.6, 3.3)
    ax, most = axes[0], max(len(row) for _, _, row in rows)
    shown = along(most)
    drawn = [
        (i, name, [100 * row[k] if row[k] > FLOOR else None for k in shown if k < len(row)])
        for i, name, row in rows
    ]
    several(ax, [k + 1 for k in shown], drawn)
    ax.set(yscale="log", xlabel="Singular value k, largest first", ylabel="Share of the first, %")
    low, high = ax.get_ylim()
    ticks = [t for p in range(-3, 3) for m in (1, 2, 5) if low <= (t := m * 10.0**p) <= high]
    ticks = ticks if len(ticks) < 8 else [t for t in ticks if f"{t:e}"[0] == "1"]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
    by_index(ax, most)
    said_above(ax, "Each adapter, mean over layers")
    if energy:
        _over_rank(axes[1], record, energy)
    if len(rows) > 1:
        legend_over(figure, ax)
    gone = [
        (name, one.why_null)
        for name, one in zip(names, record.adapters, strict=True)
        if not one.spectrum
    ]
    return Sketch(
        "spectra",
        "Singular values",
        joined(
            "Left: mean over layers of singular value k over the largest one, on a logarithmic "
            "axis; a direction that a layer lacks counts as 0. A steep line is an adapter of few "
            "directions; random factors would give a nearly flat one.",
            "Right: share of the plain sum's energy that the best adapter of a rank can hold, one "
            "rank for all layers; vertical lines are the adapters' own ranks and the rank that "
            "holds 99 %."
            if energy
            else "",
            many(len(rows)),
            left_out(gone),
        ),
        figure,
    )


def _over_rank(ax: "Axes", record: Analysis, energy: dict[int, float]) -> None:
    from matplotlib.ticker import FuncFormatter

    ranks = sorted(energy)
    ax.plot(ranks, [100 * energy[r] for r in ranks], **look(0))
    own = sorted({rank for one in record.adapters for rank in one.ranks})
    marks = [(own[0], f"rank {own[0]}, as the adapters", "--")]
    if len(own) > 1:
        marks = [
            (own[0], f"ranks {own[0]} to {own[-1]}, as the adapters", "--"),
            (own[-1], "", "--"),
        ]
    if record.together.rank_99:
        marks.append((record.together.rank_99, f"99 % at rank {record.together.rank_99}", ":"))
    for rank, text, line in marks:
        ax.axvline(rank, color="#444444", ls=line, lw=1.1, label=text or None)
    ax.axhline(99, color="#444444", ls=":", lw=0.7)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set(xlabel="Rank", ylabel="Energy held, %", ylim=(0, 104))
    ax.legend(loc="best", framealpha=0.9, edgecolor="none", fontsize=7)
    said_above(ax, "The plain sum" if len(record.adapters) > 1 else "The adapter")


# --- where the energy is -------------------------------------------------------------------------


def energy(record: Analysis) -> Sketch | None:
    """Which blocks and which modules training changed most."""
    names = called(record).adapters
    there = [(i, one) for i, one in enumerate(record.adapters) if one.norm > 0]
    if not there:
        return None
    blocks = sorted({b for _, one in there for b in one.by_block if b}, key=natural)
    depth = len(blocks) > 1
    modules = _modules([one for _, one in there])
    count = depth + (len(modules) > 1)
    if not count:
        return None
    tall = max(2.9, 0.9 + 0.24 * len(modules))
    figure, axes = panels(count, 7.4 if count > 1 else 4.6, tall)
    if depth:
        _over_depth(axes[0], blocks, [(i, names[i], one) for i, one in there])
    if len(modules) > 1:
        _by_module(axes[-1], modules, [(i, names[i], one) for i, one in there])
    if len(there) > 1:
        legend_over(figure, axes[0])
    everything = {m for _, one in there for m in one.by_module}
    outside = [(names[i], share) for i, one in there if (share := one.by_block.get("")) and depth]
    return Sketch(
        "energy",
        "Where the energy is",
        joined(
            "Share of each adapter's energy, its squared norm over all layers."
            + (" Left: by block, in the order of the model. Right: by module." if count > 1 else "")
            + " An even spread would be a level line; large layers hold more by their size.",
            "Layers outside of blocks are not drawn to the left, they hold "
            + ", ".join(f"{100 * share:.2g} % of {name}" for name, share in outside[:4])
            + ("." if len(outside) < 5 else " and so on.")
            if outside
            else "",
            f"The {len(modules)} of {len(everything)} modules with the most energy."
            if len(modules) < len(everything)
            else "",
            many(len(there)),
            left_out(
                [(n, a.why_null) for n, a in zip(names, record.adapters, strict=True) if not a.norm]
            ),
        ),
        figure,
    )


def _modules(found: Sequence[AnalysedAdapter]) -> list[str]:
    """In the order of the model, those with the most energy."""
    total: dict[str, float] = {}
    for one in found:
        for module, share in one.by_module.items():
            total[module] = total.get(module, 0.0) + (share or 0.0)
    most = sorted(total, key=lambda module: -total[module])[:MODULES]
    return [module for module in total if module in most]


def _over_depth(
    ax: "Axes", blocks: Sequence[str], found: Sequence[tuple[int, str, AnalysedAdapter]]
) -> None:
    towers = [_tower(block) for block in blocks]
    x: list[float] = []
    gaps: list[int] = []
    for k, tower in enumerate(towers):
        if k and tower != towers[k - 1]:
            gaps.append(len(x))
            x.append(k - 0.5)
        x.append(k)
    rows = []
    for i, name, one in found:
        values: list[float | None] = [
            None if (share := one.by_block.get(block)) is None else 100 * share for block in blocks
        ]
        # Between towers, as of text and images, there is no depth to go along.
        for gap in gaps:
            values.insert(gap, None)
        rows.append((i, name, values))
    several(ax, x, rows)
    step = -(-len(blocks) // 10)
    labels = short_labels(blocks)
    ticks = list(range(0, len(blocks), step))
    wide = max(len(labels[k]) for k in ticks) > 3
    ax.set_xticks(ticks, [labels[k] for k in ticks], rotation=90 if wide else 0)
    ax.set(xlabel="Block", ylabel="Energy, %", ylim=(0, None))
    said_above(ax, "By block")


def _tower(block: str) -> str:
    """What stands before the first number: `text_model.encoder.layers`."""
    parts = block.split(".")
    at = next((k for k, part in enumerate(parts) if part.isdecimal()), len(parts))
    return ".".join(parts[:at])


def _by_module(
    ax: "Axes", modules: Sequence[str], found: Sequence[tuple[int, str, AnalysedAdapter]]
) -> None:
    apart = len(found) <= MOST
    for j, (i, name, one) in enumerate(found):
        dodge = (j - (len(found) - 1) / 2) * min(0.12, 0.5 / len(found)) if apart else 0.0
        pairs = [(k + dodge, one.by_module.get(module)) for k, module in enumerate(modules)]
        style = look(i) if apart else {"color": "#8c8c8c", "marker": "o"}
        ax.plot(
            [100 * share for _, share in pairs if share is not None],
            [k for k, share in pairs if share is not None],
            **style | {"linestyle": "", "markersize": 5.5, "alpha": 0.9},
            label=brief(name) if apart else None,
        )
    labels = [brief(label, 26) for label in short_labels(modules)]
    ax.set_yticks(range(len(modules)), labels)
    ax.set_ylim(len(modules) - 0.5, -0.5)
    ax.set(xlabel="Energy, %", xlim=(0, None))
    said_above(ax, "By module")


# --- how entries are distributed -----------------------------------------------------------------


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
    figure, axes = panels(2, 7.4, max(3.3, 1.3 + 0.3 * len(shown)), width_ratios=(1.15, 1))
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
