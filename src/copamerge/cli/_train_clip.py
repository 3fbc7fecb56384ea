"""`copamerge train --suite` of image sets: adapters of a CLIP's vision tower."""

import os
from typing import TYPE_CHECKING

import typer

from copamerge.cli._bar import LateBar
from copamerge.cli._names import plain
from copamerge.cli._table import names_of
from copamerge.errors import CopamergeError, SuiteError

if TYPE_CHECKING:
    from copamerge.cli._train_suite import Asked
    from copamerge.training.places import Trained


def train_labels(asked: "Asked", quiet: bool) -> None:
    """Train, and say what was trained and what was left out; exit code 2 where pictures do not
    open.

    Raises:
        CopamergeError: what cannot be done, all of it, before anything is trained.
    """
    from copamerge.suites import suite_named
    from copamerge.training.clip import ClipRecipe, train_clip
    from copamerge.training.clip.recipe import load_clip_recipe

    suite, recipe = suite_named(asked.suite, asked.data), ClipRecipe()
    tasks, problems = suite.seen, _unused(asked)
    try:
        names = names_of(asked.tasks)
        tasks = suite.seen if names is None else suite.pick(names)
    except CopamergeError as error:
        problems += error.problems
    if asked.base is None:
        problems.append("--base: give the folder of the CLIP model to train on")
    try:
        options = {name: value for name, value in asked.options.items() if name != "epochs"}
        if asked.items is not None:
            options["items"] = asked.items
        recipe = load_clip_recipe(asked.recipe, options)
    except CopamergeError as error:
        problems += error.problems
    if problems or asked.base is None:
        raise SuiteError(problems)
    with LateBar(quiet, "loading") as bar:

        def tell(what: str, done: int, of: int, loss: float | None) -> None:
            more = "" if loss is None else f" (loss {loss:.3f})"
            bar.update(done, of, f"training {what}{more}")

        try:
            made = train_clip(
                suite,
                tasks,
                asked.base,
                asked.out,
                recipe,
                tell,
                mtl=asked.mtl,
                init=asked.init,
                set_name=asked.set_name,
                save_every=asked.save_every,
                workers=asked.workers,
            )
        except KeyboardInterrupt:
            typer.echo(
                f"interrupted; finished adapters are in {asked.out}, and the same command goes on "
                "from the last checkpoint",
                err=True,
            )
            raise typer.Exit(130) from None
    for one in made:
        for skipped in one.skipped:
            typer.echo(plain(f"note: not trained on: {skipped['reason']}"), err=True)
    if not quiet:
        for one in made:
            typer.echo(_line(one))
        typer.echo(f"wrote {asked.out}")
    if any(one.skipped for one in made):
        raise typer.Exit(2)


def _unused(asked: "Asked") -> list[str]:
    given = {
        "--epochs": asked.options.get("epochs"),
        "--batch-per-device": asked.batch_per_device,
    }
    problems = [
        f"{name}: adapters of image sets are trained for --steps in one process; leave it out"
        for name, value in given.items()
        if value is not None
    ]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        problems.append(
            "train: adapters of image sets are trained in one process; start it without a launcher"
        )
    return problems


def _line(one: "Trained") -> str:
    stage = one.record["stages"][0]
    if not one.is_new:
        return f"{stage['stage']:16} was there already"
    used = sum(count["used"] for count in one.record["counts"].values())
    return (
        f"{stage['stage']:16}{used:8} samples{stage['seconds']:8.0f} s   loss {stage['loss']:.4f}"
    )
