"""One screen on some adapters: a line for each, then the questions before a merge answered."""

import textwrap
from typing import TYPE_CHECKING

import typer

from copamerge.cli._grid import grid, mean, number, share, show, there
from copamerge.cli._names import plain
from copamerge.labels import short_names

if TYPE_CHECKING:
    from copamerge.analyzing.record import Analysis, Answers, Distribution, Notice

WIDTH = 100
QUESTIONS = (
    ("fit", "fit?"),
    ("related", "related?"),
    ("dominates", "dominates?"),
    ("lost", "rank?"),
)


LEGEND = """
energy: share of all squared norms. stable rank: how many directions of the leading one's size it
amounts to. A, B: how entries are distributed in most layers. S: CoPA's mean coefficient.
"""


MERGES = """norm ratio: over the adapters' mean. kept in directions: share of an adapter's energy in
singular directions that the merge sends about where the adapter does; gain: how strongly, 1 as in
the adapter. interference: relative change of its delta where it reads, fitted: at its best size."""


def show_answers(found: "Answers") -> None:
    """Do these fit, how related are they, who dominates, what is lost, which method fits?"""
    for field, title in QUESTIONS:
        _say(title, getattr(found, field))
    for k, advice in enumerate(found.methods):
        title = "" if k else "method?"
        _say(title, f"{advice.command}  ({advice.situation}: {advice.why})")
    if found.methods:
        _say("", "copamerge compare shows every method on them; rules and figures: docs/choose.md")


def _say(title: str, text: str) -> None:
    indent = " " * 12
    typer.echo(
        textwrap.fill(plain(text), WIDTH, initial_indent=f"{title:12}", subsequent_indent=indent)
    )


def show_notices(found: "tuple[Notice, ...]", who: str = "") -> None:
    for notice in found:
        remedy = f" -> {notice.do}" if notice.do else ""
        twice = notice.text.startswith(who.strip(" :")) and who
        typer.echo(plain(f"warning: {'' if twice else who}{notice.text}{remedy}"), err=True)


def show_analysis(found: "Analysis") -> None:
    names = short_names([one.adapter for one in found.adapters])
    table = grid(
        "adapter",
        *("layers", "rank", "norm", "energy", "stable\nrank", "effective\nrank", "A", "B", "S"),
    )
    for name, one, S in zip(names, found.adapters, found.copa.S_mean, strict=True):
        table.add_row(
            plain(name),
            str(one.layers),
            ", ".join(map(str, one.ranks)),
            f"{one.norm:.4g}",
            share(one.share),
            number(one.stable_rank, ".1f"),
            number(one.effective_rank, ".1f"),
            _mostly(one.A),
            _mostly(one.B),
            number(S, ".2f"),
        )
    show(table)
    typer.echo(LEGEND)
    show_answers(found.answers)
    if found.merges:
        typer.echo()
        _show_merges(found)


def _mostly(factor: "Distribution") -> str:
    """`uniform 69%`: what most layers are."""
    shapes = {name: n for name, n in factor.layers.items() if name != "all the same"}
    if not shapes:
        return "-"
    most = max(shapes, key=lambda name: shapes[name])
    return f"{most} {shapes[most] / sum(factor.layers.values()):.0%}"


def _show_merges(found: "Analysis") -> None:
    table = grid(
        "merge",
        *("rank", "energy\nkept", "norm\nratio", "cosine\nmean", "\nmin"),
        *("kept in\ndirections", "\nmin", "gain\nmean", "interference\nmean", "\nfitted"),
    )
    for name, merge in zip(short_names([m.name for m in found.merges]), found.merges, strict=True):
        if merge.failed is not None:
            continue
        cosines = [x.cosine for x in merge.traces]
        kept = [x.preserved_energy for x in merge.traces]
        table.add_row(
            plain(name),
            number(merge.rank, "d"),
            share(merge.energy_kept),
            number(merge.norm_ratio, ".2f"),
            number(mean(cosines), "+.2f"),
            number(min(there(cosines), default=None), "+.2f"),
            number(mean(kept), ".0%"),
            number(min(there(kept), default=None), ".0%"),
            number(mean([x.gain for x in merge.traces]), ".2f"),
            number(mean([x.interference for x in merge.traces]), ".2f"),
            number(mean([x.interference_rescaled for x in merge.traces]), ".2f"),
        )
    if table.row_count:
        show(table)
        typer.echo(MERGES)
    for merge in found.merges:
        if merge.failed is not None:
            typer.echo(plain(f"{merge.name}: no merge: {merge.failed}"))
