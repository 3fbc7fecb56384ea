"""The adapters of a run: made once, found again when nothing they depend on has changed."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from copamerge._version import __version__
from copamerge.bench.specs import ModelSpec, ScaleRule
from copamerge.bench.units import adapter_digest, canonical, sha256
from copamerge.errors import CopamergeError, SuiteError, did_you_mean

MADE = "made.json"
"""Written last, so its existence says that the folder is finished."""


class Made(NamedTuple):
    """An adapter folder, what it holds, and what making it took and said."""

    path: Path
    digest: str
    seconds: float
    """Of the making, even when that was in an earlier run."""
    warnings: tuple[str, ...]
    method: Mapping[str, Any] | None
    """The method's name and every option as resolved."""
    inputs: tuple[Path, ...]


def made_plain(
    spec: ModelSpec, inputs: Mapping[str, Path], digests: Mapping[str, str], folder: Path
) -> Made:
    """What a method makes of the inputs, without any scale rule.

    Raises:
        CopamergeError: what the recipe, the adapters or the method have to say.
    """
    from copamerge.merging import merge_to_folder, plan, resolve_device
    from copamerge.recipe import recipe_from

    weights = spec.weights or (1.0,) * len(inputs)
    if len(weights) != len(inputs):
        raise SuiteError(
            f"model {spec.name!r}: {len(weights)} weights for {len(inputs)} adapters; give one "
            "for each"
        )
    sources = [
        {"adapter": str(path), "weight": weight}
        for path, weight in zip(inputs.values(), weights, strict=True)
    ]
    recipe = recipe_from({**spec.recipe, "method": spec.method, "adapters": sources})
    content = recipe.model_dump(mode="json")
    content["adapters"] = [source["weight"] for source in content["adapters"]]
    key: dict[str, Any] = {
        "recipe": content,
        "inputs": [[task, digests[task]] for task in inputs],
        "copamerge": __version__,
    }

    def make(place: Path) -> tuple[Sequence[str], Mapping[str, Any] | None]:
        report = merge_to_folder(plan(recipe), place, device=resolve_device("auto"))
        return report.warnings, report.method

    return _made(folder, key, make, tuple(inputs.values()))


def made_scaled(
    plain: Made, rule: ScaleRule, multiple: float, digests: Sequence[str], folder: Path
) -> Made:
    """A plain result brought to scale: matched to the norms of its inputs, then multiplied."""
    key = {
        "of": plain.digest,
        "rule": rule,
        "multiple": multiple,
        "inputs": sorted(digests),
        "copamerge": __version__,
    }

    def make(place: Path) -> tuple[Sequence[str], Mapping[str, Any] | None]:
        from copamerge.bench.rescale import norm_match_factors, rescale

        factors: dict[str, float] | float = multiple
        if rule == "norm_match":
            matched = norm_match_factors(plain.path, plain.inputs)
            factors = {layer: factor * multiple for layer, factor in matched.items()}
        rescale(plain.path, factors, place, rule=rule, multiple=multiple)
        return plain.warnings, plain.method

    scaled = _made(folder, key, make, plain.inputs)
    return scaled._replace(seconds=plain.seconds + scaled.seconds)


def name_of(*identity: Any) -> str:
    """A folder name for what is made in between, from everything that decides it."""
    return sha256(canonical(identity).encode())[:16]


def picked(spec: ModelSpec, inputs: Mapping[str, Path]) -> dict[str, Path]:
    """The inputs that take part.

    Raises:
        SuiteError: one that is asked for is not there.
    """
    if spec.merges is None:
        return dict(inputs)
    problems = [
        f"model {spec.name!r}: no adapter for task {task!r}{did_you_mean(task, inputs)}"
        for task in spec.merges
        if task not in inputs
    ]
    if problems:
        raise SuiteError(problems)
    return {task: inputs[task] for task in spec.merges}


def _made(
    folder: Path,
    key: Mapping[str, Any],
    make: Callable[[Path], tuple[Sequence[str], Mapping[str, Any] | None]],
    inputs: tuple[Path, ...],
) -> Made:
    found = _found(folder, key, inputs)
    if found is not None:
        return found
    if folder.exists():
        shutil.rmtree(folder)
    started = time.perf_counter()
    warnings, method = make(folder)
    seconds = time.perf_counter() - started
    digest = adapter_digest(folder)
    record = {
        "key": key,
        "digest": digest,
        "seconds": round(seconds, 4),
        "warnings": list(warnings),
        "method": method,
    }
    (folder / MADE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Made(folder, digest, seconds, tuple(warnings), method, inputs)


def _found(folder: Path, key: Mapping[str, Any], inputs: tuple[Path, ...]) -> Made | None:
    try:
        record = json.loads((folder / MADE).read_text(encoding="utf-8"))
        same = canonical(record["key"]) == canonical(key)
        if not same or adapter_digest(folder) != record["digest"]:
            return None
        return Made(
            folder,
            record["digest"],
            float(record["seconds"]),
            tuple(record["warnings"]),
            record["method"],
            inputs,
        )
    except (OSError, ValueError, KeyError, TypeError, CopamergeError):
        return None
