"""`copamerge train`: the mini zoo from nothing, part by part."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from copamerge.suites import Task
    from copamerge.training.mini.jobs import Init

KINDS = ("mini-base", "mini-adapters", "mini-mtl", "mini-full")


@app.command()
def train(
    what: Annotated[str, typer.Argument(help="mini-base, mini-adapters, mini-mtl or mini-full.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.")],
    base: Annotated[
        Path | None, typer.Option(help="Folder of the base.  [default: the one that ships]")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Train for these tasks only, as in vqa,ocr.")
    ] = None,
    init: Annotated[
        str, typer.Option(help="First A of the adapters: shared by all, or each its own.")
    ] = "shared",
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters.")] = 16,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each adapter (of each stage of a base).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of samples and first weights.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads to use.  [default: all]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")] = False,
) -> None:
    """Train the mini base, an adapter for each seen task, or one for all of them.

    mini-full fine-tunes the whole base on each task, to compare adapters with. A killed run goes
    on where it was when it is started again with the same options.
    """
    if what not in KINDS:
        raise RecipeError(
            f"train {what!r}: there is nothing of that name{did_you_mean(what, KINDS)}"
        )
    if init not in ("shared", "own"):
        raise RecipeError(f"--init {init!r}: choose shared or own")
    from copamerge.cli._extras import needs

    needs("bench", "transformers", "peft", "accelerate")
    import torch

    from copamerge.suites.mini import MINI

    if threads:
        torch.set_num_threads(threads)
    picked = MINI.pick(tasks.split(",")) if tasks else MINI.seen
    if unseen := [task.name for task in picked if not task.seen]:
        raise RecipeError(
            f"--tasks {', '.join(unseen)}: an unseen task has no adapter; name seen ones"
        )
    with LateBar(quiet) as bar, _without_noise():
        _run(what, out, base, picked, cast("Init", init), rank, steps, seed, bar)
    if not quiet:
        for line in _took(out):
            typer.echo(line)
        typer.echo(f"wrote {out}")


def _run(
    what: str,
    out: Path,
    base: Path | None,
    tasks: "tuple[Task, ...]",
    init: "Init",
    rank: int,
    steps: int | None,
    seed: int,
    bar: LateBar,
) -> None:
    from copamerge.training.mini import jobs
    from copamerge.training.mini.adapters import ALL_TASKS, ONE_TASK, WHOLE
    from copamerge.training.mini.base import BaseRecipe

    def tell(part: str, step: int, of: int, loss: float | None) -> None:
        bar.update(
            step, of, f"training {part}" + (f" (loss {loss:.3f})" if loss is not None else "")
        )

    if what == "mini-base":
        recipe = BaseRecipe().shortened(steps) if steps else BaseRecipe()
        jobs.train_base(out, recipe, seed=seed, tell=tell)
        return
    if base is None:
        from copamerge.bench.zoo import shipped_base

        base = shipped_base()
    changed = {"steps": steps} if steps else {}
    if what == "mini-mtl":
        schedule = ALL_TASKS.model_copy(update=changed)
        jobs.train_mtl(base, out, rank=rank, seed=seed, schedule=schedule, tell=tell)
    elif what == "mini-full":
        schedule = WHOLE.model_copy(update=changed)
        jobs.train_full(base, out, tasks=tasks, seed=seed, schedule=schedule, tell=tell)
    else:
        schedule = ONE_TASK.model_copy(update=changed)
        jobs.train_adapters(
            base, out, tasks=tasks, init=init, rank=rank, seed=seed, schedule=schedule, tell=tell
        )


@contextmanager
def _without_noise() -> Iterator[None]:
    """transformers has bars of its own, and PEFT asks it for what it calls by another name now."""
    import warnings

    from transformers.utils import logging

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _took(out: Path) -> Iterator[str]:
    """A line for each part of each folder at `out` that training made."""
    for record in sorted(out.rglob("train.json")):
        if not any(part.startswith(".") for part in record.relative_to(out).parts):
            for stage in json.loads(record.read_text(encoding="utf-8"))["stages"]:
                loss = "not kept" if stage["loss"] is None else f"{stage['loss']:.4f}"
                yield f"{stage['stage']:16}{stage['seconds']:8.0f} s   loss {loss}"
