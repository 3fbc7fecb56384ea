"""Every number that the page on an analysis shows: what it is, its range, chance and source."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from copamerge.reports.document import number_cell
from copamerge.reports.scale import Measure, Unit

PAPER = "arXiv:2502.17159"


@dataclass(frozen=True)
class Number:
    """One kind of number."""

    key: str
    title: str
    means: str
    """A sentence."""
    range: str
    chance: str
    """What unrelated adapters have; or what is usual, where chance says nothing."""
    source: str = "this project"
    unit: Unit = ""
    scale: Literal["sequential", "diverging"] = "sequential"
    middle: float = 0.0
    least: tuple[float, float] | None = None
    """Colours reach at least so far: noise is not to look like structure."""
    ends: tuple[float | None, float | None] = (None, None)
    """Where colours end in any case."""
    log: bool = False

    @property
    def explains(self) -> str:
        """All of it on one line."""
        return f"{self.means} Range: {self.range}. By chance, or usual: {self.chance}."

    def measure(self, values: Iterable[float] = ()) -> Measure:
        """Its colours, reaching over these values."""
        low, high = self.ends
        if self.least is not None:
            found = [*values, *self.least]
            low, high = min(found), max(found)
        return Measure(
            self.key,
            self.title,
            self.explains,
            unit=self.unit,
            scale=self.scale,
            low=low,
            high=high,
            middle=self.middle,
            log=self.log,
        )

    def shown(self, value: float) -> str:
        """With its unit, four digits of it."""
        if 0 < abs(value) < 1e-3 and self.unit != "%":
            return f"{value:.1e}".replace("-", "−", 1) if value < 0 else f"{value:.1e}"
        return self.measure().shown(value)

    def cell(self, value: float | None, why: str = "") -> str:
        """In a table; sorted by four digits of it."""
        if value is None:
            return number_cell(None, "", why)
        return number_cell(float(f"{value:.4g}"), self.shown(value))

    def called(self, key: str, title: str) -> "Number":
        """The same under another name."""
        return replace(self, key=key, title=title)


NORM = Number(
    "norm",
    "Norm",
    "Frobenius norm of the delta, its scaling included, weights of a recipe not.",
    "0 and up",
    "published adapters of one base differ by up to 10,000",
    log=True,
)
SHARE = Number(
    "share",
    "Share of energy",
    "Energy is a squared norm: of an adapter among all, or of a layer in its adapter.",
    "0 to 100 %",
    "1 / n for n of one size",
    unit="%",
    ends=(0.0, None),
)
STABLE_RANK = Number(
    "stable_rank",
    "Stable rank",
    "How many directions of the leading one's size the delta amounts to; over all layers each "
    "counts by its energy.",
    "1 to the rank",
    "random factors are near their rank",
    "Rudelson and Vershynin 2007",
    ends=(1.0, None),
)
EFFECTIVE_RANK = Number(
    "effective_rank",
    "Effective rank",
    "How many directions the singular values spread over: weak ones count more than in the stable "
    "rank.",
    "1 to the rank",
    "random factors are near their rank",
    "Roy and Vetterli 2007",
    ends=(1.0, None),
)
S = Number(
    "S",
    "CoPA's S",
    "Mean of the coefficients that CoPA puts between B and A: the magnitude of a row of A over "
    "that of its entries that pruning leaves.",
    "1 and up; 1 where pruning takes nothing",
    "at density 0.2 about 2.8 for uniform and 2.3 for Gaussian entries of A",
    f"{PAPER}, equation 3",
)
KURTOSIS_A = Number(
    "kurtosis_A",
    "Kurtosis of A",
    "Fourth moment of the entries of A over the square of the second.",
    "1 and up",
    "1.8 if uniform, 3 if Gaussian, more with heavy tails",
    f"{PAPER}, figure 2c, there by eye",
)
KURTOSIS_B = replace(
    KURTOSIS_A,
    key="kurtosis_B",
    title="Kurtosis of B",
    means="Fourth moment of the entries of B over the square of the second.",
    log=True,
)
SHAPE = Number(
    "shape",
    "Entries of A, of B",
    "What three quarters of the layers are, by the Kolmogorov-Smirnov distance of the entries: "
    "uniform or Gaussian up to 0.03, else neither; mixed without such a majority.",
    "uniform, Gaussian, neither, mixed",
    "the two distributions are 0.057 from each other",
    f"{PAPER}, figure 2c, there by eye",
)

COSINE = Number(
    "cosine",
    "Cosine of deltas",
    "Of two deltas as vectors; over all shared layers as one.",
    "−1 to 1",
    "0 ± 1 / √(d_out d_in)",
    scale="diverging",
    least=(-0.2, 0.2),
)
COSINE_A = Number(
    "cosine_A",
    "Cosine of A's rows",
    "Mean cosine between rows of A with the same index: tells a shared random start.",
    "−1 to 1; none where ranks differ",
    "about 0 for independent starts, near 1 for a shared one",
    "after arXiv:2402.16842",
    scale="diverging",
    least=(-0.2, 0.2),
)
INPUT = Number(
    "input",
    "Overlap of what is read",
    "Mean squared cosine of the principal angles between the spaces that two deltas read from.",
    "0 (orthogonal) to 100 % (one holds the other)",
    "rank / d_in",
    "arXiv:2106.09685, section 7.2",
    unit="%",
    least=(0.0, 0.2),
)
OUTPUT = replace(
    INPUT,
    key="output",
    title="Overlap of what is written",
    means="Mean squared cosine of the principal angles between the spaces that two deltas write "
    "to.",
    chance="rank / d_out",
)
SHARED = Number(
    "shared",
    "Directions in common",
    "Principal angles up to 10 degrees, of as many as there are.",
    "0 to all",
    "none",
    "Björck and Golub 1973",
)
SIGNS = Number(
    "sign_conflict",
    "Sign conflict",
    "Share of entries in which two deltas have opposite signs.",
    "0 to 100 %",
    "50 %; arccos(c) / π for Gaussian entries of cosine c",
    "arXiv:2306.01708, section 3",
    unit="%",
    scale="diverging",
    middle=0.5,
    least=(0.4, 0.6),
)
RATIO = Number(
    "norm_ratio",
    "Norm, first over second",
    "Norm of the first over that of the second.",
    "above 0",
    "1 for two of one size",
    scale="diverging",
    middle=1.0,
    log=True,
)

DISAGREEMENT = Number(
    "disagreement",
    "Entries with both signs",
    "Share of entries in which both signs occur among the adapters.",
    "0 to 100 %",
    "1 − 2^(1 − n) for n adapters",
    "arXiv:2306.01708, figure 4",
    unit="%",
)
CANCELLED = Number(
    "cancelled",
    "Cancelled in the sum",
    "Share of the entries' magnitude that is lost when the deltas are added.",
    "0 (all signs agree) to 100 %",
    "1 − 1 / √n for n adapters of one norm",
    unit="%",
)
IMBALANCE = Number(
    "imbalance",
    "Imbalance of norms",
    "The largest norm over the smallest that is not zero.",
    "1 and up",
    "1 for adapters of one size; from 3 on it is warned of",
    log=True,
)
ENERGY = Number(
    "energy",
    "Energy held by a rank",
    "Share of the plain sum's energy that its best approximation of a rank holds.",
    "0 to 100 %",
    "rank / all ranks together where all singular values are alike",
    "Eckart and Young 1936",
    unit="%",
    ends=(None, 1.0),
)
CHANGE = Number(
    "copa_change",
    "What S changes",
    "Distance of CoPA's merge to the one with S = 1, over the norm of that one.",
    "0 and up",
    "0 where all S are alike, as they are normalised over adapters",
    f"{PAPER}, table 7, there in points",
    unit="%",
)

TO_MERGE = replace(
    COSINE,
    key="to_merge",
    title="Cosine to the merge",
    means="Of an adapter's delta and the merged one.",
    chance="0; the mean of n unrelated adapters of one norm has 1 / √n to each",
)
KEPT = Number(
    "preserved_energy",
    "Energy in kept directions",
    "Share of an adapter's energy in singular directions that the merge sends within the angle "
    "of where the adapter does.",
    "0 to 100 %",
    "next to none",
    f"direction robustness, {PAPER}",
    unit="%",
    ends=(0.0, 1.0),
)
PRESERVED = replace(
    KEPT,
    key="preserved",
    title="Directions kept",
    means="Share of an adapter's singular directions that the merge sends within the angle of "
    "where the adapter does, each direction of each layer counted once, strong or weak.",
)
ANGLE = Number(
    "angle",
    "Angle of the leading direction",
    "Degrees between what an adapter and what the merge make of the adapter's strongest singular "
    "direction.",
    "0 to 180°; 90° where nothing of it is left",
    "90°",
    f"direction robustness, {PAPER}",
    unit="°",
    least=(0.0, 90.0),
)
GAIN = Number(
    "gain",
    "Gain",
    "How strongly the merge acts along an adapter's directions, the strong ones counting more.",
    "0 and up; 1 as in the adapter",
    "0",
    f"direction robustness, {PAPER}",
    scale="diverging",
    middle=1.0,
    log=True,
)
INTERFERENCE = Number(
    "interference",
    "Interference",
    "Relative change of an adapter's delta on the space that it reads from.",
    "0 (none), 1 (as if it were gone), more where it is drowned",
    "a mean of n unrelated adapters has about 1 − 1 / n",
    "after WUDI, arXiv:2503.08099",
    ends=(0.0, None),
)
RESCALED = Number(
    "interference_rescaled",
    "Interference, size aside",
    "The least interference of any multiple of the merge.",
    "0 (none) to 1 (nothing like it)",
    "near 1 for an unrelated delta",
    "after WUDI, arXiv:2503.08099",
    ends=(0.0, 1.0),
)
SIZE = Number(
    "norm_ratio_merge",
    "Relative norm",
    "Norm of the merge over the mean norm of the adapters.",
    "0 and up",
    "√n for the plain sum of n unrelated adapters of one norm, 1 / √n for their mean",
)
RANK_KEPT = Number(
    "energy_kept",
    "Energy kept by the rank",
    "Share of the method's answer that its rank holds; not known of folders without merge.json.",
    "0 to 100 %",
    "100 % where nothing was cut",
    unit="%",
)

ALL: tuple[tuple[str, tuple[Number, ...]], ...] = (
    ("Of an adapter", (NORM, SHARE, STABLE_RANK, EFFECTIVE_RANK, SHAPE, KURTOSIS_A, KURTOSIS_B, S)),
    ("Of a pair", (COSINE, COSINE_A, INPUT, OUTPUT, SHARED, SIGNS, RATIO)),
    ("Of all together", (DISAGREEMENT, CANCELLED, IMBALANCE, ENERGY, CHANGE)),
    (
        "Of a merge, and of an adapter in it",
        (SIZE, RANK_KEPT, KEPT, PRESERVED, ANGLE, GAIN, TO_MERGE, INTERFERENCE, RESCALED),
    ),
)
"""In the order of the page."""
