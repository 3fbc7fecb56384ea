"""`copamerge train --suite`: options to an order, and what is said of its end."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from copamerge.cli._bar import LateBar
from copamerge.cli._names import plain
from copamerge.cli._table import names_of
from copamerge.errors import CopamergeError, SuiteError

if TYPE_CHECKING:
    from copamerge.suites import Task
    from copamerge.training.places import Trained
    from copamerge.training.suite.jobs import Init, Order


@dataclass(frozen=True)
class Asked:
    """The options as they were typed."""

    suite: str
    data: Path | None
    base: Path | None
    out: Path
    tasks: str | None
    mtl: bool
    init: "Init"
    set_name: str | None
    recipe: Path | None
    options: Mapping[str, Any]
    """Of the recipe, those that were given."""
    items: int | None
    batch_per_device: int | None
    workers: int | None
    save_every: int


def train_zoo(asked: Asked, quiet: bool) -> None:
    """Train, and say what was trained and what was left out; exit code 2 where data are at fault.

    Of several processes only the first one speaks.
    """
    from copamerge.suites import suite_named
    from copamerge.training.suite.ranks import part

    first = int(os.environ.get("RANK", "0")) == 0
    together, whole = False, True
    try:
        if suite_named(asked.suite, asked.data).answers == "labels":
            from copamerge.cli._train_clip import train_labels

            train_labels(asked, quiet or not first)
        else:
            whole = _train(asked, quiet or not first, first)
        together = True
    except CopamergeError:
        if first:
            raise
        raise typer.Exit(2) from None
    finally:
        part(together=together)
    if not whole:
        raise typer.Exit(2)


def _train(asked: Asked, quiet: bool, first: bool) -> bool:
    """Whether all samples could be trained on, but for those that are too long."""
    from copamerge.training.suite.jobs import train_suite
    from copamerge.training.suite.record import is_incomplete, notes

    order = _order(asked)
    with LateBar(quiet, "loading") as bar:

        def tell(what: str, done: int, of: int, loss: float | None) -> None:
            more = "" if loss is None else f" (loss {loss:.3f})"
            bar.update(done, of, f"training {what}{more}")

        try:
            trained = train_suite(order, tell)
        except KeyboardInterrupt:
            if first:
                typer.echo(
                    f"interrupted; finished adapters are in {order.out}, and the same command "
                    "goes on from the last checkpoint",
                    err=True,
                )
            raise typer.Exit(130) from None
    if first:
        for note in notes(trained):
            typer.echo(plain(f"note: {note}"), err=True)
    if not quiet:
        for one in trained:
            typer.echo(_line(one))
        typer.echo(f"wrote {order.out}")
    return not is_incomplete(trained)


def _order(asked: Asked) -> "Order":
    """
    Raises:
        CopamergeError: unknown suite or tasks, a recipe that is none, no base; all of it.
    """
    from copamerge.suites import suite_named
    from copamerge.training.suite.fit import Ways
    from copamerge.training.suite.jobs import Order
    from copamerge.training.suite.recipe import TrainRecipe, load_train_recipe

    problems: list[str] = []
    suite, recipe, base = None, TrainRecipe(), asked.base
    tasks: tuple[Task, ...] = ()
    try:
        suite = suite_named(asked.suite, asked.data)
        names = names_of(asked.tasks)
        tasks = suite.seen if names is None else suite.pick(names)
        if base is None and not suite.ships:
            raise SuiteError("--base: give the folder of the base model to train on")
    except CopamergeError as error:
        problems += error.problems
    try:
        recipe = load_train_recipe(asked.recipe, asked.options)
    except CopamergeError as error:
        problems += error.problems
    if problems or suite is None:
        raise CopamergeError(problems)
    if base is None:
        from copamerge.bench.zoo import shipped_base

        base = shipped_base()
    return Order(
        suite=suite,
        base=base,
        out=asked.out,
        tasks=tasks,
        mtl=asked.mtl,
        recipe=recipe,
        init=asked.init,
        set_name=asked.set_name,
        items=asked.items,
        ways=Ways(asked.batch_per_device, asked.workers, asked.save_every),
    )


def _line(one: "Trained") -> str:
    stage = one.record["stages"][0]
    used = sum(count["used"] for count in one.record["counts"].values())
    loss = "not known" if stage["loss"] is None else f"{stage['loss']:.4f}"
    if not one.is_new:
        return f"{stage['stage']:16} was there already"
    return f"{stage['stage']:16}{used:8} samples{stage['seconds']:8.0f} s   loss {loss}"
