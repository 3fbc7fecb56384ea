"""Maps of numbers by layer: blocks down, modules across, a panel for each adapter or pair."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from copamerge.core.places import Place, places_of
from copamerge.reports.document import flat, visible
from copamerge.reports.scale import Measure

Value = float | str
"""A number, or the reason why there is none."""

ABSENT = "there is no such layer in it"


@dataclass(frozen=True)
class Panel:
    """One map: an adapter, a pair, a merge."""

    title: str
    values: Mapping[str, Mapping[str, Value]]
    """Measure -> layer -> value. A panel without a measure is not shown with it; a layer that is
    left out says `absent`."""
    group: str = ""
    """Panels that follow each other in one group stand under its name."""
    absent: str = ABSENT
    """Why a layer that is left out has no value."""


@dataclass(frozen=True)
class Heat:
    """Small multiples that share a scale; the reader chooses the measure."""

    key: str
    """Names its place in the page: letters, digits and dashes."""
    layers: tuple[str, ...]
    """Every layer of any panel, by its full name."""
    measures: tuple[Measure, ...]
    panels: tuple[Panel, ...]
    elsewhere: str = "The numbers are in the table of all layers."
    """Where to look without JavaScript."""


def heat_html(heat: Heat) -> str:
    """The map's place in a page that has `heat.js` and `heat.css`, and its numbers."""
    numbers = json.dumps(
        _content(heat), ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).replace("<", "\\u003c")
    key = escape(heat.key)
    return (
        f'<div class="heat" id="{key}"><noscript><p>The maps are drawn by JavaScript, which is off '
        f"here. {flat(heat.elsewhere)}</p></noscript></div>"
        f'<script type="application/json" id="{key}-numbers">{numbers}</script>'
    )


def _content(heat: Heat) -> dict[str, Any]:
    """All that the script draws. Names in it are a stranger's, and made visible here."""
    at = places_of(heat.layers)
    rows = list(dict.fromkeys(place.block for place in at.values() if place.block))
    columns = list(dict.fromkeys(place.module for place in at.values() if place.block))
    outside = [layer for layer, place in at.items() if not place.block]
    by_place = {place: layer for layer, place in at.items()}
    order = [by_place.get(Place(row, column)) for row in rows for column in columns]
    order += outside
    reasons: dict[str, int] = {}
    fitted = [measure.fitted(_numbers(heat, measure.key)) for measure in heat.measures]
    panels = [
        {
            "title": visible(panel.title),
            "group": visible(panel.group),
            "values": {
                measure.key: [
                    _cell(panel, panel.values[measure.key], layer, reasons) for layer in order
                ]
                for measure in heat.measures
                if measure.key in panel.values
            },
        }
        for panel in heat.panels
    ]
    return {
        "rows": _labelled(rows),
        "columns": _labelled(columns),
        "outside": _labelled(outside, words=True),
        "measures": [_measure(measure) for measure in fitted],
        "panels": panels,
        "reasons": [visible(reason) for reason in reasons],
    }


def _numbers(heat: Heat, key: str) -> Iterable[float]:
    for panel in heat.panels:
        for value in panel.values.get(key, {}).values():
            if not isinstance(value, str) and math.isfinite(value):
                yield value


def _cell(
    panel: Panel, values: Mapping[str, Value], layer: str | None, reasons: dict[str, int]
) -> float | str | None:
    """A number; a text, the place of a reason; null where no panel has a layer."""
    if layer is None:
        return None
    value = values.get(layer, panel.absent)
    if not isinstance(value, str):
        if math.isfinite(value):
            return _short(value)
        value = "it is not a finite number"
    return str(reasons.setdefault(value, len(reasons)))


def _measure(measure: Measure) -> dict[str, Any]:
    assert measure.low is not None and measure.high is not None, "fitted"
    return {
        "key": measure.key,
        "title": measure.title,
        "explains": measure.explains,
        "unit": measure.unit,
        "diverging": measure.scale == "diverging",
        "low": measure.low,
        "high": measure.high,
        "middle": measure.middle,
        "log": measure.log,
        "colours": measure.colours,
    }


def _short(value: float) -> float:
    """Four digits of it: as many as a reader takes in, at half the bytes."""
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e4 else short


def _labelled(names: Sequence[str], *, words: bool = False) -> list[list[str]]:
    """Full names, each with a short one for beside the map."""
    short = short_labels(names, words=words)
    return [[visible(a), visible(b)] for a, b in zip(names, short, strict=True)]


LABEL = 14
"""Letters there is room for beside a map."""


def short_labels(names: Sequence[str], *, words: bool = False) -> list[str]:
    """The last parts of each name, as many as it takes to tell them apart; at most `LABEL` letters.

    With `words` as many as it takes for none to be a bare number.

    `model.layers.0` and `model.layers.1` are 0 and 1. What all end in is left out. Long ones are
    cut, word by word and then inside: full names are shown where a cell is pointed at.
    """
    parts = [name.split(".") for name in names]
    spare = min(map(len, parts), default=1) - 1
    while len(parts) > 1 and spare > 0 and len({part[-1] for part in parts}) == 1:
        parts, spare = [part[:-1] for part in parts], spare - 1
    for k in range(1, max(map(len, parts), default=1)):
        tails = [part[-k:] for part in parts]
        bare = words and any("".join(tail).isdecimal() for tail in tails)
        if len(set(map(tuple, tails))) == len(parts) and not bare:
            parts = tails
            break
    for letters in (None, 4, 3):
        labels = [".".join(word[:letters] for word in part) for part in parts]
        if max(map(len, labels), default=0) <= LABEL:
            break
    return [_cut(label) for label in labels]


def _cut(label: str) -> str:
    if len(label) <= LABEL:
        return label
    return f"{label[: LABEL // 2 - 1]}…{label[LABEL // 2 - LABEL :]}"
