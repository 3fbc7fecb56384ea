"""What figures 2b and 2c show of the adapters themselves: measured on a zoo, no model is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from copamerge.errors import CopamergeError

BINS = 81
SPREAD = 4.0
"""Histograms reach this many standard deviations of the widest distribution to each side."""
SAMPLE = 200_000
"""Entries of a kind that a histogram is made of, at most: evenly spaced through all of them."""


@dataclass(frozen=True, eq=False)
class Multiples:
    """Singular value i of an adapter's term in a merge, over that of the adapter itself."""

    label: str
    mean: Float64[np.ndarray, " r"]
    """Over layers and adapters, largest singular value first."""
    low: Float64[np.ndarray, " r"]
    high: Float64[np.ndarray, " r"]
    """The middle half of layers and adapters."""


@dataclass(frozen=True, eq=False)
class Spread:
    """How the entries of a kind of matrix are distributed."""

    label: str
    edges: Float64[np.ndarray, " bins_and_one"]
    density: Float64[np.ndarray, " bins"]
    sd: float
    kurtosis: float
    """Of the entries: 3 for a Gaussian, 1.8 for a uniform distribution."""
    entries: int


def multiples(adapters: Sequence[Path]) -> tuple[Multiples, ...]:
    """What copa's pruning, and its S, do to the singular values, before normalising and adding.

    Raises:
        CopamergeError: an adapter cannot be read.
    """
    from copamerge.bench.transforms import spectrum
    from copamerge.core.draws import Draws
    from copamerge.core.lora import FactorStack
    from copamerge.io import open_adapter
    from copamerge.methods import method_from

    kinds = {
        "pruned": {"coefficients": "none"},
        "pruned and scaled by S (copa)": {},
    }
    found: dict[str, list[list[float]]] = {label: [] for label in kinds}
    for path in adapters:
        adapter = open_adapter(str(path))
        for layer in adapter.layers:
            module = adapter.module(layer)
            own = spectrum(module.A.float(), module.B.float(), module.scaling).values
            stack = FactorStack.of(layer, [module], [1.0])
            for label, options in kinds.items():
                method = method_from({"name": "copa", "normalize": False, "scale": 1.0, **options})
                term = method.merge(stack, Draws(0, layer))
                values = spectrum(term.A, term.B).values  # type: ignore[union-attr]
                # Pruning may lower the rank: what is gone has multiple 0.
                kept = [*values.tolist(), *[0.0] * len(own)][: len(own)]
                if float(own[0]) > 0:
                    found[label].append([k / o for k, o in zip(kept, own.tolist(), strict=True)])
    return tuple(_multiples(label, rows) for label, rows in found.items() if rows)


def _multiples(label: str, rows: list[list[float]]) -> Multiples:
    # Layers of a lower numerical rank have no last values.
    columns = [
        np.array([row[i] for row in rows if len(row) > i]) for i in range(max(map(len, rows)))
    ]
    return Multiples(
        label,
        np.array([column.mean() for column in columns]),
        np.array([np.quantile(column, 0.25) for column in columns]),
        np.array([np.quantile(column, 0.75) for column in columns]),
    )


def spreads(adapters: Sequence[Path], full: Mapping[Path, Path]) -> tuple[Spread, ...]:
    """Entries of A, of B, of the deltas, and of full fine-tuning's deltas where there are any.

    `full` are fine-tuned model folders with their base.

    Raises:
        CopamergeError: an adapter or model cannot be read.
    """
    from copamerge.io import open_adapter

    entries: dict[str, list[Float64[np.ndarray, " n"]]] = {}
    for path in adapters:
        adapter = open_adapter(str(path))
        for layer in adapter.layers:
            module = adapter.module(layer)
            delta = module.scaling * (module.B.float() @ module.A.float())
            for label, tensor in (
                ("LoRA A", module.A),
                ("LoRA B", module.B),
                ("LoRA delta", delta),
            ):
                flat = tensor.float().flatten().numpy().astype(np.float64)
                entries.setdefault(label, []).append(flat)
    for tuned, base in full.items():
        entries.setdefault("full fine-tuning delta", []).extend(_full_deltas(tuned, base))
    return _spreads({label: np.concatenate(parts) for label, parts in entries.items()})


def _full_deltas(tuned: Path, base: Path) -> list[Float64[np.ndarray, " n"]]:
    """Entries of the matrices that full fine-tuning changed."""
    from safetensors import safe_open

    found = []
    try:
        with (
            safe_open(tuned / "model.safetensors", "pt") as after,
            safe_open(base / "model.safetensors", "pt") as before,
        ):
            shared = set(after.keys()) & set(before.keys())
            for name in sorted(shared):
                one, other = after.get_tensor(name).float(), before.get_tensor(name).float()
                if one.ndim == 2 and one.shape == other.shape and bool((one != other).any()):
                    found.append((one - other).flatten().numpy().astype(np.float64))
    except Exception as error:
        raise CopamergeError(
            f"{tuned}: its difference to {base} cannot be read ({error}); both need a "
            "model.safetensors, as save_pretrained writes it"
        ) from None
    return found


def _spreads(entries: Mapping[str, Float64[np.ndarray, " n"]]) -> tuple[Spread, ...]:
    entries = {label: values for label, values in entries.items() if len(values)}
    if not entries:
        return ()
    reach = SPREAD * max(float(values.std()) for values in entries.values()) or 1.0
    edges = np.linspace(-reach, reach, BINS + 1)
    found = []
    for label, values in entries.items():
        some = values[:: max(1, len(values) // SAMPLE)]
        counts, _ = np.histogram(some, edges)
        sd = float(values.std())
        centred = values - values.mean()
        kurtosis = float((centred**4).mean() / sd**4) if sd > 0 else 0.0
        density = counts / (len(some) * np.diff(edges))
        found.append(Spread(label, edges, density, sd, kurtosis, len(values)))
    return tuple(found)
