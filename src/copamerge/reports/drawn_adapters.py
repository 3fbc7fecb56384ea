"""Figures of adapters on their own: their singular values, and where their energy is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from copamerge.analyzing.record import AnalysedAdapter, Analysis
from copamerge.core.places import natural
from copamerge.reports.heat import short_labels
from copamerge.reports.look import look, panels
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
    many,
    said_above,
    several,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    figure, axes = panels(2 if energy else 1, WIDTH, 3.3)
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
    figure, axes = panels(count, WIDTH, tall)
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
            + (" An even spread would be a level line." if depth else "")
            + " Large layers hold more by their size.",
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
