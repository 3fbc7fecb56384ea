"""Open a family: what it says of itself, and whether its tensors are those."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from copamerge.errors import AdapterError, did_you_mean
from copamerge.families.record import FORMAT, MASKS, RECORD, SHARED, FamilyLayer, FamilyRecord
from copamerge.io.tensorfile import Header, TensorFile, open_tensors
from copamerge.merging.walk import sha256_of

AGAIN = "copy the family again, or make it again"


@dataclass(frozen=True, eq=False)
class Family:
    """A family on disk whose files are whole; tensors are read when asked for."""

    path: Path
    record: FamilyRecord
    shared: TensorFile
    masks: TensorFile

    def index(self, name: str) -> int:
        """Which member is called so.

        Raises:
            AdapterError: none is.
        """
        if name not in self.record.names:
            hint = did_you_mean(name, self.record.names)
            raise AdapterError(f"{self.path}: no member {name!r}{hint}")
        return self.record.names.index(name)


def open_family(path: Path) -> Family:
    """Read family.json, and check both tensor files against it: names, shapes, types, hashes.

    Raises:
        AdapterError: not a family, one of another format, or files that are not those it names.
    """
    record = _record(path)
    problems: list[str] = []
    files: list[TensorFile] = []
    for name in (SHARED, MASKS):
        try:
            files.append(_checked(path / name, record))
        except AdapterError as error:
            problems += error.problems
    if problems:
        raise AdapterError(problems)
    return Family(path, record, *files)


def _record(path: Path) -> FamilyRecord:
    file = path / RECORD
    if not path.is_dir():
        there = "is a file" if path.exists() else "no such folder"
        raise AdapterError(f"{path}: {there}; give a folder that `copamerge family make` wrote")
    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise AdapterError(
            f"{path}: not a family (no {RECORD} in it); give a folder that "
            "`copamerge family make` wrote"
        ) from None
    except OSError as error:
        raise AdapterError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise AdapterError(f"{file}: damaged (not valid JSON); {AGAIN}") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise AdapterError(
            f"{file}: its format is {found!r}, and this copamerge reads format {FORMAT}; "
            "use the version that wrote it, or make the family again"
        )
    try:
        record = FamilyRecord.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise AdapterError(f"{file}: {place}: {first['msg'].lower()}; {AGAIN}") from None
    n = len(record.members)
    strays = [x.layer for x in record.layers if not all(0 <= i < n for i in x.members)]
    if strays:
        raise AdapterError(f"{file}: layer {strays[0]!r} names members that are not there; {AGAIN}")
    return record


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _checked(file: Path, record: FamilyRecord) -> TensorFile:
    """
    Raises:
        AdapterError: the file is damaged, or not the one that family.json means.
    """
    if not file.is_file():
        raise AdapterError(f"{file}: is missing; {AGAIN}")
    opened = open_tensors(file)
    meant: dict[str, Header] = {}
    for layer in record.layers:
        meant |= (_shared if file.name == SHARED else _masks)(layer, record)
    for name in sorted(meant.keys() ^ opened.headers.keys()):
        what = "lacks" if name in meant else "has a stray"
        raise AdapterError(f"{file}: {what} tensor {name!r}, by {RECORD} beside it; {AGAIN}")
    for name, header in meant.items():
        if opened.headers[name] != header:
            raise AdapterError(
                f"{file}: tensor {name!r} is {opened.headers[name].shape}, not {header.shape} as "
                f"{RECORD} beside it says, or of another type; {AGAIN}"
            )
    if sha256_of(file) != record.sha256.get(file.name):
        raise AdapterError(
            f"{file}: its bytes are not those that {RECORD} names (another SHA-256): it was "
            f"changed or damaged; {AGAIN}"
        )
    return opened


def _shared(layer: FamilyLayer, record: FamilyRecord) -> dict[str, Header]:
    dtype: torch.dtype = getattr(torch, record.dtype)
    rows, columns = layer.rows, layer.columns
    shapes: dict[str, tuple[int, ...]] = {}
    if rows * columns:
        shapes["unified"] = (rows, columns)
        if record.space == "core":
            shapes |= {"U": (layer.d_out, rows), "V": (layer.d_in, columns)}
    if layer.has_bias:
        shapes["bias"] = (layer.d_out,)
    return {f"{layer.layer}.{part}": Header(shape, dtype) for part, shape in shapes.items()}


def _masks(layer: FamilyLayer, record: FamilyRecord) -> dict[str, Header]:
    sizes = {"mask": layer.rows * layer.columns, "bias_mask": layer.d_out * layer.has_bias}
    return {
        f"{layer.layer}.{part}": Header((len(layer.members), -(-size // 8)), torch.uint8)
        for part, size in sizes.items()
        if size
    }
