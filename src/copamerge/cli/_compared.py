"""What `copamerge compare` prints: every method a line, and in words what it was warned of."""

from typing import TYPE_CHECKING

import typer

from copamerge.cli._grid import grid, mean, number, share, show, there
from copamerge.cli._names import plain
from copamerge.cli._table import GROUPS, MODES
from copamerge.labels import short_names

if TYPE_CHECKING:
    from rich.table import Table

    from copamerge.comparison import Comparison, Row

FEW = 3
"""Adapters up to which each has columns of its own."""


def show_comparison(found: "Comparison") -> None:
    ran = [row for row in found.rows if row.failed is None]
    if ran:
        show(_overview(found))
        typer.echo(LEGEND.format(f"{found.within_degrees:g}"))
        if 1 < len(found.adapters) <= FEW:
            typer.echo()
            show(_by_adapter(found))
        elif len(found.adapters) > FEW:
            typer.echo("Each adapter's own numbers: --json.")
        if found.suite is not None:
            typer.echo()
            show(_points(found))
    for row in found.rows:
        if row.failed is not None:
            typer.echo(plain(f"{row.name}: no merge: {row.failed}"))


LEGEND = """
MB: memory added while merging. norm: of the merge, over the mean of the adapters'. The rest is
over the adapters. cosine: of the merged delta to theirs. directions: share of an adapter's
singular directions, by energy, that the merge sends within {} degrees of where the adapter does;
gain: how strongly, 1 as in the adapter. interference: relative change of its delta on the space
that it reads from, 1 as if it were gone; fitted: with the merge rescaled to suit the adapter."""


def _overview(found: "Comparison") -> "Table":
    table = grid("method")
    for title in (
        "s",
        "MB",
        "rank",
        "energy\nkept",
        "norm",
        "cosine\nmean",
        "\nmin",
        "directions\nmean",
        "\nmin",
        "gain\nmean",
        "interference\nmean",
        "\nmax",
        "\nfitted",
    ):
        table.add_column(title, justify="right")
    for row in found.rows:
        traces = row.traces
        cosines = [x.cosine for x in traces]
        kept = [x.preserved_energy for x in traces]
        changed = [x.interference for x in traces]
        table.add_row(
            row.name,
            number(row.seconds, ".2f"),
            number(row.memory_mb, ".0f"),
            "-" if row.rank is None else str(row.rank),
            share(row.energy_kept),
            number(row.norm_ratio, ".2f"),
            number(mean(cosines), "+.2f"),
            number(min(there(cosines), default=None), "+.2f"),
            number(mean(kept), ".0%"),
            number(min(there(kept), default=None), ".0%"),
            number(mean([x.gain for x in traces]), ".2f"),
            number(mean(changed), ".2f"),
            number(max(there(changed), default=None), ".2f"),
            number(mean([x.interference_rescaled for x in traces]), ".2f"),
        )
    return table


def _by_adapter(found: "Comparison") -> "Table":
    table = grid("method")
    for title in ("cosine", "directions", "interference"):
        for i, name in enumerate(short_names([one.adapter for one in found.adapters])):
            table.add_column(f"{'' if i else title}\n{plain(name)}", justify="right")
    for row in found.rows:
        if row.failed is None:
            table.add_row(
                row.name,
                *(number(x.cosine, "+.3f") for x in row.traces),
                *(number(x.preserved_energy, ".0%") for x in row.traces),
                *(number(x.interference, ".3f") for x in row.traces),
            )
    return table


def _points(found: "Comparison") -> "Table":
    table = grid("points")
    for group in GROUPS:
        for mode in MODES:
            table.add_column(f"{group}\n{mode}", justify="right")
    for row in found.rows:
        if row.failed is None:
            table.add_row(
                row.name, *(_score(row, group, mode) for group in GROUPS for mode in MODES)
            )
    return table


def _score(row: "Row", group: str, mode: str) -> str:
    for x in row.points or ():
        if (x.group, x.mode) == (group, mode) and x.points is not None:
            return f"{x.points:.1f}" + ("" if x.stderr is None else f" ± {x.stderr:.1f}")
    return "-"


def say_words(found: "Comparison") -> None:
    for warning in found.warnings:
        typer.echo(f"warning: {plain(warning)}", err=True)
    for row in found.rows:
        for warning in row.warnings:
            who = "" if warning.startswith(f"{row.name}:") else f"{row.name}: "
            typer.echo(plain(f"warning: {who}{warning}"), err=True)
