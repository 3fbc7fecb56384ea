"""The two kinds of chart that most figures are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from copamerge.reports.look import figure_legend, fill, look, panels, wrap
from copamerge.reports.series import Series, drawn_groups

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def lines(
    found: Sequence[Series], xlabel: str, *, log: bool = False, whole: bool = False
) -> "Figure":
    """Seen to the left, unseen to the right; standard errors as bars."""
    groups = drawn_groups(found)
    figure, axes = panels(len(groups), 3.5 * len(groups), 3.2)
    for ax, group in zip(axes, groups, strict=True):
        for one in found:
            x, y, errors = one.line(group)
            if x:
                ax.errorbar(x, y, yerr=errors, label=one.label, **look(one.style))
        if log:
            ax.set_xscale("log", base=2)
        if log or whole:
            ticks = sorted({float(p.x) for one in found for p in one.points})
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
        ax.set(xlabel=xlabel, ylabel=f"{group.capitalize()} mean, points")
    figure_legend(figure, axes[0], len(found))
    return figure


def bars(found: Sequence[Series], xlabel: str) -> "Figure":
    """Groups of bars by x, one bar a series; seen to the left, unseen to the right."""
    groups = drawn_groups(found)
    figure, axes = panels(len(groups), 3.5 * len(groups), 3.2)
    ticks = list(dict.fromkeys(str(point.x) for one in found for point in one.points))
    for ax, group in zip(axes, groups, strict=True):
        shown = [one for one in found if any(group in point.means for point in one.points)]
        width = 0.8 / max(1, len(shown))
        for i, one in enumerate(shown):
            x, y, errors = one.line(group)
            places = [ticks.index(str(at)) + (i - (len(shown) - 1) / 2) * width for at in x]
            style = fill(one.style)
            ax.bar(places, y, 0.92 * width, yerr=errors, label=one.label, **style)
        ax.set_xticks(range(len(ticks)), [wrap(tick, 14) for tick in ticks])
        ax.set(xlabel=xlabel, ylabel=f"{group.capitalize()} mean, points")
        ax.grid(visible=False, axis="x")
    figure_legend(figure, axes[0], len(found))
    return figure
