"""Figures of what CoPA does to these adapters: the multiples it applies, and its coefficients S."""

from collections.abc import Sequence
from math import exp
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

from copamerge.analyzing.record import Analysis
from copamerge.reports.look import COLORS, MARKERS, look, panels
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
    said_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def copa(record: Analysis) -> Sketch | None:
    """The paper's figure 2b for these adapters, and what S is made of."""
    found = record.copa
    names = called(record).adapters
    there = [i for i, row in enumerate(found.multiples) if row]
    rows = [i for i in there if found.S_mean[i] is not None][: 2 * MOST]
    if not there:
        return None
    figure, axes = panels(2, WIDTH, max(3.2, 1.2 + 0.24 * len(rows)), width_ratios=(1.1, 1))
    kinds = (("with S", found.multiples, 0), ("without S", found.multiples_without, 1))
    most = max(len(found.multiples[i]) for i in there)
    for label, multiples, style in kinds:
        _lines(axes[0], [multiples[i] for i in there], label, style, most)
    axes[0].axhline(1, color="#444444", ls=":", lw=1.3)
    axes[0].set(xlabel="Singular value, largest first", ylabel="Multiple", ylim=(0, None))
    by_index(axes[0], most)
    axes[0].legend(frameon=False, loc="best")
    said_above(axes[0], "Multiples of singular values")
    for y, i in enumerate(rows):
        _spread(axes[1], y, found.S_min[i], found.S_mean[i], found.S_max[i])
    uniform, gaussian = typical_S(found.density)
    for at, text in ((1.0, "none"), (gaussian, "G"), (uniform, "U")):
        axes[1].axvline(at, color="#444444", ls=":", lw=1.1)
        axes[1].annotate(
            text, (at, 1), (0, 1), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=7, color="#444444", va="bottom", ha="center",
        )  # fmt: skip
    axes[1].set_yticks(range(len(rows)), [brief(names[i]) for i in rows])
    axes[1].set_ylim(len(rows) - 0.5, -0.5)
    axes[1].set_xlim(left=0.8)
    axes[1].set(xlabel="Coefficient S, over layers and rank indices")
    axes[1].grid(visible=False, axis="y")
    change = (
        f"S turns the merge by a cosine of {found.cosine:.3f} and changes it by "
        f"{100 * found.change:.2g} % of its norm."
        if found.change is not None and found.cosine is not None and len(names) > 1
        else ""
    )
    return Sketch(
        "copa",
        "What CoPA does here",
        joined(
            f"Pruning to {100 * found.density:g} % of the entries of A and B, with and without the "
            "coefficients S between them. Left (the paper's figure 2b): singular value k of the "
            "term over that of the delta, the mean over layers"
            + (
                " and adapters, shaded from the lowest to the highest adapter."
                if len(there) > 1
                else "."
            )
            + " A rising line lifts small singular values more.",
            "Right: S from smallest to largest with its mean; dotted lines mark what pruning "
            "nothing would give (none), and matrices A of Gaussian (G) or uniform (U) entries.",
            change,
            f"The first {len(rows)} adapters to the right." if len(rows) < len(there) else "",
            left_out(
                [(n, record.adapters[i].why_null) for i, n in enumerate(names) if i not in there]
            ),
        ),
        figure,
    )


def typical_S(density: float) -> tuple[float, float]:
    """S for entries of A that are uniform, and Gaussian, pruned by magnitude to this density.

    The sum of magnitudes over that of the largest ones.
    """
    uniform = 1 / (1 - (1 - density) ** 2)
    if density >= 1:
        return uniform, 1.0
    z = NormalDist().inv_cdf(1 - density / 2)
    return uniform, exp(z * z / 2)


def _lines(ax: "Axes", rows: Sequence[Sequence[float]], label: str, style: int, most: int) -> None:
    shown = along(most)
    columns = [[row[k] for row in rows if len(row) > k] for k in shown]
    x = [k + 1 for k in shown]
    if len(rows) > 1:
        low, high = [min(c) for c in columns], [max(c) for c in columns]
        ax.fill_between(x, low, high, color=COLORS[style], alpha=0.15, lw=0)
    each = look(style) | {"markevery": max(1, len(x) // 8)}
    ax.plot(x, [fmean(c) for c in columns], label=label, **each)


def _spread(
    ax: "Axes", y: int, low: float | None, middle: float | None, high: float | None
) -> None:
    if low is None or middle is None or high is None:
        return
    ax.plot([low, high], [y, y], color=COLORS[0], lw=1.8, solid_capstyle="butt")
    ax.plot(
        [middle], [y], color=COLORS[0], marker=MARKERS[0], markerfacecolor="white", markersize=5.5,
        linestyle="",
    )  # fmt: skip
