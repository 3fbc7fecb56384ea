"""Which of an input's singular directions a merge preserves."""

from collections.abc import Sequence
from math import cos, radians
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from copamerge.analysis.image import ROUNDING, Image


class Directions(NamedTuple):
    """One input in one layer, direction by direction, the largest singular value first."""

    sigma: Float64[Tensor, " k"]
    """Singular values of the input's delta."""
    cosine: Float64[Tensor, " k"]
    """Of the angle between `M v_k` and `u_k`, -1 to 1; 0 where nothing is left of `M v_k`."""
    gain: Float64[Tensor, " k"]
    """`|u_k^T M v_k| / sigma_k`, 0 or more."""


def directions(image: Image) -> Directions:
    """How far a merged delta M treats each direction of an input as the input does.

    The input's delta sends its right singular vector v_k to `sigma_k u_k`. Cosine and gain are 1
    where M does the same. For an M that has nothing to do with the input the cosine is about
    `0 +- 1 / sqrt(d_out)`. In a plain sum of unrelated adapters direction k stays within 45
    degrees about as long as sigma_k is above `sqrt(sum_m ||delta_m||_F^2 / d_in)`, m the others.

    An `M v_k` shorter than 1e-6 of the largest singular value is a direction that is lost.

    Source: the direction robustness of arXiv:2502.17159, which is about single directions under
    a merge; angle and gain are this project's way to put it into numbers.
    """
    along = (image.U * image.MV).sum(0)
    length = image.MV.norm(dim=0)
    lost = length <= ROUNDING * image.S[:1]
    cosine = torch.where(lost, 0.0, along / length.where(~lost, torch.ones_like(length)))
    return Directions(image.S, cosine.clamp(-1.0, 1.0), along.abs() / image.S)


class Preserved(NamedTuple):
    """The directions of one input over all its layers; None where it has none."""

    of: int
    """How many directions there are."""
    share: float | None
    """Of the directions, those that are preserved, 0 to 1: each layer's every direction counts
    once, strong or weak."""
    energy: float | None
    """The same with each direction counted by `sigma_k^2`: the share of the input's squared norm
    that lies in preserved directions."""
    gain: float | None
    """Mean gain, each direction counted by `sigma_k^2`: else the weakest would decide it."""


def preserved(layers: Sequence[Directions], within_degrees: float = 45.0) -> Preserved:
    """How many of an input's directions the merge keeps within an angle of where they pointed.

    By chance next to none are: in d_out dimensions a random vector is within 45 degrees of a
    given one with a probability of at most `2^(-(d_out + 1) / 2)`.
    """
    if not sum(len(x.sigma) for x in layers):
        return Preserved(0, None, None, None)
    sigma, cosine, gain = (torch.cat(parts) for parts in zip(*layers, strict=True))
    # 1e-12: a direction at exactly this angle is not lost to rounding.
    kept = (cosine >= cos(radians(within_degrees)) - 1e-12).double()
    energy = sigma.square()
    return Preserved(
        of=len(sigma),
        share=float(kept.mean()),
        energy=float((energy * kept).sum() / energy.sum()),
        gain=float((energy * gain).sum() / energy.sum()),
    )
