"""What `copamerge diff` prints: the verdict, then tables of where and how much."""

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from copamerge.cli._different_table import LINES, NAMES, print_table, small, stem_of
from copamerge.cli._names import plain
from copamerge.labels import short_names

if TYPE_CHECKING:
    from copamerge.difference.record import (
        Difference,
        FullTensor,
        Likeness,
        Side,
    )

SOME = 3
"""Layers and tensors that a line names."""
CUT = 40
"""Characters that a name or value from a foreign file takes at most."""
LEGEND = (
    "distance: norm of the difference over the larger norm; 0 equal, 1.41 unrelated and of one "
    "norm, 2 opposite. share: of the squared difference. times: the c for which c x second is "
    "nearest to the first; rest: what is left of the first then, 0 to 1. in, out: directions "
    "shared that they read from and write to, 0 to 1{chance}. A: cosine of the rows of A, near 1 "
    "where both began from one A."
)


def show_difference(found: "Difference", *, layers: int) -> None:
    width = max(shutil.get_terminal_size().columns, NAMES)
    _wrapped(found.verdict.sentence, width)
    typer.echo()
    _sides(found, width)
    if found.whole.distance > 0:
        print_table(found, layers, width)
        after = f"Names begin after {stem}\n" if (stem := stem_of(found)) else ""
        _wrapped(after + LEGEND.format(chance=_chance(found.whole)), width)
    _rest(found, width)
    for warning in found.warnings:
        typer.echo(f"warning: {plain(warning)}", err=True)


def _wrapped(text: str, width: int, indent: int = 0) -> None:
    """Lines of a text whose newlines are kept; later ones of each are indented."""
    for part in text.splitlines():
        for line in textwrap.wrap(
            plain(part),
            width,
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
            break_long_words=False,
        ):
            typer.echo(line)


def _sides(found: "Difference", width: int) -> None:
    sides = (found.one, found.other)
    names = short_names([side.adapter for side in sides])
    for which, name, side in zip(("first", "second"), names, sides, strict=True):
        _wrapped(f"{which:<7} {name}: {_described(side)}", width, indent=8)
        for note in side.notes:
            _wrapped(f"        note: {note}", width, indent=14)


def _described(side: "Side") -> str:
    return (
        f"{side.layers} layers, rank {_counts(side.ranks)}, {_counts(side.dtypes)}, "
        f"norm {side.delta_norm:.4g}"
    )


def _rest(found: "Difference", width: int) -> None:
    """What is not about shared layers, a line for each kind of it."""
    lines: list[tuple[str, str]] = []
    for which, lone in (("first", found.only_in_one), ("second", found.only_in_other)):
        if lone:
            norm = sum(x.norm**2 for x in lone) ** 0.5
            names = _some([x.layer for x in lone])
            lines.append(
                (f"only in the {which}", f"{_count(len(lone), 'layer')}, norm {norm:.3g}: {names}")
            )
    if found.unlike:
        each = _some([f"{x.layer} ({x.one} and {x.other})" for x in found.unlike])
        lines.append(("unlike shapes", f"{_count(len(found.unlike), 'layer')}: {each}"))
    if biases := [x.bias for x in found.layers if x.bias is not None]:
        farthest = max((x.relative_distance or 0.0 for x in biases), default=0.0)
        text = f"{_count(len(biases), 'layer')}, relative distance up to {small(farthest)}"
        lines.append(("LoRA biases", text))
    if found.full_tensors:
        lines.append(("full tensors", _full(found.full_tensors)))
    fields = [] if found.same_files else found.config
    lines += [
        (
            "" if i else "config",
            f"{_cut(x.field)}: {_value(x.one, x.read)} | {_value(x.other, x.read)}",
        )
        for i, x in enumerate(fields[:LINES])
    ]
    if len(fields) > LINES:
        lines.append(("", f"and {len(fields) - LINES} more fields: --json"))
    if lines:
        typer.echo()
        size = max(len(title) for title, _ in lines)
        for title, text in lines:
            _wrapped(f"{title:<{size}}  {text}", width, indent=size + 2)


def _full(tensors: "Sequence[FullTensor]") -> str:
    words = {
        "equal": "the same",
        "differs": "differ",
        "other_shape": "of unlike shapes",
        "only_in_one": "only in the first",
        "only_in_other": "only in the second",
    }
    parts = []
    for found, some in groupby(sorted(tensors, key=lambda x: list(words).index(x.found)), _found):
        named = [
            x.name + (f" {small(x.relative_distance)}" if found == "differs" else "") for x in some
        ]
        what = f"{len(named)} {words[found]}"
        parts.append(what if found == "equal" else f"{what}: {_some(named)}")
    return "; ".join(parts)


def _found(tensor: "FullTensor") -> str:
    return tensor.found


def _chance(whole: "Likeness") -> str:
    if whole.input_chance is None or whole.output_chance is None:
        return ""
    return f" (by chance {whole.input_chance:.1g} and {whole.output_chance:.1g})"


def _counts(counts: Mapping[Any, int]) -> str:
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{name} x{count}" for name, count in counts.items())


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(_cut(name, 2 * CUT) for name in names[:SOME])
    return f"{shown} and {len(names) - SOME} more" if len(names) > SOME else shown


def _value(value: Any, read: bool) -> str:
    if value is None:
        return "not set"
    if read and isinstance(value, dict):
        return _counts(value)
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str, size: int = CUT) -> str:
    return text if len(text) <= size else f"{text[: size - 3]}..."
