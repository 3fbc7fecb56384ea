"""The paper's figures from run folders, one function each."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from copamerge.reports.charts import bars, lines
from copamerge.reports.look import (
    Drawn,
    fill,
    legend_above,
    look,
    looks,
    panels,
    plain,
    rendered,
    typical_error,
    wrap,
)
from copamerge.reports.paper import FIGURES as PAPER_SAYS
from copamerge.reports.run import GROUPS, Run
from copamerge.reports.series import (
    STYLE_OF,
    drawn_groups,
    mean_sd,
    repeated,
    restyled,
    series,
    size_label,
)
from copamerge.reports.spectra import Multiples, Spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure2a(runs: Sequence[Run]) -> "Figure":
    """Bars: which half of the singular values is kept."""
    return bars(series(runs[0]), "Singular values kept of each adapter's delta")


def figure2b(runs: Sequence[Run], measured: Sequence[Multiples] = ()) -> "Figure":
    """The multiples that copa applies, and what uneven multiples do to the points."""
    from matplotlib.ticker import MaxNLocator

    found = series(runs[0]) if runs else ()
    width = 7.0 if measured and found else 4.2
    figure, axes = panels(bool(measured) + bool(found), width, 3.1)
    left = list(axes)
    if measured:
        ax = left.pop(0)
        for i, one in enumerate(measured):
            index = list(range(1, len(one.mean) + 1))
            style = look(i)
            ax.fill_between(index, one.low, one.high, color=style["color"], alpha=0.15, lw=0)
            ax.plot(index, one.mean, label=one.label, **style)
        ax.set(xlabel="Singular value, largest first", ylabel="Multiple", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(frameon=False, loc="best")
    if found:
        ax = left.pop(0)
        labels = [str(point.x) for point in found[0].points]
        for i, group in enumerate(drawn_groups(found)):
            _, y, errors = found[0].line(group)
            places = [k + (i - 0.5) * 0.36 for k in range(len(y))]
            ax.barh(places, y, 0.34, xerr=errors, label=f"{group.capitalize()} mean", **fill(i))
        ax.set_yticks(range(len(labels)), [wrap(label, 16) for label in labels])
        ax.invert_yaxis()
        ax.set(xlabel="Points")
        ax.grid(visible=False, axis="y")
        legend_above(ax, 2)
    return figure


def figure2c(found: Sequence[Spread]) -> "Figure":
    """How entries of A, B and full fine-tuning deltas are distributed."""
    figure, (ax,) = panels(1, 4.8, 3.2)
    for i, one in enumerate(found):
        centres = (one.edges[:-1] + one.edges[1:]) / 2
        there = one.density > 0
        label = f"{one.label} (sd {one.sd:.2g}, kurtosis {one.kurtosis:.1f})"
        ax.plot(centres[there], one.density[there], label=label, markevery=8, **look(i))
    ax.set(xlabel="Value of an entry", ylabel="Density", yscale="log")
    legend_above(ax, 1)
    return figure


def figure4(runs: Sequence[Run]) -> "Figure":
    """Lines: number of merged tasks."""
    return lines(series(runs[0]), "Adapters merged", whole=True)


def figure5(runs: Sequence[Run]) -> "Figure":
    """Lines: rank of the adapters."""
    return lines(series(runs[0]), "Rank of the adapters", log=True)


def figure6a(runs: Sequence[Run]) -> "Figure":
    """Lines: share of pruned entries."""
    return lines(restyled(series(runs[0], size_label)), "Pruning rate (1 - density)")


def figure6b(runs: Sequence[Run]) -> "Figure":
    """Bars: which entries are pruned."""
    return bars(restyled(series(runs[0], size_label)), "What is pruned")


def figure6c(runs: Sequence[Run]) -> "Figure":
    """Bars with standard deviations over runs and merge seeds, and every single value."""
    found = repeated(runs)
    groups = [group for group in GROUPS if any(one.values.get(group) for one in found)]
    figure, axes = panels(len(groups), 3.6 * len(groups), 0.42 * len(found) + 1.1, sharey=True)
    for ax, group in zip(axes, groups, strict=True):
        for i, one in enumerate(found):
            values = one.values.get(group, ())
            if not values:
                continue
            mean, sd = mean_sd(values)
            ax.barh(i, mean, 0.6, xerr=sd, **fill(STYLE_OF.get(one.method or "", i)))
            if len(values) > 1:
                ax.plot(values, [i] * len(values), "|", color="black", markersize=9, lw=0)
                label = f"{mean:.1f}, sd {sd:.2f}, n {len(values)}"
            else:
                label = f"{mean:.1f}, n 1"
            edge = max([mean + (sd or 0.0), *values])
            ax.annotate(
                label, (edge, i), (4, 0), textcoords="offset points", va="center", fontsize=7
            )
        ax.set_yticks(range(len(found)), [wrap(one.label, 20) for one in found])
        ax.set(xlabel=f"{group.capitalize()} mean, points")
        ax.margins(x=0.42)
        ax.set_xlim(left=0)
        ax.grid(visible=False, axis="y")
    axes[0].invert_yaxis()
    return figure


def tradeoff(runs: Sequence[Run]) -> "Figure":
    """Seen against unseen along the scale: one curve per method, small scale to large."""
    run = runs[0]
    figure, (ax,) = panels(1, 5.4, 4.6)
    for one in series(run):
        there = [p for p in one.points if len(p.means) == len(GROUPS)]
        there.sort(key=lambda p: float(p.x))
        x, y = [p.means["unseen"][0] for p in there], [p.means["seen"][0] for p in there]
        style = look(one.style)
        ax.plot(x, y, label=one.label, **{**style, "markersize": 4.5, "linewidth": 1.1})
        for i in (i for i, p in enumerate(there) if p.x == 1):
            ax.plot(
                x[i],
                y[i],
                marker=style["marker"],
                color=style["color"],
                markeredgecolor="black",
                markersize=9,
                zorder=3,
            )
        if len(there) > 1:
            ax.annotate(
                "",
                (x[-1], y[-1]),
                (x[-2], y[-2]),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": style["color"],
                    "lw": 0,
                    "shrinkB": 0,
                    "mutation_scale": 14,
                },
            )
    for model in run.models:
        means = [run.mean(model.name, group) for group in GROUPS]
        if model.name not in run.places and means[0] and means[1]:
            at = (means[1].points, means[0].points)
            ax.plot(*at, marker="*", color="black", markersize=11, lw=0)
            ax.annotate(
                plain(model.title),
                at,
                (0, -12),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    error = [
        (mean.stderr, other.stderr)
        for model in run.models
        if (mean := run.mean(model.name, "unseen")) and (other := run.mean(model.name, "seen"))
    ]
    pairs = [(a, b) for a, b in error if a is not None and b is not None]
    if pairs:
        typical_error(ax, max(a for a, _ in pairs), max(b for _, b in pairs))
    ax.set(xlabel="Unseen mean, points", ylabel="Seen mean, points")
    ax.margins(0.1)
    legend_above(ax, 3)
    return figure


TITLES: Mapping[str, str] = {
    "tradeoff": "Seen against unseen points along each method's scale",
    "figure2a": "Figure 2a: larger or smaller half of the singular values",
    "figure2b": "Figure 2b: multiples of the singular values",
    "figure2c": "Figure 2c: distribution of the entries",
    "figure4": "Figure 4: number of merged tasks",
    "figure5": "Figure 5: rank",
    "figure6a": "Figure 6a: pruning rate",
    "figure6b": "Figure 6b: pruning technique",
    "figure6c": "Figure 6c: mean and standard deviation",
}
"""Every figure, in the order of the report."""

FROM_RUNS: Mapping[str, Callable[[Sequence[Run]], "Figure"]] = {
    "tradeoff": tradeoff,
    "figure2a": figure2a,
    "figure2b": figure2b,
    "figure4": figure4,
    "figure5": figure5,
    "figure6a": figure6a,
    "figure6b": figure6b,
    "figure6c": figure6c,
}
"""Figures by the experiment they draw; figure 2c needs no run."""


def draw(
    name: str,
    runs: Sequence[Run],
    *,
    measured: Sequence[Multiples] = (),
    entries: Sequence[Spread] = (),
) -> Drawn:
    """One figure of `TITLES`, from the runs of its experiment and what was measured on the zoo.

    Raises:
        CopamergeError: matplotlib is not installed.
    """
    with looks():
        if name == "figure2c":
            figure = figure2c(entries)
        elif name == "figure2b":
            figure = figure2b(runs, measured)
        else:
            figure = FROM_RUNS[name](runs)
        svg, png = rendered(figure, "svg"), rendered(figure, "png")
    return Drawn(name, TITLES[name], caption(name, runs, entries), svg.decode(), png)


def caption(name: str, runs: Sequence[Run], entries: Sequence[Spread] = ()) -> str:
    """What is varied, what the bars mean, what the paper says of it."""
    from copamerge.bench.experiments import EXPERIMENTS

    parts = [EXPERIMENTS[name].about] if name in EXPERIMENTS else []
    if name == "figure2b":
        parts.append(
            "Multiples: singular value i of the adapter's term before normalising, over that of "
            "the adapter; the mean over layers and adapters, with the middle half of them shaded."
        )
    if name == "figure2c":
        parts.append("Entries of all linear layers of all adapters, on a logarithmic axis.")
        if not any("full" in one.label for one in entries):
            parts.append(
                "Full fine-tuning is not drawn: the zoo has no full/TASK folders of fully "
                "fine-tuned models."
            )
    if name == "figure6c":
        zoos = {run.record.base_digest for run in runs}
        seeds = sorted({run.record.seed for run in runs})
        parts.append(
            f"Here: {len(runs)} run{'s' * (len(runs) != 1)}, item seeds "
            f"{', '.join(map(str, seeds))}, {len(zoos)} zoo{'s' * (len(zoos) != 1)}. Without a "
            "second run there is no deviation over items."
        )
    elif runs:
        record = runs[0].record
        bars = (
            "Large markers are the published scale, arrows point to larger ones. The cross has the "
            "largest standard errors over items of any point."
            if name == "tradeoff"
            else "Error bars are standard errors over items."
        )
        parts.append(f"{bars} {record.asked[:1].upper()}{record.asked[1:]}, seed {record.seed}.")
        parts.append("No difference is claimed by the eye: verdicts stand beside the tables.")
    if name in PAPER_SAYS:
        parts.append(PAPER_SAYS[name])
    return " ".join(parts)
