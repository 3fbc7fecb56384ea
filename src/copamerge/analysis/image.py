"""Where a merged delta sends what an input's delta reads."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.lowrank import Svd, svd

ROUNDING = 1e-6
"""What is below this share of an input is rounding of a merge in float32, not a result."""


@dataclass(frozen=True, eq=False)
class Image:
    """The k singular directions of one input's delta, and what the merged delta makes of them.

    With the input's delta `U diag(S) V^T` and the merged delta M. k is the delta's rank without
    what is noise; 0 for a delta of zero.
    """

    U: Float64[Tensor, "d_out k"]
    S: Float64[Tensor, " k"]
    """Largest first, all above 0."""
    MV: Float64[Tensor, "d_out k"]


def image_of(merged: LowRank, own: Svd) -> Image:
    """What `merged` makes of the directions of an input, given by its `svd_of`.

    Neither delta is formed. Where singular values tie, the directions among them are the SVD's
    choice; everything else is unchanged when either delta is factored otherwise.
    """
    MV = merged.B.double() @ (merged.A.double() @ own.Vt.mT)
    return Image(own.U, own.S, MV)


def svd_of(A: Float[Tensor, "r d_in"], B: Float[Tensor, "d_out r"]) -> Svd:
    """The SVD of `B @ A` without noise, by QR of both factors: at most r x r is decomposed."""
    Q_B, R_B = torch.linalg.qr(B.double())
    Q_A, R_A = torch.linalg.qr(A.double().mT)
    small = svd(R_B @ R_A.mT)
    return Svd(Q_B @ small.U, small.S, small.Vt @ Q_A.mT)


def norm_of(delta: LowRank) -> float:
    """The Frobenius norm of a delta.

    By QR, not by Gram matrices: those keep half the digits where the terms of a sum cancel.
    """
    R_B = torch.linalg.qr(delta.B.double(), mode="r").R
    R_A = torch.linalg.qr(delta.A.double().mT, mode="r").R
    return float((R_B @ R_A.mT).norm())
