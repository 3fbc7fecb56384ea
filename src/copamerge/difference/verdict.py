"""In one sentence: how do two adapters relate."""

from collections.abc import Sequence

import torch

from copamerge.analysis.image import ROUNDING
from copamerge.analysis.initialisation import SHARED
from copamerge.difference.record import (
    BiasDifference,
    FullTensor,
    Kind,
    LayerDifference,
    Likeness,
    Lone,
    Unlike,
    Verdict,
)

ROUNDED = 2.0
"""In units of half the spacing of a type at 1: how far the product of two rounded factors can be
off, relative to its norm. Measured on real adapters: about 0.5."""
CLOSE = 0.1
"""Relative distance up to which two deltas are close."""
FEW = 0.5
"""Share of the layers up to which it is a few that differ."""
BY_CHANCE = 4.0
"""Cosines up to so many times what chance gives say nothing."""
MUCH, LITTLE = 0.5, 0.1
"""Cosine from which two deltas are related, and below which they hardly are."""
UNEVEN = 2.0
"""Ratio of norms from which a sentence tells it."""
SOME = 3
"""Layers that a sentence names."""


def verdict_of(
    layers: Sequence[LayerDifference],
    whole: Likeness,
    *,
    lone: tuple[Sequence[Lone], Sequence[Lone]],
    unlike: Sequence[Unlike],
    full: Sequence[FullTensor],
    same_files: bool,
) -> Verdict:
    """The first of the kinds that holds, in the order of `Kind`, and the sentence for it.

    What comes beside it (layers that one of them lacks, LoRA's own biases, full tensors) is told
    after it.
    """
    limit = equal_below(layers)
    others = [x.layer for side in lone for x in side] + [x.layer for x in unlike]
    differing = [x.layer for x in layers if not _alike(x, limit)]
    kind, sentence = _kind(layers, whole, differing, others, limit, same_files)
    biases = sum(not _bias_alike(kind, x, limit) for x in layers)
    sentence += _beside(kind, lone, unlike, biases, full)
    named = (*differing, *others) if kind == "all_but" else ()
    return Verdict(kind=kind, sentence=f"{sentence}.", equal_below=limit, differing=named)


def equal_below(layers: Sequence[LayerDifference]) -> float:
    """The relative distance up to which a delta is the same: rounding of the coarsest type."""
    types = {getattr(torch, dtype) for layer in layers for dtype in layer.dtypes}
    return max([ROUNDING, *(ROUNDED * torch.finfo(dtype).eps / 2 for dtype in types)])


def _kind(
    layers: Sequence[LayerDifference],
    whole: Likeness,
    differing: Sequence[str],
    others: Sequence[str],
    limit: float,
    same_files: bool,
) -> tuple[Kind, str]:
    if not layers:
        return "nothing_shared", "They have no layer in common that can be compared"
    if not others and (found := _same_factors(layers, whole, same_files)):
        return found
    if whole.norm_one == 0.0 or whole.norm_other == 0.0:
        return "zero", _zero(whole)
    total = len(layers) + len(others)
    if not differing and not others:
        return "same_delta", (
            "The same delta from other factors: relative distance "
            f"{whole.relative_distance or 0.0:.1g}, which is rounding"
        )
    if not differing:
        return "all_but", f"The same delta in all {_count(len(layers), 'layer')} that both have"
    if found := _scaled(layers, whole, limit):
        return found
    if len(differing) + len(others) <= FEW * total:
        return "all_but", (
            f"The same delta but for {len(differing)} of the {len(layers)} layers that both have "
            f"({_some(differing)}); relative distance over all {whole.relative_distance:.2g}"
        )
    return _apart(whole)


def _same_factors(
    layers: Sequence[LayerDifference], whole: Likeness, same_files: bool
) -> tuple[Kind, str] | None:
    if same_files:
        return "same_file", "The same files, byte for byte"
    if any(x.scalings[0] != x.scalings[1] for x in layers):
        return None
    found = {x.factors for x in layers}
    if found == {"same"}:
        return "same_factors", "The same factors and scaling in every layer, bit for bit"
    for rounded, who, whose, side in (
        ("other_rounded", "second", "first", 1),
        ("one_rounded", "first", "second", 0),
    ):
        if found <= {"same", rounded}:
            types = {x.dtypes[side] for x in layers if x.factors == rounded}
            return "rounded", (
                f"The {who} is the {whose} rounded to {' and '.join(sorted(types))}: relative "
                f"distance {whole.relative_distance or 0.0:.1g}"
            )
    return None


def _scaled(
    layers: Sequence[LayerDifference], whole: Likeness, limit: float
) -> tuple[Kind, str] | None:
    """A multiple, one for all layers or one for each."""
    c = whole.multiple
    assert c is not None, "both deltas are more than zero"
    if all(_times(c, x.likeness, limit) for x in layers):
        if c < 0:
            return "opposite", f"Opposite: the first is {c:.6g} times the second"
        return "scaled", f"A scaled copy: the first is {c:.6g} times the second"
    if all(_times(x.likeness.multiple, x.likeness, limit) for x in layers):
        there = [x.likeness.multiple for x in layers if x.likeness.multiple is not None]
        return "scaled_by_layer", (
            "A copy scaled layer by layer: the first is between "
            f"{min(there):.4g} and {max(there):.4g} times the second"
        )
    return None


def _times(c: float | None, part: Likeness | BiasDifference | None, limit: float) -> bool:
    """Whether the first's is c times the second's; whatever c is where both are zero."""
    if part is None or part.relative_distance is None:
        return True
    if c is None or part.multiple is None or part.remainder is None:
        return False
    return part.remainder <= limit and abs(part.multiple - c) <= 2 * limit * abs(c)


def _apart(whole: Likeness) -> tuple[Kind, str]:
    distance, cosine = whole.relative_distance, whole.cosine
    assert distance is not None and cosine is not None and whole.cosine_chance is not None
    numbers = f"cosine of the deltas {cosine:+.3g}, relative distance {distance:.3g}"
    sizes = sorted((whole.norm_one, whole.norm_other))
    if sizes[1] >= UNEVEN * sizes[0]:
        larger = "first" if whole.norm_one == sizes[1] else "second"
        numbers += f", the {larger} {sizes[1] / sizes[0]:.3g} times as large"
    if distance <= CLOSE:
        return "close", f"Close: relative distance {distance:.2g}, cosine {cosine:.6f}"
    if cosine <= -MUCH:
        return "opposite", f"Largely opposite: {numbers}"
    if whole.cosine_A is not None and whole.cosine_A >= SHARED:
        how = "went much the same way" if cosine >= MUCH else "were trained apart"
        return "shared_start", (
            f"They began from one A (cosine of A {whole.cosine_A:+.2f}) and {how}: {numbers}"
        )
    if abs(cosine) <= BY_CHANCE * whole.cosine_chance:
        return "unrelated", (
            f"Unrelated: {numbers}; chance alone gives cosines of about "
            f"{whole.cosine_chance:.1g} either way"
        )
    how = "Related" if abs(cosine) >= MUCH else "Somewhat related"
    if abs(cosine) < LITTLE:
        how = "Hardly related, though more than by chance"
    against = ", and against each other" if cosine < 0 else ""
    return "related", (
        f"{how}{against}: {numbers}; chance gives cosines of about {whole.cosine_chance:.1g}"
    )


def _alike(layer: LayerDifference, limit: float) -> bool:
    distance = layer.likeness.relative_distance
    return distance is None or distance <= limit


def _bias_alike(kind: Kind, layer: LayerDifference, limit: float) -> bool:
    """Whether LoRA's own bias of a layer fits what is said of its factors."""
    if kind in ("scaled", "scaled_by_layer", "opposite"):
        return _times(layer.likeness.multiple, layer.bias, limit)
    if layer.bias is None or layer.bias.relative_distance is None:
        return True
    exact = kind in ("same_file", "same_factors")
    return layer.bias.same if exact else layer.bias.relative_distance <= limit


def _zero(whole: Likeness) -> str:
    if whole.norm_one == whole.norm_other:
        return "Neither changes anything: both deltas are zero in every layer that both have"
    which = "first" if whole.norm_one == 0.0 else "second"
    return f"The {which} changes nothing: its delta is zero in every layer that both have"


def _beside(
    kind: Kind,
    lone: tuple[Sequence[Lone], Sequence[Lone]],
    unlike: Sequence[Unlike],
    biases: int,
    full: Sequence[FullTensor],
) -> str:
    parts = []
    for side, which in zip(lone, ("first", "second"), strict=True):
        if side:
            parts.append(f"{_count(len(side), 'layer')} only in the {which}")
    if unlike:
        parts.append(f"{_count(len(unlike), 'layer')} of unlike shapes")
    if biases:
        parts.append(f"the LoRA biases of {_count(biases, 'layer')} not the same")
    if kind != "same_file" and (other := [x for x in full if x.found != "equal"]):
        parts.append(f"{len(other)} of {_count(len(full), 'full tensor')} not the same")
    return f"; {', '.join(parts)}" if parts else ""


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SOME])
    return f"{shown} and {len(names) - SOME} more" if len(names) > SOME else shown
