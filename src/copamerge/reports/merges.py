"""Merged folders as the reports see them: what their merge.json says, checked, read only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from copamerge.errors import CopamergeError, first_few
from copamerge.labels import short_names
from copamerge.merging.report import LayerReport, MergeReport

RECORD = "merge.json"


@dataclass(frozen=True, eq=False)
class Merge:
    """One merged folder."""

    path: Path
    name: str
    """Its folder, by as many parts as tell it from the others."""
    report: MergeReport

    @property
    def method(self) -> str:
        return str(self.report.method.get("name", "unknown"))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Short names of the adapters, in recipe order."""
        return tuple(short_names([one.adapter for one in self.report.inputs]))

    @property
    def digests(self) -> tuple[tuple[str, ...], ...]:
        """What the adapters are, whatever they are called."""
        return tuple(tuple(sorted(one.sha256.values())) for one in self.report.inputs)

    def cosine(self, layer: LayerReport, i: int) -> float | None:
        """Of the merge and adapter `i` in a layer; None where it took no part, or is zero."""
        if i not in layer.adapters:
            return None
        return layer.cosines[layer.adapters.index(i)]

    def input_norm(self, layer: LayerReport, i: int) -> float | None:
        """Of adapter `i` in a layer; None where it took no part."""
        if i not in layer.adapters:
            return None
        return layer.input_norms[layer.adapters.index(i)]

    def mean_norm(self, layer: LayerReport) -> float | None:
        """Mean norm of the adapters that took part in a layer; None where all are zero."""
        norms = layer.input_norms
        return sum(norms) / len(norms) if any(norms) else None

    def relative_norm(self, layer: LayerReport) -> float | None:
        """The merge's norm over the mean of its inputs'."""
        mean = self.mean_norm(layer)
        return None if mean is None else layer.norm / mean

    @property
    def size(self) -> float | None:
        """The same over all layers together."""
        norms = [one.delta_norm for one in self.report.inputs if one.delta_norm is not None]
        mean = sum(norms) / len(norms) if norms else 0.0
        return self.report.norm / mean if mean else None


def open_merges(paths: Sequence[Path]) -> tuple[Merge, ...]:
    """All of these merged folders.

    Raises:
        CopamergeError: what is wrong with each of them, all at once.
    """
    reports, problems = [], []
    for path in paths:
        try:
            reports.append(_read(path / RECORD))
        except CopamergeError as error:
            problems += error.problems
    if problems:
        raise CopamergeError(problems)
    names = short_names([str(path.resolve()) for path in paths])
    return tuple(map(Merge, paths, names, reports))


def _read(file: Path) -> MergeReport:
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_no_number)
        report = MergeReport.model_validate(content)
    except OSError as error:
        raise CopamergeError(f"{file}: cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        lacks = [f"{_place(each['loc'])} ({each['msg'].lower()})" for each in error.errors()]
        raise CopamergeError(
            f"{file}: is not what this version of copamerge writes{_writer(content)}: "
            f"{'; '.join(first_few(lacks, 'beside these', 'more problems'))}; merge again by "
            f"`copamerge merge -c {file} -o FOLDER`"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CopamergeError(f"{file}: is not JSON ({error}); merge again") from None
    _check(file, report)
    return report


def _writer(content: object) -> str:
    run = content.get("run") if isinstance(content, dict) else None
    version = run.get("copamerge") if isinstance(run, dict) else None
    return f" (it was written by copamerge {version})" if version else ""


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in it")


def _place(location: Sequence[int | str]) -> str:
    return ".".join(map(str, location)) or "the whole"


def _check(file: Path, report: MergeReport) -> None:
    """Indices and lengths that a page relies on."""
    count = len(report.inputs)
    for layer in report.layers:
        parts = (layer.adapters, layer.weights, layer.cosines, layer.input_norms)
        sizes = set(map(len, parts))
        if len(sizes) > 1 or not all(0 <= i < count for i in layer.adapters):
            raise CopamergeError(
                f"{file}: layer {layer.layer!r} does not go with the {count} inputs; it was "
                "changed after the merge: merge again"
            )
    if not count:
        raise CopamergeError(f"{file}: names no inputs; merge again")
