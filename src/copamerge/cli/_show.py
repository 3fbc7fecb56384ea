"""What `copamerge merge` prints: the plan of a dry run, the report of a merge."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from copamerge.cli._names import plain
from copamerge.labels import short_names

if TYPE_CHECKING:
    from copamerge.merging import MergeReport, Plan


def show_plan(job: "Plan", as_json: bool, quiet: bool) -> None:
    from copamerge.io.tensorfile import dtype_name

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
            "dtype": dtype_name(job.dtype),
            "megabytes": round(size / 1e6, 3) if job.rank else None,
            "warnings": job.warnings,
        }
        typer.echo(json.dumps(content, indent=2))
    elif not quiet:
        typer.echo(f"would merge {len(job.adapters)} adapters with {_method_line(method)}")
        rank = f"rank {job.rank}" if job.rank else f"a rank that keeps {job.recipe.rank.share:g}"
        typer.echo(
            f"{len(job.layers)} layers, {rank}, {dtype_name(job.dtype)}"
            + (f", about {shown_bytes(size)}" if job.rank else "")
        )


def shown_bytes(size: int) -> str:
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _method_line(method: dict[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in method.items() if key != "name")
    return f"{method['name']} ({options})" if options else str(method["name"])


def show_report(report: "MergeReport", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from copamerge.merging.card import SERVER_RANK, server_cap

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(f"merged with {_method_line(report.method)}")
    table = Table(box=None, pad_edge=False)
    for title in ("adapter", "weight", "layers", "rank", "norm", "cosine to the merge"):
        table.add_column(title, justify="left" if title == "adapter" else "right")
    names = [plain(name) for name in short_names([part.adapter for part in report.inputs])]
    for i, part in enumerate(report.inputs):
        table.add_row(
            names[i],
            f"{part.weight:g}" if isinstance(part.weight, int | float) else "by layer",
            str(part.layers_merged),
            ", ".join(map(str, part.ranks)),
            "-" if part.delta_norm is None else f"{part.delta_norm:.4g}",
            "-" if part.cosine is None else f"{part.cosine:+.3f}",
        )
    console.print(table)
    console.print(
        f"{len(report.layers)} layers, rank {report.rank}, {report.dtype}, norm {report.norm:.4g}: "
        + _kept(report)
    )
    if report.saved:
        console.print(_full(report))
    if report.rank > SERVER_RANK:
        cap = server_cap(report.rank)
        serve = f"serve with --max-lora-rank {cap}, or " if cap else ""
        console.print(
            f"vLLM serves rank {SERVER_RANK} unless told otherwise: {serve}merge with "
            f"--rank {SERVER_RANK} and see what that keeps"
        )
    size = sum(file.stat().st_size for file in out.iterdir())
    console.print(
        f"wrote {plain(str(out))}, read back and compared ({shown_bytes(size)}, "
        f"{report.run.seconds:.1f} s, peak memory {report.run.peak_memory_mb:.0f} MB)"
    )


def _full(report: "MergeReport") -> str:
    """`4 full tensors of model.multi_modal_projector (mean): at most 3.1% from an input`."""
    modules = sorted({saved.tensor.rpartition(".")[0] for saved in report.saved})
    policies = ", ".join(sorted({saved.policy for saved in report.saved}))
    of = ", ".join(modules[:2]) + (f" and {len(modules) - 2} more" if len(modules) > 2 else "")
    spreads = {saved.spread: saved.tensor for saved in report.saved if saved.spread is not None}
    line = f"{len(report.saved)} full tensors in {of} ({policies})"
    if not spreads:
        return line
    worst = max(spreads)
    return f"{line}: an input's is up to {worst:.2%} of the norm away ({spreads[worst]})"


def _kept(report: "MergeReport") -> str:
    rounding = ""
    if report.rounding_worst:
        rounding = f"; rounding at most {report.rounding_worst:.1e} of a layer"
    if report.energy_kept is None:
        return "the merged delta is zero"
    if report.energy_kept_worst == 1.0:
        return "the rank holds all of the method's answer, exactly" + rounding
    return (
        f"energy kept {report.energy_kept:.2%} in all, {report.energy_kept_worst:.2%} in the worst "
        f"layer ({report.worst_layer})" + rounding
    )
