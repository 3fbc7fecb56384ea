"""How every figure looks: readable in grey, the same bytes for the same numbers."""

import io
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from copamerge.errors import CopamergeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, ordered so that neighbours differ in lightness too; then four of Tol's.
COLORS = (
    *("#0072B2", "#E69F00", "#000000", "#CC79A7", "#009E73", "#56B4E9", "#D55E00", "#7F7F7F"),
    *("#882255", "#999933", "#332288", "#44AA99"),
)
PALE = (
    *("#9ecae1", "#fdd49e", "#bdbdbd", "#e7c6d9", "#a1d9c6", "#d6ecfa", "#f4b89a", "#e0e0e0"),
    *("#d9a8bf", "#dcdcae", "#b9b4dc", "#b5e0da"),
)
"""Fills: hatches in the dark colour stay visible on them, in grey too."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "x", "<", "p", ">", "h")
LINES: tuple[Any, ...] = (
    *("-", "--", "-.", ":"),
    (0, (5, 1)),
    (0, (3, 1, 1, 1)),
    (0, (1, 1)),
    (0, (9, 3)),
    (0, (7, 1, 1, 1)),
    (0, (2, 2)),
    (0, (9, 1, 3, 1)),
    (0, (3, 1, 1, 1, 1, 1)),
)
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--", "||", "OO", "**", "/")
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


def panels(count: int, width: float, height: float, **more: Any) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.09))
    axes = figure.subplots(1, max(1, count), squeeze=False, **more)
    return figure, list(axes[0])


def look(style: int) -> dict[str, Any]:
    i = style % len(COLORS)
    return {"color": COLORS[i], "marker": MARKERS[i], "linestyle": LINES[i]}


def fill(style: int) -> dict[str, Any]:
    i = style % len(COLORS)
    return {
        "color": PALE[i],
        "hatch": HATCHES[i],
        "edgecolor": "#222222",
        "linewidth": 0.7,
        "error_kw": {"ecolor": "black", "lw": 1, "capsize": 2},
    }


def figure_legend(figure: "Figure", ax: "Axes", entries: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > 1:
        columns = min(4, entries)
        figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)


def legend_above(ax: "Axes", columns: int) -> None:
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, borderaxespad=0.2
    )


def wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(plain(text), width)) or text


def plain(text: str) -> str:
    """A stranger's text, of which matplotlib is not to make mathematics."""
    return text.replace("$", r"\$")


def typical_error(ax: "Axes", x: float, y: float) -> None:
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
