"""Adapters with other singular values: what figures 2a and 2b of the paper change before a merge.

A delta `B A = U diag(s) V^T` gets the singular values `m * s` by changing B alone:
`B' = U diag(m) U^T B`. A stays as it is, so what a factor-wise method reads off A (copa's S, the
meaning of rank index i) is the same before and after, and only the spectrum differs.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from copamerge.core.adapter import Adapter
from copamerge.core.delta import Energy, LowRank, factorize
from copamerge.core.draws import Draws
from copamerge.errors import AdapterError
from copamerge.io import open_adapter
from copamerge.io._atomic import whole_folder


@final
@dataclass(frozen=True)
class Half:
    """Keep one half of the singular values of each delta, or all; an odd one is `larger`."""

    keep: Literal["all", "larger", "smaller"]

    @property
    def name(self) -> str:
        return f"half-{self.keep}"

    def multiples(self, values: Sequence[float]) -> tuple[float, ...]:
        """What each singular value is multiplied by, largest first."""
        half = (len(values) + 1) // 2
        large, small = self.keep != "smaller", self.keep != "larger"
        return (float(large),) * half + (float(small),) * (len(values) - half)


@final
@dataclass(frozen=True)
class Ramp:
    """Multiply singular values by numbers that rise or fall in equal steps, largest value first."""

    first: float
    last: float
    keep_norm: bool = True
    """Scale all alike afterwards, so that the delta's norm is what it was: then a change of the
    points comes from the shape of the spectrum and not from its size."""

    @property
    def name(self) -> str:
        return f"ramp-{self.first:g}-{self.last:g}{'' if self.keep_norm else '-free'}"

    def multiples(self, values: Sequence[float]) -> tuple[float, ...]:
        """What each singular value is multiplied by, largest first."""
        if len(values) < 2:
            return (1.0 if self.keep_norm else self.first,) * len(values)
        steps = torch.linspace(self.first, self.last, len(values), dtype=torch.float64)
        s = torch.tensor(values, dtype=torch.float64)
        now = float((steps * s).square().sum())
        if self.keep_norm and now > 0:
            steps *= (float(s.square().sum()) / now) ** 0.5
        return tuple(steps.tolist())


Spectral = Half | Ramp
"""What is done to the singular values of a delta."""


class Spectrum(NamedTuple):
    """The singular values of a delta, largest first, and its directions of the output."""

    values: Float[Tensor, " k"]
    U: Float[Tensor, "d_out k"]


def spectrum(
    A: Float[Tensor, "r d_in"], B: Float[Tensor, "d_out r"], scaling: float = 1.0
) -> Spectrum:
    """The numerically nonzero singular values of `scaling B A`, and U, in float64, from factors."""
    # Energy(1.0) asks for the numerical rank; square roots of the values are in both factors.
    found = factorize(LowRank(A.double(), B.double()), Energy(1.0), Draws(0, ""))
    values = found.A.double().square().sum(1)
    U = found.B.double() / values.sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    return Spectrum(abs(scaling) * values, U)


def rescaled(
    A: Float[Tensor, "r d_in"], B: Float[Tensor, "d_out r"], spectral: Spectral
) -> Float[Tensor, "d_out r"]:
    """B such that `B A` has the singular values that `spectral` says, and the same directions.

    The delta has as many singular values as its smallest side, zeros included: half of rank 16 is
    8, whatever the numerical rank is.
    """
    count = min(A.shape[0], A.shape[1], B.shape[0])
    found = spectrum(A, B)
    values = found.values.tolist()
    multiples = spectral.multiples([*values, *[0.0] * (count - len(values))])
    m = torch.tensor(multiples[: len(values)], dtype=torch.float64)
    return ((found.U * m) @ (found.U.mT @ B.double())).to(B.dtype)


def write_transformed(source: str, spectral: Spectral, out: Path) -> Path:
    """A copy of the adapter at `source` whose deltas have other singular values, at `out`.

    The folder appears whole or not at all. Half-precision adapters are written in float32: the
    rounding would put back a little of what was taken away.

    Raises:
        AdapterError: the adapter cannot be read, or has layers that are not linear ones.
        OutputError: the place is taken, or cannot be written.
    """
    from safetensors.torch import save_file

    adapter = open_adapter(source)
    if len(adapter.files) < 2:
        raise AdapterError(f"{source}: no adapter_config.json beside the weights; give a folder")
    if adapter.format != "peft":
        raise AdapterError(
            f"{source}: in LLaVA's own layout; merge it alone into PEFT's first, by "
            f"`copamerge merge {source} -m mean -o OUT`"
        )
    stored = {name: _stored(adapter, name) for name in adapter.layers}
    tensors = {name: adapter.tensor(name) for name in _names(adapter)}
    for layer, (name_A, name_B) in stored.items():
        module = adapter.module(layer)
        tensors[name_A] = module.A.float()
        tensors[name_B] = rescaled(module.A.float(), module.B.float(), spectral)
    with whole_folder(out) as folder:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        shutil.copyfile(adapter.files[1], folder / "adapter_config.json")
        what = {"source": adapter.label, "spectrum": vars(spectral)}
        (folder / "spectrum.json").write_text(json.dumps(what, indent=2) + "\n", encoding="utf-8")
    return out


def _stored(adapter: Adapter, layer: str) -> tuple[str, str]:
    """Names of A and B in the file, where they are stored as they are used."""
    info, module = adapter.layers[layer], adapter.module(layer)
    A, B = info.tensors[:2]
    if adapter.tensor(A).shape != module.A.shape or adapter.tensor(B).shape != module.B.shape:
        raise AdapterError(
            f"{adapter.label}: layer {layer!r} is a {info.kind.value} whose factors are stored in "
            "another shape; singular values are changed in plain linear layers only"
        )
    return A, B


def _names(adapter: Adapter) -> list[str]:
    layers = [name for info in adapter.layers.values() for name in info.tensors]
    return [*layers, *(saved.tensor for saved in adapter.saved.values())]
