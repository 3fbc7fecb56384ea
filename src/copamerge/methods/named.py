"""Published methods that are compositions of others: one readable table."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Named(NamedTuple):
    """A composition with a name of its own."""

    summary: str
    source: str
    options: Mapping[str, Any]
    """What a recipe would say; any of it can be set otherwise."""


NAMED: Mapping[str, Named] = MappingProxyType(
    {
        "knots": Named(
            "TIES on the parts of a joint SVD of all deltas.",
            "arXiv:2410.19735; gstoica27/KnOTS, the ViT-B/32 configuration (there with one "
            "threshold over all layers: scope: global, convention: kth)",
            {"rule": "ties", "space": "knots", "density": 0.2, "scale": 0.6},
        ),
        "core": Named(
            "TIES in the core space of all factors.",
            "arXiv:2509.17786; apanariello4/core-space-merging (top-K 10 %)",
            {"rule": "ties", "space": "core", "density": 0.1, "convention": "kth"},
        ),
        "ctm": Named(
            "Compress-then-merge: TIES in common subspaces of the adapters' rank.",
            "arXiv:2606.03723; ZhengbaoHe/compress-then-merge, the README's example",
            {"rule": "ties", "space": "ctm", "density": 0.25, "beta": 0.25, "scale": 0.75},
        ),
        "pico": Named(
            "Mean of adapters whose shared output directions are damped, at the inputs' norm.",
            "arXiv:2604.16826; yixuantt/Pico, the class in pico/pico.py",
            {"rule": "mean", "calibrate": "pico", "scale": "norm_match"},
        ),
        "ocap": Named(
            "Mean of adapters whose norms are capped, layer by layer.",
            "msjo91/OCap",
            {"rule": "mean", "balance": "cap"},
        ),
        "swudi": Named(
            "WUDI's closed form through the spectral filter that its 300 steps amount to.",
            "arXiv:2606.07289; WalkerWorldPeace/MLLMerging, swudi_aswudi.py",
            {"rule": "wudi", "filter": "spectral"},
        ),
        "aswudi": Named(
            "WUDI's closed form along the leading directions only.",
            "arXiv:2606.07289; WalkerWorldPeace/MLLMerging, swudi_aswudi.py",
            {"rule": "wudi", "filter": "adaptive"},
        ),
    }
)
