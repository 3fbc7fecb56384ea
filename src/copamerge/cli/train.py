"""`copamerge train`: adapters on a suite, or the mini zoo from nothing, part by part."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._options import Data
from copamerge.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from copamerge.suites import Task
    from copamerge.training.mini.jobs import Init

KINDS = ("mini-base", "mini-adapters", "mini-mtl", "mini-full")


@app.command()
def train(
    what: Annotated[
        str | None,
        typer.Argument(
            help="mini-base, mini-adapters, mini-mtl or mini-full; nothing with --suite.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to create; with --suite a zoo, which may exist."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Train adapters on the train splits of this suite.")
    ] = None,
    data: Data = None,
    base: Annotated[
        Path | None, typer.Option(help="Folder of the base.  [default: the one that ships]")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", "--task", metavar="A,B", help="Train for these only.  [default: seen ones]"
        ),
    ] = None,
    mtl: Annotated[
        bool, typer.Option("--mtl", help="One adapter for all the tasks, in place of one each.")
    ] = False,
    init: Annotated[
        str, typer.Option(help="First A of the adapters: shared by all, or each its own.")
    ] = "shared",
    set_name: Annotated[
        str | None,
        typer.Option(help="Folder of the adapters in the zoo.  [default: as --init]"),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="YAML file that changes the published recipe.")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the adapters.  [default: 16]")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate.  [default: 2e-4]")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over samples.  [default: 1]")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each adapter (of each stage of a base).")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Samples a step, on all devices together.  [default: 128]"),
    ] = None,
    batch_per_device: Annotated[
        int | None,
        typer.Option(
            min=1, help="Samples at once on a device; a step adds up passes.  [default: up to 16]"
        ),
    ] = None,
    items: Annotated[
        int | None, typer.Option(min=1, help="Train samples per task.  [default: all]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of samples and first weights.  [default: 0]")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read pictures.  [default: 4 beside a GPU]"),
    ] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads to use.  [default: all]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")] = False,
) -> None:
    """Train an adapter for each seen task of a suite, or one for all of them, into a zoo.

    --suite trains any image-text or language model by the recipe of the paper, under accelerate's
    or torchrun's launcher on many devices; for a suite of image sets the vision tower of a CLIP, by
    FusionBench's recipe (rate 1e-5, 4000 steps). mini-base, mini-adapters and mini-mtl make the
    small base of the suite mini and adapters for it; mini-full fine-tunes that base as a whole. A
    killed run goes on where it was when it is started again with the same options.
    """
    beside = {
        "--suite": suite,
        "--data": data,
        "--mtl": mtl or None,
        "--set-name": set_name,
        "--recipe": recipe,
        "--rate": rate,
        "--epochs": epochs,
        "--batch": batch,
        "--batch-per-device": batch_per_device,
        "--items": items,
        "--workers": workers,
    }
    _check(what, suite, out, init, [name for name, value in beside.items() if value is not None])
    assert out is not None
    from copamerge.cli._extras import needs

    needs("bench", "transformers", "peft", "accelerate")
    import torch

    if threads:
        torch.set_num_threads(threads)
    if suite is not None:
        from copamerge.cli._train_suite import Asked, train_zoo

        options = {
            "rank": rank,
            "rate": rate,
            "epochs": epochs,
            "steps": steps,
            "batch": batch,
            "seed": seed,
        }
        train_zoo(
            Asked(
                suite=suite,
                data=data,
                base=base,
                out=out,
                tasks=tasks,
                mtl=mtl,
                init=cast("Init", init),
                set_name=set_name,
                recipe=recipe,
                options={name: value for name, value in options.items() if value is not None},
                items=items,
                batch_per_device=batch_per_device,
                workers=workers,
                save_every=save_every,
            ),
            quiet,
        )
        return
    assert what is not None
    from copamerge.suites.mini import MINI

    picked = MINI.pick(tasks.split(",")) if tasks else MINI.seen
    if unseen := [task.name for task in picked if not task.seen]:
        raise RecipeError(
            f"--tasks {', '.join(unseen)}: an unseen task has no adapter; name seen ones"
        )
    with LateBar(quiet) as bar, _without_noise():
        _run(what, out, base, picked, cast("Init", init), rank or 16, steps, seed or 0, bar)
    if not quiet:
        for line in _took(out):
            typer.echo(line)
        typer.echo(f"wrote {out}")


def _check(
    what: str | None, suite: str | None, out: Path | None, init: str, of_suites: list[str]
) -> None:
    """
    Raises:
        RecipeError: nothing to train, two things at once, and what belongs to the other; all of it.
    """
    problems = []
    if what is not None and what not in KINDS:
        problems.append(f"train {what!r}: there is nothing of that name{did_you_mean(what, KINDS)}")
    elif what is not None and suite is not None:
        problems.append(f"train {what} --suite {suite}: these are two trainings; name one of them")
    elif what is not None and of_suites:
        problems.append(f"train {what}: {', '.join(of_suites)} belongs to trainings by --suite")
    elif what is None and suite is None:
        problems.append(
            f"train: say what, as in --suite mm-mergebench or one of {', '.join(KINDS)}"
        )
    if out is None:
        problems.append("train: say where to, as in -o ZOO")
    if init not in ("shared", "own"):
        problems.append(f"--init {init!r}: choose shared or own")
    if problems:
        raise RecipeError(problems)


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
