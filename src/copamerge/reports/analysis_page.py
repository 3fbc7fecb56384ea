"""The page on an analysis: answers first, then adapters, pairs, all together, merges."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from statistics import fmean

from copamerge.analyzing.record import Analysis, Pair
from copamerge.reports import numbers
from copamerge.reports.analysis_commands import merge_command
from copamerge.reports.analysis_maps import (
    adapter_maps,
    merge_maps,
    pair_maps,
    rank_asked,
    set_maps,
)
from copamerge.reports.analysis_sources import definitions, sources
from copamerge.reports.analysis_tables import (
    adapters_table,
    layers_table,
    merges_table,
    methods_list,
    pairs_table,
    ranks_table,
    traces_table,
)
from copamerge.reports.document import bullets, document, figure, flat, fold, ticked
from copamerge.reports.heat import Value, heat_html
from copamerge.reports.look import Drawn
from copamerge.reports.matrix import Matrix, matrices_html
from copamerge.reports.numbers import Number
from copamerge.reports.sketch import Called, called
from copamerge.reports.warned import Warned, warned_html

Figures = dict[str, str]
"""Name -> HTML."""
FEW = 3
"""Adapters up to which a table says enough of pairs; above there are matrices."""


def analysis_html(
    record: Analysis, figures: Sequence[Drawn], *, out: Path, linked: bool = True
) -> str:
    """The whole page, with the figures in their places.

    `out` is where an analysis is written; `linked` to the files beside it.
    """
    names = called(record)
    drawn = {one.name: figure(one, linked=linked) for one in figures}
    title = _counted(len(record.adapters), "adapter")
    several = len(record.adapters) > 1
    parts = [
        ("answers", "Before a merge", _answers(record)),
        ("adapters", "Adapters" if several else "The adapter", _adapters(record, names, drawn)),
        ("pairs", "Pairs", _pairs(record, names, drawn) if several else ""),
        ("together", "All together" if several else "Rank", _together(record)),
        ("merges", "Merges", _merges(record, names, drawn) if record.merges else ""),
        ("copa", "What CoPA does here", _copa(record, drawn)),
        ("layers", "Every layer", layers_table(record, names)),
        ("definitions", "What the numbers mean", definitions()),
        (
            "sources",
            "Where this comes from",
            sources(record, names, figures=len(drawn), out=out, linked=linked),
        ),
    ]
    there = [part for part in parts if part[2]]
    body = [
        f"<header><h1>Inside {title}</h1>",
        f"<p>{flat(_summary(record, names))}</p>",
        warned_html(warned_of(record, names)),
        _nav([(key, heading) for key, heading, _ in there]),
        "</header><main>",
        *(
            f'<section id="{key}"><h2>{heading}</h2>{inner}</section>'
            for key, heading, inner in there
        ),
        "</main>",
    ]
    return document(f"copamerge analyze: {title}", body, ("page", "heat", "analysis"))


def warned_of(record: Analysis, names: Called) -> list[Warned]:
    """What adapters and merges warn of; what several merges say is said once."""
    found = [Warned(_sentence(one.text), one.do or "") for one in record.notices]
    said: dict[tuple[str, str], list[str]] = {}
    for name, merge in zip(names.merges, record.merges, strict=True):
        for one in merge.notices:
            said.setdefault((one.text, one.do or ""), []).append(name)
        if merge.failed:
            said.setdefault((f"no merge: {merge.failed}", ""), []).append(name)
    found += [
        Warned(f"{', '.join(who)}: {_sentence(text)}", do) for (text, do), who in said.items()
    ]
    return found


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _summary(record: Analysis, names: Called) -> str:
    shown = ", ".join(names.adapters[:8]) + (" and others" if len(names.adapters) > 8 else "")
    merges = sum(not merge.failed for merge in record.merges)
    beside = f" beside {_counted(merges, 'merge')}" if merges else ""
    return (
        f"{shown}{beside}: {_counted(len(record.layers), 'layer')}, measured from the factors "
        "alone, without data and without the base model."
    )


def _nav(links: Sequence[tuple[str, str]]) -> str:
    items = "".join(f'<li><a href="#{key}">{heading}</a></li>' for key, heading in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _answers(record: Analysis) -> str:
    said = record.answers
    questions = [
        ("Do these fit?", said.fit),
        ("How related are they?", said.related),
        ("Who dominates?", said.dominates),
        ("What is lost at a rank?", said.lost),
    ]
    items = "".join(f"<dt>{question}</dt><dd>{ticked(text)}</dd>" for question, text in questions)
    advice = []
    for one in said.methods:
        command = merge_command(record, one)
        shown = (
            f'<code class="command" tabindex="0">{escape(command)}</code>'
            if command
            else f"<code>{flat(one.command)}</code>"
        )
        advice.append(f"<li>{ticked(one.situation)}: {ticked(one.why)}. {shown}</li>")
    if advice:
        items += (
            f"<dt>Which method fits?</dt><dd><ol>{''.join(advice)}</ol>"
            "<p>Begin with the first; these are rules of thumb, measured on one small model "
            "(docs/choose.md). <code>copamerge compare</code> shows every method on these "
            "adapters.</p></dd>"
        )
    return f'<dl class="facts answers">{items}</dl>'


def _adapters(record: Analysis, names: Called, drawn: Figures) -> str:
    return "".join(
        [
            adapters_table(record, names),
            _meaning(),
            _figures(drawn, "spectra", "energy"),
            "<h3>Layer by layer</h3>",
            heat_html(adapter_maps(record, names)),
            _figures(drawn, "entries"),
        ]
    )


def _pairs(record: Analysis, names: Called, drawn: Figures) -> str:
    few = len(record.adapters) <= FEW
    return "".join(
        [
            # The figure of many pairs shows what the matrices do.
            _figures(drawn, "pairs") if few else matrices_html(_matrices(record, names)),
            pairs_table(record, names)
            if few
            else fold(f"All {len(record.pairs)} pairs as a table", pairs_table(record, names)),
            _meaning(),
            "<h3>Layer by layer</h3>",
            heat_html(pair_maps(record, names)),
        ]
    )


def _matrices(record: Analysis, names: Called) -> list[Matrix]:
    n = len(names.adapters)
    made = []
    for number, of, chance in _RELATIONS:
        values: list[list[Value | None]] = [[None] * n for _ in range(n)]
        for pair in record.pairs:
            value = of(pair)
            shown = (pair.why_null or "no layer has equal ranks") if value is None else value
            values[pair.one][pair.other] = values[pair.other][pair.one] = shown
        levels = [x for p in record.pairs if (x := chance(p)) is not None]
        here = f" Here that is {numbers.COSINE.shown(fmean(levels))}." if any(levels) else ""
        # The whole range, so that a number has the same colour in every analysis, white where it
        # is chance; shares as numbers below 1, so that the matrices stand beside each other.
        measure = replace(
            number.measure(),
            explains=number.explains + here,
            unit="",
            scale="diverging",
            low=0.0 if number.middle else -1.0,
            high=1.0,
        )
        made.append(Matrix(measure, names.adapters, tuple(map(tuple, values))))
    return made


Of = Callable[[Pair], float | None]
_RELATIONS: tuple[tuple[Number, Of, Of], ...] = (
    (numbers.COSINE, lambda p: p.cosine, lambda p: 0.0),
    (numbers.COSINE_A, lambda p: p.cosine_A, lambda p: 0.0),
    (numbers.INPUT, lambda p: p.input.mean, lambda p: p.input.chance),
    (numbers.OUTPUT, lambda p: p.output.mean, lambda p: p.output.chance),
    (numbers.SIGNS, lambda p: p.sign_conflict, lambda p: 0.0),
)
"""What is shown of pairs, and its level by chance where that is not said already."""


def _together(record: Analysis) -> str:
    found, n = record.together, len(record.adapters)
    facts = [
        ("Energy", _energy(record)),
        ("99 % of it", f"needs rank {found.rank_99}" if found.rank_99 else found.why_null or "–"),
    ]
    if n > 1:
        facts = [
            ("Norm of the plain sum", numbers.NORM.shown(found.norm_of_sum)),
            (
                "Cancelled in the plain sum",
                _or_chance(numbers.CANCELLED, found.cancelled, 1 - n**-0.5),
            ),
            (
                "Entries with both signs",
                _or_chance(numbers.DISAGREEMENT, found.disagreement, 1 - 2.0 ** (1 - n)),
            ),
            (
                "Largest norm over smallest",
                numbers.IMBALANCE.shown(found.imbalance)
                if found.imbalance is not None
                else "fewer than two adapters are other than zero",
            ),
            *facts,
        ]
    share = found.entries_looked_at / found.entries if found.entries else 1.0
    note = (
        f"Signs were compared at a fixed sample of {found.entries_looked_at:,} of "
        f"{found.entries:,} entries."
        if share < 1 and n > 1
        else ""
    )
    ranks = fold("Energy by rank", ranks_table(record)) if found.energy else ""
    return "".join(
        [_facts(facts), bullets([note] if note else []), ranks, heat_html(set_maps(record))]
    )


def _energy(record: Analysis) -> str:
    found, rank = record.together, rank_asked(record)
    if found.energy is None:
        return found.why_null or "–"
    held = numbers.ENERGY.shown(found.energy.get(rank, 1.0))
    if len(record.adapters) == 1:
        return f"rank {rank} holds {held} of it"
    return f"rank {rank}, the adapters' own, holds {held} of the plain sum's"


def _or_chance(number: Number, value: float | None, chance: float) -> str:
    if value is None:
        return "cannot be told: fewer than two deltas are other than zero"
    return f"{number.shown(value)}, by chance {number.shown(chance)}"


def _merges(record: Analysis, names: Called, drawn: Figures) -> str:
    there = any(merge.traces for merge in record.merges)
    parts = [merges_table(record, names), _meaning(), methods_list(record, names)]
    if there:
        parts += [
            _figures(drawn, "directions", "kept", "directions-by-adapter"),
            fold("Every adapter in every merge as a table", traces_table(record, names)),
            "<h3>Layer by layer</h3>",
            heat_html(merge_maps(record, names)),
        ]
    return "".join(parts)


def _copa(record: Analysis, drawn: Figures) -> str:
    found = record.copa
    facts = [("Density", f"{100 * found.density:g} % of the entries of A and B are left")]
    # The figure's caption says the rest.
    if len(record.adapters) > 1 and "copa" not in drawn:
        none = found.why_null or "–"
        change = none if found.change is None else numbers.CHANGE.shown(found.change)
        facts += [
            (
                "What S changes",
                f"{change} of the merge's norm" if found.change is not None else none,
            ),
            ("Cosine with and without S", none if found.cosine is None else f"{found.cosine:.4f}"),
        ]
    return _facts(facts) + _figures(drawn, "copa")


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{flat(name)}</dt><dd>{flat(text)}</dd>" for name, text in facts)
    return f'<dl class="facts">{items}</dl>'


def _figures(drawn: Figures, *wanted: str) -> str:
    return "".join(drawn[name] for name in wanted if name in drawn)


def _meaning() -> str:
    return (
        '<p class="files">Headings say what they mean when pointed at; so does '
        '<a href="#definitions">the list of all numbers</a>.</p>'
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
