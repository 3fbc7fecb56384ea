"""The paper's figures from run folders: readable in grey, the same bytes for the same numbers."""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, Literal

from copamerge.errors import CopamergeError
from copamerge.reports.paper import FIGURES as PAPER_SAYS
from copamerge.reports.run import GROUPS, Group, ModelRecord, Run
from copamerge.reports.spectra import Multiples, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, ordered so that neighbours differ in lightness too.
COLORS = ("#0072B2", "#E69F00", "#000000", "#CC79A7", "#009E73", "#56B4E9", "#D55E00", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "x")
LINES: tuple[Any, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1)),
    (0, (3, 1, 1, 1)),
    (0, (1, 1)),
    (0, (9, 3)),
)
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
STYLE_OF = {
    "copa": 0,
    "task_arithmetic": 1,
    "ties": 2,
    "dare": 3,
    "pcb": 4,
    "robustmerge": 5,
    "mean": 6,
    "factor_linear": 7,
    "individual": 7,
}
"""The same method looks the same in every figure."""
SHORT = {
    "copa": "CoPA",
    "task_arithmetic": "Task Arithmetic",
    "ties": "TIES",
    "dare": "DARE",
    "pcb": "PCB",
    "robustmerge": "RobustMerge",
    "mean": "Mean",
    "factor_linear": "PEFT linear",
}
LOOK: Any = {
    "svg.hashsalt": "copamerge",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
    "lines.markersize": 5,
    "lines.linewidth": 1.4,
    "errorbar.capsize": 2,
    "savefig.dpi": 144,
}


@dataclass(frozen=True)
class Drawn:
    """A finished figure, in both formats."""

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


@dataclass(frozen=True)
class Point:
    """One model in a figure."""

    x: float | str
    means: Mapping[Group, tuple[float, float | None]]
    """Points and standard error by group; a group without points is not in it."""


@dataclass(frozen=True)
class Series:
    """Models that belong together, in order."""

    label: str
    style: int
    points: tuple[Point, ...]

    def line(self, group: Group) -> tuple[list[Any], list[float], list[float]]:
        """x, points, standard errors (0 where there is none) of the models that have the group."""
        there = [p for p in self.points if group in p.means]
        return (
            [p.x for p in there],
            [p.means[group][0] for p in there],
            [p.means[group][1] or 0.0 for p in there],
        )


def series(run: Run, label: Callable[[ModelRecord], str] | None = None) -> tuple[Series, ...]:
    """Models that have an x, grouped by method (or kind), in the run's order."""
    found: dict[str, list[ModelRecord]] = {}
    for model in run.models:
        if model.name in run.places:
            found.setdefault(label(model) if label else method_label(model), []).append(model)
    return tuple(
        Series(name, _style(models[0], i), tuple(_point(run, model) for model in models))
        for i, (name, models) in enumerate(found.items())
    )


def method_label(model: ModelRecord) -> str:
    if model.kind != "merge":
        return model.kind.capitalize()
    return SHORT.get(model.method or "", _plain(model.method or model.title))


def _size_label(model: ModelRecord) -> str:
    rules = {"published": "its own scale", "norm_match": "at one size", "search": "scale searched"}
    return rules.get(model.scale_rule or "published", _plain(str(model.scale_rule)))


def _style(model: ModelRecord, position: int) -> int:
    return STYLE_OF.get(model.method or model.kind, position % len(COLORS))


def _point(run: Run, model: ModelRecord) -> Point:
    means = {}
    for group in GROUPS:
        mean = run.mean(model.name, group)
        if mean is not None:
            means[group] = (mean.points, mean.stderr)
    return Point(run.places[model.name], means)


def figure2a(runs: Sequence[Run]) -> "Figure":
    """Bars: which half of the singular values is kept."""
    return _bars(series(runs[0]), "Singular values kept of each adapter's delta")


def figure2b(runs: Sequence[Run], measured: Sequence[Multiples] = ()) -> "Figure":
    """The multiples that copa applies, and what uneven multiples do to the points."""
    from matplotlib.ticker import MaxNLocator

    found = series(runs[0]) if runs else ()
    width = 7.0 if measured and found else 4.2
    figure, axes = _panels(bool(measured) + bool(found), width, 3.1)
    left = list(axes)
    if measured:
        ax = left.pop(0)
        for i, one in enumerate(measured):
            index = list(range(1, len(one.mean) + 1))
            style = _look(i)
            ax.fill_between(index, one.low, one.high, color=style["color"], alpha=0.15, lw=0)
            ax.plot(index, one.mean, label=one.label, **style)
        ax.set(xlabel="Singular value, largest first", ylabel="Multiple", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(frameon=False, loc="best")
    if found:
        ax = left.pop(0)
        labels = [str(point.x) for point in found[0].points]
        for i, group in enumerate(GROUPS):
            _, y, errors = found[0].line(group)
            places = [k + (i - 0.5) * 0.36 for k in range(len(y))]
            ax.barh(places, y, 0.34, xerr=errors, label=f"{group.capitalize()} mean", **_fill(i))
        ax.set_yticks(range(len(labels)), [_wrap(label, 16) for label in labels])
        ax.invert_yaxis()
        ax.set(xlabel="Points")
        ax.grid(visible=False, axis="y")
        _legend_above(ax, 2)
    return figure


def figure2c(found: Sequence[Spread]) -> "Figure":
    """How entries of A, B and full fine-tuning deltas are distributed."""
    figure, (ax,) = _panels(1, 4.8, 3.2)
    for i, one in enumerate(found):
        centres = (one.edges[:-1] + one.edges[1:]) / 2
        there = one.density > 0
        label = f"{one.label} (sd {one.sd:.2g}, kurtosis {one.kurtosis:.1f})"
        ax.plot(centres[there], one.density[there], label=label, markevery=8, **_look(i))
    ax.set(xlabel="Value of an entry", ylabel="Density", yscale="log")
    _legend_above(ax, 1)
    return figure


def figure4(runs: Sequence[Run]) -> "Figure":
    """Lines: number of merged tasks."""
    return _lines(series(runs[0]), "Adapters merged", whole=True)


def figure5(runs: Sequence[Run]) -> "Figure":
    """Lines: rank of the adapters."""
    return _lines(series(runs[0]), "Rank of the adapters", log=True)


def figure6a(runs: Sequence[Run]) -> "Figure":
    """Lines: share of pruned entries."""
    return _lines(_restyled(series(runs[0], _size_label)), "Pruning rate (1 - density)")


def figure6b(runs: Sequence[Run]) -> "Figure":
    """Bars: which entries are pruned."""
    return _bars(_restyled(series(runs[0], _size_label)), "What is pruned")


@dataclass(frozen=True)
class Repeated:
    """One method over several runs or seeds."""

    label: str
    method: str | None
    values: Mapping[Group, tuple[float, ...]]


def repeated(runs: Sequence[Run]) -> tuple[Repeated, ...]:
    """Every method of the runs, with its mean in each run and for each merge seed.

    Random methods have as many values as runs times seeds, the others one a run.
    """
    found: dict[str, Repeated] = {}
    for run in runs:
        for model in run.models:
            label = str(run.places.get(model.name, model.shown))
            values = {
                group: mean.points
                for group in GROUPS
                if (mean := run.mean(model.name, group)) is not None
            }
            before = found.get(label, Repeated(label, model.method, {}))
            found[label] = Repeated(
                label,
                model.method,
                {
                    g: (*before.values.get(g, ()), *([values[g]] if g in values else []))
                    for g in GROUPS
                },
            )
    return tuple(found.values())


def figure6c(runs: Sequence[Run]) -> "Figure":
    """Bars with standard deviations over runs and merge seeds, and every single value."""
    found = repeated(runs)
    figure, axes = _panels(2, 7.2, 0.42 * len(found) + 1.1, sharey=True)
    for ax, group in zip(axes, GROUPS, strict=True):
        for i, one in enumerate(found):
            values = one.values.get(group, ())
            if not values:
                continue
            mean, sd = _mean_sd(values)
            ax.barh(i, mean, 0.6, xerr=sd, **_fill(STYLE_OF.get(one.method or "", i)))
            if len(values) > 1:
                ax.plot(values, [i] * len(values), "|", color="black", markersize=9, lw=0)
                label = f"{mean:.1f}, sd {sd:.2f}, n {len(values)}"
            else:
                label = f"{mean:.1f}, n 1"
            edge = max([mean + (sd or 0.0), *values])
            ax.annotate(
                label, (edge, i), (4, 0), textcoords="offset points", va="center", fontsize=7
            )
        ax.set_yticks(range(len(found)), [_wrap(one.label, 20) for one in found])
        ax.set(xlabel=f"{group.capitalize()} mean, points")
        ax.margins(x=0.42)
        ax.set_xlim(left=0)
        ax.grid(visible=False, axis="y")
    axes[0].invert_yaxis()
    return figure


def _mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def tradeoff(runs: Sequence[Run]) -> "Figure":
    """Seen against unseen along the scale: one curve per method, small scale to large."""
    run = runs[0]
    figure, (ax,) = _panels(1, 5.4, 4.6)
    for one in series(run):
        there = [p for p in one.points if len(p.means) == len(GROUPS)]
        there.sort(key=lambda p: float(p.x))
        x, y = [p.means["unseen"][0] for p in there], [p.means["seen"][0] for p in there]
        look = _look(one.style)
        ax.plot(x, y, label=one.label, **{**look, "markersize": 4.5, "linewidth": 1.1})
        for i in (i for i, p in enumerate(there) if p.x == 1):
            ax.plot(
                x[i],
                y[i],
                marker=look["marker"],
                color=look["color"],
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
                    "color": look["color"],
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
                _plain(model.title),
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
        _typical_error(ax, max(a for a, _ in pairs), max(b for _, b in pairs))
    ax.set(xlabel="Unseen mean, points", ylabel="Seen mean, points")
    ax.margins(0.1)
    _legend_above(ax, 3)
    return figure


def _typical_error(ax: "Axes", x: float, y: float) -> None:
    """A cross of the largest standard errors in the corner, instead of one at every point."""
    ax.margins(0.1)
    ax.autoscale_view()
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    at = (x0 + 0.04 * (x1 - x0) + x, y0 + 0.05 * (y1 - y0) + y)
    ax.errorbar([at[0]], [at[1]], xerr=[x], yerr=[y], color="#555555", lw=1)
    ax.annotate(
        "largest standard errors",
        (at[0] + x, at[1]),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        color="#555555",
    )


def _lines(
    found: Sequence[Series], xlabel: str, *, log: bool = False, whole: bool = False
) -> "Figure":
    """Seen to the left, unseen to the right; standard errors as bars."""
    figure, axes = _panels(2, 7.0, 3.2)
    for ax, group in zip(axes, GROUPS, strict=True):
        for one in found:
            x, y, errors = one.line(group)
            if x:
                ax.errorbar(x, y, yerr=errors, label=one.label, **_look(one.style))
        if log:
            ax.set_xscale("log", base=2)
        if log or whole:
            ticks = sorted({float(p.x) for one in found for p in one.points})
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
        ax.set(xlabel=xlabel, ylabel=f"{group.capitalize()} mean, points")
    _figure_legend(figure, axes[0], len(found))
    return figure


def _bars(found: Sequence[Series], xlabel: str) -> "Figure":
    """Groups of bars by x, one bar a series; seen to the left, unseen to the right."""
    groups = [g for g in GROUPS if any(g in p.means for one in found for p in one.points)]
    figure, axes = _panels(len(groups), 3.5 * len(groups), 3.2)
    ticks = list(dict.fromkeys(str(point.x) for one in found for point in one.points))
    for ax, group in zip(axes, groups, strict=True):
        shown = [one for one in found if any(group in point.means for point in one.points)]
        width = 0.8 / max(1, len(shown))
        for i, one in enumerate(shown):
            x, y, errors = one.line(group)
            places = [ticks.index(str(at)) + (i - (len(shown) - 1) / 2) * width for at in x]
            style = _fill(one.style)
            ax.bar(places, y, 0.92 * width, yerr=errors, label=one.label, **style)
        ax.set_xticks(range(len(ticks)), [_wrap(tick, 14) for tick in ticks])
        ax.set(xlabel=xlabel, ylabel=f"{group.capitalize()} mean, points")
        ax.grid(visible=False, axis="x")
    _figure_legend(figure, axes[0], len(found))
    return figure


def _restyled(found: Sequence[Series]) -> tuple[Series, ...]:
    """Series of one method, told apart by their position."""
    return tuple(Series(one.label, i, one.points) for i, one in enumerate(found))


def _panels(count: int, width: float, height: float, **more: Any) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.09))
    axes = figure.subplots(1, max(1, count), squeeze=False, **more)
    return figure, list(axes[0])


def _look(style: int) -> dict[str, Any]:
    i = style % len(COLORS)
    return {"color": COLORS[i], "marker": MARKERS[i], "linestyle": LINES[i]}


def _fill(style: int) -> dict[str, Any]:
    # Pale fills: hatches in the dark colour stay visible, in grey too.
    i = style % len(COLORS)
    pale = ("#9ecae1", "#fdd49e", "#bdbdbd", "#e7c6d9", "#a1d9c6", "#d6ecfa", "#f4b89a", "#e0e0e0")
    return {
        "color": pale[i],
        "hatch": HATCHES[i],
        "edgecolor": "#222222",
        "linewidth": 0.7,
        "error_kw": {"ecolor": "black", "lw": 1, "capsize": 2},
    }


def _figure_legend(figure: "Figure", ax: "Axes", entries: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > 1:
        columns = min(4, entries)
        figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)


def _legend_above(ax: "Axes", columns: int) -> None:
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, borderaxespad=0.2
    )


def _wrap(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(_plain(text), width)) or text


def _plain(text: str) -> str:
    """A stranger's text, of which matplotlib is not to make mathematics."""
    return text.replace("$", r"\$")


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
        parts.append(f"{bars} {record.items} items a task, seed {record.seed}.")
        parts.append("No difference is claimed by the eye: verdicts stand beside the tables.")
    if name in PAPER_SAYS:
        parts.append(PAPER_SAYS[name])
    return " ".join(parts)


def rendered(figure: "Figure", kind: Literal["svg", "png"]) -> bytes:
    """The bytes of a file, without date or version: the same for the same figure."""
    out = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(out, format=kind, metadata=metadata)
    return out.getvalue()


@contextmanager
def looks() -> Iterator[None]:
    """Our style, whatever the user's matplotlibrc says; it is as it was afterwards.

    Raises:
        CopamergeError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise CopamergeError(
            "the figures need matplotlib; install it with pip install 'copamerge[report]', or "
            "leave them out by --no-figures"
        ) from None
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(LOOK)
        with warnings.catch_warnings():
            # A title in a script that the font lacks is drawn as boxes; the tables have it.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield
