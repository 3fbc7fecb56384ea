"""WUDI in closed form: least interference on the inputs that the adapters themselves reveal."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import Field, model_validator
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import NOISE, core_of
from copamerge.methods._base import OF_DELTAS, Law, MergeMethod, refuse_idle
from copamerge.methods._steps import biases, total_weight

Filter = Literal["spectral", "adaptive", "none"]
SMALLEST = 1e-8
"""The reference divides by no eigenvalue below this."""


def least_interference(
    deltas: Float64[Tensor, "n p q"],
    start: Float64[Tensor, "p q"],
    filter: Filter,
    *,
    time: float,
    directions: int,
) -> Float64[Tensor, "p q"]:
    """What minimises `sum_n |(X - D_n) D_n^T|^2 / |D_n|^2`, from `start` and as far as filtered.

    With C and D the sums of `D_n^T D_n` and `D_n D_n^T D_n` over `|D_n|^2`, and C's eigenvectors V
    of descending eigenvalues l: `start (1 - V f V^T) + D V (f / l) V^T`. f is 1 - exp(-l time)
    for the first `directions` and 0 after them (`spectral`), 1 for the first
    `(sum sqrt l)^2 / sum l` (`adaptive`), or 1 for all that are not noise (`none`).
    """
    if not len(deltas):
        return start
    size = deltas.square().sum((1, 2), keepdim=True)
    C = (deltas.mT @ deltas / size).sum(0)
    D = (deltas @ deltas.mT @ deltas / size).sum(0)
    values, V = torch.linalg.eigh(C)
    values, V = values.flip(0).clamp(min=0), V.flip(1)
    # Only directions that a delta reads: the others are noise, whatever a filter would do.
    there = values > NOISE * values[:1]
    values, V = values[there], V[:, there]
    place = torch.arange(len(values), device=values.device)
    if filter == "spectral":
        f = (1 - torch.exp(-values * time)) * (place < directions)
    elif filter == "adaptive":
        # 1e-9: equal eigenvalues give a whole number, which rounding must not lift to the next.
        count = math.ceil(float(values.sqrt().sum() ** 2 / values.sum()) - 1e-9)
        f = (place < count).double()
    else:
        f = torch.ones_like(values)
    floor = values if filter == "none" else values.clamp(min=SMALLEST)
    merged: Tensor = start - (start @ V * f) @ V.mT + (D @ V * (f / floor)) @ V.mT
    return merged


class Wudi(MergeMethod):
    """The matrix that differs least from every delta on that delta's own input directions.

    The paper takes 300 steps of Adam from the sum. Here is the solution itself, by default with
    the spectral filter that those steps amount to (SWUDI). Exact from the factors: the inputs that
    count are spanned by the A of the adapters.
    """

    name: ClassVar = "wudi"
    source: ClassVar = (
        "arXiv:2503.08099; closed form and filters: arXiv:2606.07289, WalkerWorldPeace/MLLMerging"
    )
    laws: ClassVar = OF_DELTAS

    filter: Filter = "spectral"
    """How far the solution is followed: `spectral` less along directions that adapters hardly read
    (SWUDI), `adaptive` fully along the leading ones (ASWUDI), `none` all the way, which over-fits
    where the adapters' inputs hardly overlap."""

    time: float = Field(default=300.0, gt=0)
    """Steps that the spectral filter stands for, above 0 (the code's 300)."""

    share: float = Field(default=0.65, gt=0, le=1)
    """Share of the d_in input directions that the spectral filter lets through, in (0, 1] (the
    code's 0.65, which for adapters is all they have)."""

    start: Literal["sum", "mean", "zero"] = "sum"
    """Where the solution starts, which decides what no adapter determines: the weighted `sum` (the
    paper), the `mean`, or `zero`."""

    scale: float = 1.0
    """Multiplies the merged delta (the paper's 1)."""

    @model_validator(mode="after")
    def _no_idle_options(self) -> "Wudi":
        if self.filter != "spectral":
            refuse_idle(self, f"filter: {self.filter}", "time", "share")
        return self

    def merge(self, stack: FactorStack, draws: Draws) -> LowRank:
        del draws
        core = core_of(stack)
        total = core.weighted().sum(0)
        begin = {"sum": 1.0, "zero": 0.0}.get(self.start)
        start = (1 / total_weight(stack) if begin is None else begin) * total
        merged = least_interference(
            core.weighted(),
            start,
            self.filter,
            time=self.time,
            directions=math.ceil(len(core.V) * self.share),
        )
        return core.lift(self.scale * merged, self.result_rank(stack.ranks))

    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The mean: there is no input direction to weigh a bias by."""
        del draws
        return self.scale * (stack.weights @ biases(stack)) / total_weight(stack)

    def result_rank(self, ranks: Sequence[int]) -> int:
        return sum(ranks)

    def promises(self) -> frozenset[Law]:
        laws = set(self.laws)
        if self.scale == 1 and (self.start != "zero" or self.filter == "none"):
            laws |= {Law.IDENTITY}
        if self.scale == 1 and (self.start == "mean" or self.filter == "none"):
            laws |= {Law.COPIES}
        return frozenset(laws)
