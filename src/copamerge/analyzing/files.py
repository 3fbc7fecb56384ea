"""The record as files: analysis.json, and one table for each kind of row."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from copamerge.analyzing.record import FORMAT, AnalysedLayer, Analysis, LayerEntries, LayerTrace
from copamerge.errors import CopamergeError

RECORD = "analysis.json"


def json_text(found: Analysis) -> str:
    """The record, indented, but each layer on a line of its own."""
    content = found.model_dump(mode="json")
    layers = content.pop("layers")
    head = json.dumps(content, indent=2, allow_nan=False)
    rows = ",\n".join("    " + json.dumps(layer, allow_nan=False) for layer in layers)
    return f'{head[:-2]},\n  "layers": [\n{rows}\n  ]\n}}\n'


def read_analysis(folder: Path) -> Analysis:
    """The record of a folder that `analyze` wrote.

    Raises:
        CopamergeError: there is none, or it is damaged or of another version.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CopamergeError(
            f"{folder}: no {RECORD}; give a folder that `copamerge analyze -o` wrote"
        ) from None
    except OSError as error:
        raise CopamergeError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        said = str(error)[:100]
        raise CopamergeError(f"{path}: cannot be read ({said}); analyze again") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise CopamergeError(
            f"{path}: format {version!r}, this copamerge reads {FORMAT}; analyze again"
        )
    try:
        # As JSON: keys of numbers are texts there.
        found = Analysis.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CopamergeError(f"{path}: {place}: {first['msg']}; analyze again") from None
    if problem := _misfit(found):
        raise CopamergeError(f"{path}: {problem}; it was changed by hand, analyze again")
    return found


def _misfit(found: Analysis) -> str | None:
    """What the types do not say: that everything is there for each adapter and merge."""
    n, merges = len(found.adapters), len(found.merges)
    if not n or not found.layers:
        return "no adapters or no layers"
    places = {(pair.one, pair.other) for pair in found.pairs}
    if len(found.copa.S_mean) != n or any(not 0 <= i < j < n for i, j in places):
        return f"not all of it is about {n} adapters"
    for merge in found.merges:
        if merge.traces and {len(merge.traces), len(merge.by_direction)} != {n}:
            return f"merge {merge.name!r} is not of {n} adapters"
    for layer in found.layers:
        rows = [layer.adapters, *(row for row in layer.merges if row is not None)]
        strange = any((pair.one, pair.other) not in places for pair in layer.pairs)
        if len(layer.merges) != merges or any(len(row) != n for row in rows) or strange:
            return f"layer {layer.layer!r} is not of {n} adapters and {merges} merges"
    return None


def tables(found: Analysis) -> dict[str, str]:
    """File name -> CSV. Empty cells are what is null in the record."""
    return {
        "adapters.csv": _csv(_adapters(found)),
        "pairs.csv": _csv(_pairs(found)),
        "merges.csv": _csv(_merges(found)),
        "layers.csv": _csv(_layers(found)),
        "layer_pairs.csv": _csv(_layer_pairs(found)),
        "layer_merges.csv": _csv(_layer_merges(found)),
        "directions.csv": _csv(_directions(found)),
    }


Row = Mapping[str, Any]


def _csv(rows: Iterable[Row]) -> str:
    rows = list(rows)
    out = io.StringIO()
    heads = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        writer.writerow([_cell(row.get(head)) for head in heads])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A name that a spreadsheet would run as a formula is shown as text."""
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _adapters(found: Analysis) -> Iterable[Row]:
    for i, one in enumerate(found.adapters):
        yield {
            "adapter": one.adapter,
            "layers": one.layers,
            "ranks": " ".join(map(str, one.ranks)),
            "norm": one.norm,
            "share": one.share,
            "stable_rank": one.stable_rank,
            "effective_rank": one.effective_rank,
            **{
                f"{factor}_{key}": getattr(getattr(one, factor), key)
                for factor in ("A", "B")
                for key in ("shape", "kurtosis", "to_uniform", "to_gaussian")
            },
            "S_mean": found.copa.S_mean[i],
            "S_min": found.copa.S_min[i],
            "S_max": found.copa.S_max[i],
            "why_null": one.why_null,
        }


def _named(found: Analysis, one: int, other: int) -> Row:
    return {"one": found.adapters[one].adapter, "other": found.adapters[other].adapter}


def _pairs(found: Analysis) -> Iterable[Row]:
    for pair in found.pairs:
        yield {
            **_named(found, pair.one, pair.other),
            "shared_layers": pair.shared_layers,
            "cosine": pair.cosine,
            "cosine_A": pair.cosine_A,
            **{
                f"{side}_{key}": getattr(getattr(pair, side), field)
                for side in ("input", "output")
                for key, field in (
                    ("overlap", "mean"),
                    ("chance", "chance"),
                    ("shared", "shared"),
                    ("directions", "of"),
                )
            },
            "sign_conflict": pair.sign_conflict,
            "norm_ratio": pair.norm_ratio,
            "why_null": pair.why_null,
        }


def _merges(found: Analysis) -> Iterable[Row]:
    for merge in found.merges:
        whole = {
            "merge": merge.name,
            "source": merge.source,
            "failed": merge.failed,
            "rank": merge.rank,
            "energy_kept": merge.energy_kept,
            "norm": merge.norm,
            "norm_ratio": merge.norm_ratio,
        }
        if not merge.traces:
            yield whole
        for one, trace in zip(found.adapters, merge.traces, strict=bool(merge.traces)):
            yield {**whole, "adapter": one.adapter, **trace.model_dump()}


def _layers(found: Analysis) -> Iterable[Row]:
    for layer in found.layers:
        for one, part in zip(found.adapters, layer.adapters, strict=True):
            if part is not None:
                yield {
                    **_place(layer),
                    "adapter": one.adapter,
                    **part.model_dump(exclude={"sigma", "A", "B", "why_null"}),
                    **_entries("A", part.A),
                    **_entries("B", part.B),
                    **{f"sigma_{k + 1}": value for k, value in enumerate(part.sigma)},
                    "why_null": part.why_null,
                }


def _place(layer: AnalysedLayer) -> Row:
    return {key: getattr(layer, key) for key in ("layer", "block", "module", "d_out", "d_in")}


def _entries(factor: str, part: LayerEntries | None) -> Row:
    keys = ("shape", "sd", "kurtosis", "to_uniform", "to_gaussian")
    return {f"{factor}_{key}": None if part is None else getattr(part, key) for key in keys}


def _layer_pairs(found: Analysis) -> Iterable[Row]:
    for layer in found.layers:
        for pair in layer.pairs:
            yield {
                **_place(layer),
                **_named(found, pair.one, pair.other),
                **pair.model_dump(exclude={"one", "other"}),
            }


def _layer_merges(found: Analysis) -> Iterable[Row]:
    for row, _ in _traces(found):
        yield row


def _directions(found: Analysis) -> Iterable[Row]:
    keys = ("layer", "merge", "adapter")
    for row, part in _traces(found):
        for k, (angle, gain) in enumerate(zip(part.angles, part.gains, strict=True)):
            yield {
                **{key: row[key] for key in keys},
                "direction": k + 1,
                "angle": angle,
                "gain": gain,
            }


def _traces(found: Analysis) -> Iterable[tuple[Row, LayerTrace]]:
    for layer in found.layers:
        for merge, parts in zip(found.merges, layer.merges, strict=True):
            for one, part in zip(found.adapters, parts or (), strict=False):
                if part is not None:
                    yield (
                        {
                            **_place(layer),
                            "merge": merge.name,
                            "adapter": one.adapter,
                            **part.trace.model_dump(),
                            "why_null": part.why_null,
                        },
                        part,
                    )
