"""Everything `copamerge analyze` says: the content of analysis.json.

Null means that there is no such number; `why_null` beside it says why. Norms are Frobenius norms
of deltas, scaling included, weight not. Energy is a squared norm. Orders are those of the command.
"""

from typing import Any, Literal

from copamerge.analysis.entries import Shape
from copamerge.analyzing.traces import Part, Trace

FORMAT = 1
"""Version of the record; readers refuse others."""


class Notice(Part):
    """A warning and its remedy."""

    text: str
    """What is so, in plain words."""
    do: str | None = None
    """What to do about it."""


class Advice(Part):
    """A method that fits, by a rule of docs/choose.md."""

    command: str
    """Options of `copamerge merge`."""
    situation: str
    """The rule's own words for the adapters at hand."""
    why: str


class Answers(Part):
    """The five questions before a merge, each in a sentence or two."""

    fit: str
    """Do these fit?"""
    related: str
    """How related are they?"""
    dominates: str
    """Who dominates?"""
    lost: str
    """What will be lost at rank r?"""
    methods: tuple[Advice, ...]
    """Which method fits? The first is the one to begin with."""
    needs: tuple[str, ...] = ()
    """Options without which a merge would not start: what to do with full tensors."""


class Distribution(Part):
    """How the entries of one factor are distributed, over all layers of one adapter."""

    shape: Shape | Literal["mixed"] | None
    """What three quarters of the layers are; null where no layer has a spread."""
    layers: dict[str, int]
    """Shape -> number of layers."""
    kurtosis: float | None
    """Median over layers: 1.8 if uniform, 3 if Gaussian."""
    to_uniform: float | None
    """Median over layers of the Kolmogorov-Smirnov distance to a uniform distribution."""
    to_gaussian: float | None
    """The same to a Gaussian one. The two are 0.057 from each other."""


class AnalysedAdapter(Part):
    """One adapter over all its layers."""

    adapter: str
    """As it was called."""
    revision: str | None
    format: str
    sha256: dict[str, str]
    """Hash of each file, by name."""
    base_model: str | None
    task_type: str | None
    ranks: tuple[int, ...]
    """Ranks that occur among its layers."""
    layers: int
    tensors: int
    """Tensors in the file: those of the factors, and the next two."""
    not_measured: tuple[str, ...]
    """Full tensors and LoRA biases: they are no low-rank deltas, and no measure sees them."""
    ignored: dict[str, str]
    """Tensors that say nothing new, with the reason."""
    norm: float
    share: float | None
    """Of the sum of all adapters' energies."""
    stable_rank: float | None
    """Mean over layers, each counted by its energy."""
    effective_rank: float | None
    """The same of the effective rank."""
    spectrum: tuple[float, ...]
    """Mean over layers of sigma_k / sigma_1, the largest first."""
    by_module: dict[str, float | None]
    """Module -> share of this adapter's energy."""
    by_block: dict[str, float | None]
    """Block -> share; the layers outside of blocks are under the empty name."""
    A: Distribution
    B: Distribution
    why_null: str | None


class Overlap(Part):
    """Of two adapters' spaces, over the layers that both move."""

    mean: float | None
    """Mean over layers of the mean squared principal cosine, 0 to 1."""
    chance: float | None
    """What unrelated adapters of these ranks have."""
    shared: int
    """Directions in common up to 10 degrees, over all layers."""
    of: int
    """As many could be."""


class Pair(Part):
    """Two adapters over the layers they share."""

    one: int
    other: int
    shared_layers: int
    cosine: float | None
    """Of their deltas, all shared layers as one vector."""
    cosine_A: float | None
    """Mean cosine between rows of A with the same index: near 1 for a shared random start, about 0
    for independent ones. Null where no layer has equal ranks."""
    input: Overlap
    """Of what they read."""
    output: Overlap
    """Of what they write."""
    sign_conflict: float | None
    """Share of entries with opposite signs, by chance 1/2."""
    norm_ratio: float | None
    """Norm of the first over that of the second."""
    why_null: str | None


class Together(Part):
    """All adapters at once."""

    norm_of_sum: float
    imbalance: float | None
    """Largest norm over smallest that is not zero."""
    disagreement: float | None
    """Share of entries in which both signs occur; by chance `1 - 2^(1 - n)`."""
    cancelled: float | None
    """Share of the entries' magnitude lost in the plain sum; by chance `1 - 1 / sqrt(n)`."""
    entries: int
    """Entries of all layers."""
    entries_looked_at: int
    """Of them, those that signs were compared at: all in small layers, a fixed sample in others."""
    energy: dict[int, float] | None
    """Rank -> share of the plain sum's energy that this rank holds, all layers together."""
    rank_99: int | None
    """The smallest rank that holds 99 % of it."""
    why_null: str | None


class AnalysedCopa(Part):
    """What CoPA's pruning and its coefficients S do here, at its defaults."""

    density: float
    S_mean: tuple[float | None, ...]
    """Per adapter, over layers and rank indices: 1 where pruning takes nothing. Rows of zero in A,
    which have no S, do not count."""
    S_min: tuple[float | None, ...]
    S_max: tuple[float | None, ...]
    multiples: tuple[tuple[float, ...], ...]
    """Per adapter: singular value k of its pruned and scaled term over that of its delta, mean over
    the layers that have one (the paper's figure 2b)."""
    multiples_without: tuple[tuple[float, ...], ...]
    """The same with S = 1."""
    change: float | None
    """`||M - M_1||_F / ||M_1||_F`, with M_1 the merge that has S = 1; normalised, weights 1."""
    cosine: float | None
    """Between the two."""
    why_null: str | None


class Quartiles(Part):
    """Of one number over layers."""

    low: float
    median: float
    high: float


class DirectionSummary(Part):
    """Singular direction k of one adapter in a merge, over all its layers."""

    angle: Quartiles
    """Degrees between what the adapter and the merge make of it, 0 to 180; 90 where nothing of it
    is left, and typical of chance."""
    gain: Quartiles
    """How strongly the merge acts along it, 1 as in the adapter."""


class AnalysedMerge(Part):
    """One merge beside the adapters."""

    name: str
    source: Literal["folder", "method"]
    """A folder that was given, or merged in memory by a method."""
    method: dict[str, Any] | None
    """Name and options, where they are known."""
    failed: str | None
    """Why there is no merge."""
    rank: int | None
    """The largest of a layer."""
    energy_kept: float | None
    """Share of the method's answer that its rank holds; of a folder what its merge.json says, null
    without one."""
    norm: float | None
    norm_ratio: float | None
    """That over the mean norm of the adapters."""
    traces: tuple[Trace, ...]
    """One for each adapter; empty without a merge."""
    by_direction: tuple[tuple[DirectionSummary, ...], ...]
    """For each adapter, its directions, the strongest of each layer first."""
    notices: tuple[Notice, ...]


class LayerEntries(Part):
    """The entries of one factor in one layer."""

    shape: Shape
    sd: float
    kurtosis: float
    to_uniform: float
    to_gaussian: float


class LayerAdapter(Part):
    """One adapter in one layer."""

    norm: float
    share: float | None
    """Of this adapter's energy over all layers."""
    rank: int
    """As stored; `len(sigma)` may be less where its delta has a lower rank."""
    sigma: tuple[float, ...]
    """Singular values, the largest first, up to 16."""
    stable_rank: float | None
    effective_rank: float | None
    A: LayerEntries | None
    """Null where all entries are the same."""
    B: LayerEntries | None
    S_mean: float | None
    """Mean over rank indices of CoPA's coefficient; null where A is zero."""
    why_null: str | None


class LayerPair(Part):
    """Two adapters in one layer; only layers that both adapt are there."""

    one: int
    other: int
    cosine: float | None
    cosine_A: float | None
    input_overlap: float | None
    output_overlap: float | None
    input_shared: int
    output_shared: int
    sign_conflict: float | None
    why_null: str | None


class LayerTrace(Part):
    """One adapter in one merge in one layer."""

    trace: Trace
    angles: tuple[float, ...]
    """Degrees, of the leading directions, up to 16."""
    gains: tuple[float, ...]
    why_null: str | None


class AnalysedLayer(Part):
    """One layer."""

    layer: str
    block: str
    module: str
    d_out: int
    d_in: int
    adapters: tuple[LayerAdapter | None, ...]
    """Null where an adapter has no such layer."""
    pairs: tuple[LayerPair, ...]
    imbalance: float | None
    disagreement: float | None
    cancelled: float | None
    energy: dict[int, float] | None
    """Rank -> share of the plain sum's energy; null where the sum is zero."""
    copa_change: float | None
    """What S changes of CoPA's merge here."""
    merges: tuple[tuple[LayerTrace | None, ...] | None, ...]
    """For each merge, each adapter; null without a merge, or without the layer."""
    why_null: str | None


class Analysis(Part):
    """The whole record."""

    format: int = FORMAT
    adapters: tuple[AnalysedAdapter, ...]
    pairs: tuple[Pair, ...]
    together: Together
    copa: AnalysedCopa
    merges: tuple[AnalysedMerge, ...]
    layers: tuple[AnalysedLayer, ...]
    """In the order of blocks."""
    notices: tuple[Notice, ...]
    answers: Answers
    within_degrees: float
    """The angle up to which a direction counts as preserved."""
    recipe: dict[str, Any]
    """Weights, rank and the like that methods merged with."""
    run: dict[str, Any]
    """Versions and device."""
