"""`copamerge merge`: adapters in, one verified adapter out."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copamerge.cli._app import app
from copamerge.cli._names import plain, short_names

if TYPE_CHECKING:
    from copamerge.merging import MergeReport, Plan

SHOW_PROGRESS_AFTER = 2.0
"""Seconds before a progress bar appears."""


@app.command()
def merge(
    adapters: Annotated[
        list[str] | None, typer.Argument(help="Folders, weights files or Hub ids, in order.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to create.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="YAML recipe; options given here win over it."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="See `copamerge methods`.  [default: copa]"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="An option of the method; repeatable."),
    ] = None,
    weights: Annotated[
        list[float] | None,
        typer.Option(metavar="W1 W2 ...", help="One number per adapter; may be negative."),
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(help="full, max, a number, or energy=0.99.  [default: full]"),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16 or float16.  [default: auto]")
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(help="Layers an adapter lacks: zero, error or present.  [default: zero]"),
    ] = None,
    modules_to_save: Annotated[
        str | None,
        typer.Option(help="Full modules: mean, first, drop or error.  [default: error]"),
    ] = None,
    bias: Annotated[
        str | None,
        typer.Option(help="Trained base biases: mean, first, drop or error.  [default: error]"),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="LoRA alpha, for weights without a config.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Name of the base to write; must agree with the adapters'.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="For random methods.  [default: 0]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    allow_different_bases: Annotated[
        bool, typer.Option("--allow-different-bases", help="Merge although bases differ by name.")
    ] = False,
    allow_unmatched_targets: Annotated[
        bool,
        typer.Option("--allow-unmatched-targets", help="Accept targets that have no tensors."),
    ] = False,
    allow_unknown_config: Annotated[
        bool,
        typer.Option("--allow-unknown-config", help="Accept unknown options in adapter configs."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier merge at OUT.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything and show the plan; reads no tensors."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report (or the plan) as JSON.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")
    ] = False,
) -> None:
    """Merge ADAPTERS into one adapter and write it to OUT."""
    from copamerge.errors import CopamergeError, RecipeError
    from copamerge.io._atomic import check_place
    from copamerge.merging import merge_to_folder, plan, resolve_device
    from copamerge.merging.folder import check_apart
    from copamerge.merging.plan import open_all
    from copamerge.recipe.load import read, read_recipe

    problems: list[str] = []
    if out is None and not dry_run:
        problems.append("no output: say where to by -o FOLDER (or check the plan by --dry-run)")
    if bool(adapters) == (config is not None):
        problems.append(
            "give adapters to merge, or a recipe by -c"
            if not adapters
            else "adapters are given here and in the recipe (-c); use one of them"
        )
    given: dict[str, Any] = {
        "rank": rank,
        "dtype": dtype,
        "missing": missing,
        "modules_to_save": modules_to_save,
        "bias": bias,
        "base_model": base_model,
        "seed": seed,
        "allow_different_bases": allow_different_bases or None,
        "allow_unmatched_targets": allow_unmatched_targets or None,
        "allow_unknown_config": allow_unknown_config or None,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    options = _options(set_ or [], problems)
    if options and not method and config is not None:
        problems.append(
            "--set needs -m METHOD beside a recipe: the recipe's own method has its options"
        )
    if method or options:
        overrides["method"] = {"name": method or "copa", **options}
    if weights and adapters and len(weights) != len(adapters):
        problems.append(
            f"--weights: {len(weights)} given for {len(adapters)} adapters; give one for each"
        )
    if weights and config is not None:
        problems.append("--weights: with a recipe, write each weight beside its adapter")
    if alpha is not None and config is not None:
        problems.append("--alpha: with a recipe, write `alpha:` beside the adapter that needs it")
    where = None
    try:
        where = resolve_device(device)
    except CopamergeError as error:
        problems += error.problems
    if out is not None:
        try:
            check_place(out, overwrite=overwrite)
        except CopamergeError as error:
            problems += error.problems
    before = len(problems)
    recipe, notes = None, list[str]()
    if config is not None:
        recipe, notes = read_recipe(config, overrides, problems)
    elif adapters:
        extra = {} if alpha is None else {"alpha": alpha}
        given_weights = dict(enumerate(weights or []))
        sources = [
            {"adapter": name, "weight": given_weights.get(i, 1.0), **extra}
            for i, name in enumerate(adapters)
        ]
        recipe = read({**overrides, "adapters": sources}, problems, typed=overrides)
    job = None
    if recipe is not None:
        # With a recipe that is only readable in part, the adapters can still be looked at.
        try:
            if len(problems) > before:
                open_all(recipe)
            else:
                job = plan(recipe)
                if out is not None:
                    check_apart(job, out)
        except CopamergeError as error:
            problems += error.problems
    if problems or job is None or where is None:
        raise RecipeError(dict.fromkeys(problems))
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if dry_run:
        _warn(job.warnings)
        _show_plan(job, as_json, quiet)
        return
    assert out is not None
    try:
        with _LateBar(quiet or as_json) as bar:
            report = merge_to_folder(
                job, out, device=where, overwrite=overwrite, progress=bar.update
            )
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    _warn(report.warnings)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    elif not quiet:
        _show(report, out)


def _options(pairs: list[str], problems: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            problems.append(f"--set {pair}: expected OPTION=VALUE, as in --set density=0.3")
        elif key == "name":
            problems.append("--set name: the method's name is given by -m")
        elif key in options:
            problems.append(f"--set {key}: given twice")
        else:
            options[key] = value
    return options


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        typer.echo(f"warning: {plain(warning)}", err=True)


def _show_plan(job: "Plan", as_json: bool, quiet: bool) -> None:
    method = job.recipe.method.model_dump(mode="json")
    size = sum(
        job.dtype.itemsize * (layer.d_in + layer.d_out) * (job.rank or 0) for layer in job.layers
    )
    if as_json:
        import json

        content = {
            "method": method,
            "recipe": job.recipe.model_dump(mode="json"),
            "layers": [
                {
                    "layer": layer.name,
                    "adapters": layer.present,
                    "weights": layer.weights,
                    "exact_rank": layer.result_rank,
                }
                for layer in job.layers
            ],
            "layers_silent": job.silent,
            "saved": [saved.name for saved in job.saved.kept],
            "rank": job.rank,
            "dtype": str(job.dtype).removeprefix("torch."),
            "megabytes": round(size / 1e6, 3) if job.rank else None,
            "warnings": job.warnings,
        }
        typer.echo(json.dumps(content, indent=2))
    elif not quiet:
        typer.echo(f"would merge {len(job.adapters)} adapters with {_method_line(method)}")
        rank = f"rank {job.rank}" if job.rank else f"a rank that keeps {job.recipe.rank.share:g}"
        typer.echo(
            f"{len(job.layers)} layers, {rank}, {str(job.dtype).removeprefix('torch.')}"
            + (f", about {_bytes(size)}" if job.rank else "")
        )


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _method_line(method: dict[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in method.items() if key != "name")
    return f"{method['name']} ({options})" if options else str(method["name"])


def _show(report: "MergeReport", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from copamerge.merging.card import SERVER_RANK, server_cap

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(f"merged with {_method_line(report.method)}")
    table = Table(box=None, pad_edge=False)
    for title in ("adapter", "weight", "layers", "rank", "norm", "cosine to the merge"):
        table.add_column(title, justify="left" if title == "adapter" else "right")
    names = short_names([part.adapter for part in report.inputs])
    for i, part in enumerate(report.inputs):
        table.add_row(
            names[i],
            f"{part.weight:g}" if isinstance(part.weight, int | float) else "by layer",
            str(part.layers_merged),
            ", ".join(map(str, part.ranks)),
            "-" if part.delta_norm is None else f"{part.delta_norm:.4g}",
            _cosine(report, i),
        )
    console.print(table)
    console.print(
        f"{len(report.layers)} layers, rank {report.rank}, {report.dtype}, norm {report.norm:.4g}: "
        + _kept(report)
    )
    if report.rank > SERVER_RANK:
        cap = server_cap(report.rank)
        serve = f"serve with --max-lora-rank {cap}, or " if cap else ""
        console.print(
            f"vLLM serves rank {SERVER_RANK} unless told otherwise: {serve}merge with "
            f"--rank {SERVER_RANK} and see what that keeps"
        )
    size = sum(file.stat().st_size for file in out.iterdir())
    console.print(
        f"wrote {out}, read back and compared ({_bytes(size)}, {report.run.seconds:.1f} s, "
        f"peak memory {report.run.peak_memory_mb:.0f} MB)"
    )


def _cosine(report: "MergeReport", i: int) -> str:
    """Cosine over all layers as one vector, from the layers' own numbers."""
    inner = one = other = 0.0
    for layer in report.layers:
        other += layer.norm**2
        if i in layer.adapters:
            k = layer.adapters.index(i)
            one += layer.input_norms[k] ** 2
            inner += (layer.cosines[k] or 0.0) * layer.norm * layer.input_norms[k]
    return f"{inner / (one * other) ** 0.5:+.3f}" if one > 0 and other > 0 else "-"


def _kept(report: "MergeReport") -> str:
    rounding = ""
    if report.rounding_worst:
        rounding = f"; rounding at most {report.rounding_worst:.1e} of a layer"
    if report.energy_kept is None:
        return "the merged delta is zero"
    if report.energy_kept_worst == 1.0:
        return "exact, nothing truncated" + rounding
    return (
        f"energy kept {report.energy_kept:.2%} in all, {report.energy_kept_worst:.2%} in the worst "
        f"layer ({report.worst_layer})" + rounding
    )


class _LateBar:
    """A progress bar that appears only when a merge takes its time, and only on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._started = time.monotonic()
        self._wanted = not quiet and sys.stderr.isatty()
        self._stop: Callable[[], None] | None = None
        self._advance: Callable[[int], None] | None = None

    def __enter__(self) -> "_LateBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stop:
            self._stop()

    def update(self, done: int, total: int) -> None:
        if not self._wanted:
            return
        if self._advance is None:
            if time.monotonic() - self._started < SHOW_PROGRESS_AFTER:
                return
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            task = bar.add_task("merging layers", total=total)
            bar.start()
            self._stop = bar.stop
            self._advance = lambda n: bar.update(task, completed=n)
        self._advance(done)
