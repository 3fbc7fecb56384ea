"""`copamerge family`: adapters as one shared delta with a mask and a scalar for each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._names import plain
from copamerge.cli._options import (
    Adapters,
    AllowUnknownConfig,
    AllowUnmatchedTargets,
    Alpha,
    AsJson,
    BaseModel,
    Device,
    Quiet,
)
from copamerge.cli._show import shown_bytes
from copamerge.cli._table import names_of

if TYPE_CHECKING:
    from copamerge.families import FamilyRecord, TakeReport

family = typer.Typer(
    help="Keep adapters as one shared delta with a mask and a scalar for each (EMR-Merging).",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(family, name="family")


@family.command()
def make(
    adapters: Adapters,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.")],
    space: Annotated[
        str,
        typer.Option(
            help="Where the shared delta lives: core (small, of the adapters' span) or delta "
            "(dense, as in the paper; for small models)."
        ),
    ] = "core",
    names: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="Names of the members.  [default: the adapters' folders]"
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Of what is shared: float32, bfloat16, float16 or auto.")
    ] = "float32",
    modules_to_save: Annotated[
        str, typer.Option(help="Full modules, which a family does not hold: drop or error.")
    ] = "error",
    bias: Annotated[str, typer.Option(help="Trained base biases: drop or error.")] = "error",
    alpha: Alpha = None,
    base_model: BaseModel = None,
    device: Device = "auto",
    allow_different_bases: Annotated[
        bool, typer.Option("--allow-different-bases", help="Although bases differ by name.")
    ] = False,
    allow_unmatched_targets: AllowUnmatchedTargets = False,
    allow_unknown_config: AllowUnknownConfig = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a family of ADAPTERS: one shared delta, a mask and a scalar for each of them."""
    from copamerge.errors import CopamergeError
    from copamerge.families import family_plan, make_family
    from copamerge.families.make import check_new
    from copamerge.merging import resolve_device

    more: dict[str, Any] = {
        "base_model": base_model,
        "allow_different_bases": allow_different_bases,
        "allow_unmatched_targets": allow_unmatched_targets,
        "allow_unknown_config": allow_unknown_config,
    }
    problems: list[str] = []
    where, job = None, None
    try:
        where = resolve_device(device)
    except CopamergeError as error:
        problems += error.problems
    try:
        check_new(out)
    except CopamergeError as error:
        problems += error.problems
    try:
        job = family_plan(
            adapters,
            names=names_of(names),
            space=space,
            dtype=dtype,
            modules_to_save=modules_to_save,
            bias=bias,
            alpha=alpha,
            **more,
        )
    except CopamergeError as error:
        problems += error.problems
    if problems or job is None or where is None:
        raise CopamergeError(dict.fromkeys(problems))
    try:
        with LateBar(quiet or as_json, "unifying layers") as bar:
            record = make_family(job, out, device=where, progress=bar.update)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    for warning in record.warnings:
        typer.echo(f"warning: {plain(warning)}", err=True)
    if as_json:
        typer.echo(record.model_dump_json(indent=2))
    elif not quiet:
        _show(record)
        typer.echo(f"wrote {plain(str(out))}, read back and compared")


@family.command()
def show(
    folder: Annotated[
        Path, typer.Argument(metavar="FAMILY", help="Folder that `family make` wrote.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show the members of a FAMILY, what they lost, and what it takes on disk."""
    from copamerge.families import open_family

    record = open_family(folder).record
    if as_json:
        typer.echo(record.model_dump_json(indent=2))
        return
    for warning in record.warnings:
        typer.echo(f"warning: {plain(warning)}", err=True)
    _show(record)


@family.command()
def take(
    folder: Annotated[
        Path, typer.Argument(metavar="FAMILY", help="Folder that `family make` wrote.")
    ],
    name: Annotated[str, typer.Argument(help="Name of the member.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.")],
    rank: Annotated[str, typer.Option(help="full, max, a number, or energy=0.99.")] = "full",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the member NAME of a FAMILY as a PEFT adapter."""
    from copamerge.families import open_family, take_member

    opened = open_family(folder)
    try:
        report = take_member(opened, name, out, rank=rank, dtype=dtype)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    elif not quiet:
        _say_taken(report, out)


def _show(record: "FamilyRecord") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for title in ("member", "layers", "rank", "norm", "scalar", "masked", "off by"):
        table.add_column(title, justify="left" if title == "member" else "right")
    for member in record.members:
        table.add_row(
            plain(member.name),
            str(member.layers),
            str(member.rank),
            f"{member.delta_norm:.4g}",
            f"{member.scalar:.4g}",
            "-" if not member.entries else f"{member.masked / member.entries:.1%}",
            "-" if member.error is None else f"{member.error:.2%}",
        )
    console.print(table)
    console.print(
        f"{len(record.layers)} layers, {record.space} space, {record.dtype}"
        + (f", base {plain(record.base_model)}" if record.base_model else "")
        + (f"; rounding at most {record.rounding:.1e} of a tensor" if record.rounding else "")
    )
    stored = record.storage
    own = stored.shared + stored.masks + stored.scalars
    n = len(record.members)
    console.print(
        f"{shown_bytes(own)} = {shown_bytes(stored.shared)} shared + {shown_bytes(stored.masks)} "
        f"masks + {stored.scalars} B scalars; the {n} adapter{'s take' if n > 1 else ' takes'} "
        f"{shown_bytes(stored.adapters)}" + (", which is less" if stored.adapters < own else "")
    )


def _say_taken(report: "TakeReport", out: Path) -> None:
    kept = "the member is zero"
    if report.energy_kept_worst == 1.0:
        kept = "the rank holds all of the member"
    elif report.energy_kept is not None and report.energy_kept_worst is not None:
        kept = (
            f"energy kept {report.energy_kept:.2%} in all, {report.energy_kept_worst:.2%} in the "
            f"worst layer ({report.worst_layer})"
        )
    rounding = ""
    if report.rounding_worst:
        rounding = f"; rounding at most {report.rounding_worst:.1e} of a factor"
    typer.echo(
        plain(
            f"{report.member}: {report.layers} layers, rank {report.rank}, {report.dtype}, norm "
            f"{report.norm:.4g}: {kept}{rounding}"
        )
    )
    typer.echo(f"wrote {plain(str(out))}, read back and compared")
