"""`copamerge inspect`: what is in some adapters and do they fit together."""

from typing import TYPE_CHECKING, Annotated

import typer

from copamerge.cli._app import app
from copamerge.cli._grid import grid, share, show
from copamerge.cli._names import plain
from copamerge.cli._options import Adapters, Alpha, AsJson
from copamerge.cli._screen import show_answers, show_notices
from copamerge.labels import short_names, told_together

if TYPE_CHECKING:
    from copamerge.inspection import AdapterSummary, Inspection


@app.command()
def inspect(
    adapters: Adapters,
    alpha: Alpha = None,
    details: Annotated[
        bool, typer.Option("--details", help="Everything about each adapter, and each pair.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is in ADAPTERS, whether they fit together, and how they relate.

    Exit code 2 when a merge of them would not start as it is.
    """
    from copamerge.inspection import inspect_adapters

    found = inspect_adapters(adapters, alpha=alpha)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _show(found, details or len(found.adapters) == 1)
    if not found.fit:
        raise typer.Exit(2)


def _show(found: "Inspection", details: bool) -> None:
    if details:
        for summary in found.adapters:
            _show_one(summary)
        if found.relations:
            _show_relations(found)
    elif found.adapters:
        _show_all(found)
    if found.adapters:
        typer.echo()
        show_answers(found.answers)
    for warning in told_together(found.warnings, [one.adapter for one in found.adapters]):
        typer.echo(f"warning: {plain(warning)}", err=True)
    show_notices(found.notices)
    for problem in found.problems:
        typer.echo(f"error: {plain(problem)}", err=True)


def _show_all(found: "Inspection") -> None:
    """A line for each; bases only where they differ."""
    bases = len({one.base_model for one in found.adapters}) > 1
    from copamerge.analysis.imbalance import shares

    parts = shares([one.delta_norm or 0.0 for one in found.adapters])
    table = grid("adapter", "layers", "rank", "scaling", "norm", "energy", "dtype", "full", "MB")
    if bases:
        table.add_column("base")
    names = short_names([one.adapter for one in found.adapters])
    for name, one, part in zip(names, found.adapters, parts, strict=True):
        table.add_row(
            plain(name),
            str(one.layers),
            _counts(one.ranks),
            _counts(one.scalings),
            "not finite" if one.delta_norm is None else f"{one.delta_norm:.4g}",
            share(part if one.delta_norm is not None else None),
            _counts(one.dtypes),
            str(len(one.saved)),
            f"{one.megabytes:.3g}",
            *([plain(one.base_model or "not named")] if bases else []),
        )
    show(table)


def _say(line: str) -> None:
    typer.echo(plain(line))


def _show_one(one: "AdapterSummary") -> None:
    norm = "not finite" if one.delta_norm is None else f"{one.delta_norm:.4g}"
    _say(one.adapter)
    _say(f"  base      {one.base_model or 'not named'}" + _after(one.task_type))
    _say(f"  format    {one.format}, {one.megabytes:g} MB, sha256 {one.sha256[:12]}")
    _say(f"  layers    {one.layers} ({_counts(one.kinds)}): {_counts(one.targets)}")
    _say(f"  rank      {_counts(one.ranks)}; scaling {_counts(one.scalings)}")
    _say(f"  dtype     {_counts(one.dtypes)}; norm of the delta {norm}")
    rest = one.tensors - one.tensors_lora
    _say(
        f"  tensors   {one.tensors} = {one.tensors_lora} LoRA + {len(one.saved)} full + "
        f"{len(one.ignored)} redundant"
    )
    if rest:
        shown = ", ".join(one.saved[:4]) + (" ..." if len(one.saved) > 4 else "")
        _say(f"  full      {shown or 'none'}")
    for note in one.notes:
        _say(f"  note      {note}")


def _show_relations(found: "Inspection") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("pair", "shared layers", "cosine", "cosine of A", "norm ratio"):
        table.add_column(title, justify="left" if title == "pair" else "right")
    full = [one.adapter for one in found.adapters]
    short = dict(zip(full, short_names(full), strict=True))
    for pair in found.relations:
        table.add_row(
            f"{short[pair.one]} | {short[pair.other]}",
            str(pair.shared_layers),
            _number(pair.cosine, "+.4f"),
            _number(pair.cosine_A, "+.4f"),
            _number(pair.norm_ratio, ".3g"),
        )
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(
        "cosine of A near 1: the adapters share their random start; near 0: they do not.\n"
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _counts(counts: "dict[str, int] | dict[int, int]") -> str:
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{name} x{count}" for name, count in sorted(counts.items(), key=str))


def _after(text: str | None) -> str:
    return f", {text}" if text else ""
