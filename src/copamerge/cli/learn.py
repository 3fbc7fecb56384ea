"""`copamerge learn`: coefficients from data, with a model in the loop."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._extras import needs
from copamerge.cli._names import plain
from copamerge.cli._options import (
    AdapterSet,
    Base,
    ChoosingSplit,
    ChoosingTasks,
    Dtype,
    Quiet,
    SuiteSeed,
    Zoo,
    ZooAdapters,
    options_of,
)
from copamerge.cli._table import names_of
from copamerge.labels import short_names

if TYPE_CHECKING:
    from copamerge.learn.questions import Questions

LEARNERS = ("lorahub", "adamerging")
LEARN = ("transformers", "peft", "PIL")
"""What every learner imports of the extra `learn`."""
ITEMS = {"lorahub": 5, "adamerging": 100, "tune": 100}
"""Samples per task unless --items says otherwise."""


@app.command()
def learn(
    what: Annotated[str, typer.Argument(help="lorahub or adamerging.")],
    adapters: ZooAdapters = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to create.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="An option of it; repeatable."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Learn from a suite's samples.  [default: mini]")
    ] = None,
    items: Annotated[
        int | None, typer.Option(help="Samples per task.  [default: lorahub 5, adamerging 100]")
    ] = None,
    tasks: ChoosingTasks = None,
    split: ChoosingSplit = "validation",
    sample_seed: SuiteSeed = 0,
    zoo: Zoo = None,
    adapter_set: AdapterSet = "shared",
    base: Base = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Lines of {prompt, answer, image}: a task of your own; repeatable."),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(help="Of an answer to --data that is generated.")
    ] = 32,
    dtype: Dtype = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result at OUT.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print learn.json.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find the coefficients of ADAPTERS from samples, and write the merged adapter to OUT.

    lorahub searches one weight per adapter on a few labelled examples, without gradients.
    adamerging learns one per layer and adapter from inputs without labels, by entropy.
    """
    from copamerge.errors import CopamergeError, RecipeError, did_you_mean

    if what not in LEARNERS:
        raise RecipeError(
            f"learn {what!r}: there is nothing of that name{did_you_mean(what, LEARNERS)}"
        )
    needs("learn", *LEARN, *(("nevergrad",) if what == "lorahub" else ()))
    from copamerge.learn.adamerging import AdaMerging, adamerging
    from copamerge.learn.job import check_free, options_from
    from copamerge.learn.lorahub import LoraHub, lorahub

    problems: list[str] = []
    given = options_of(set_ or [], problems)
    options: Any = None
    try:
        options = options_from(
            LoraHub if what == "lorahub" else AdaMerging,
            {k: None if v == "null" else v for k, v in given.items()},
        )
    except CopamergeError as error:
        problems += [f"--set {problem}" for problem in error.problems]
    if out is None:
        problems.append("no output: say where to by -o FOLDER")
    else:
        try:
            check_free(out, overwrite=overwrite)
        except CopamergeError as error:
            problems += error.problems
    ground = Ground(suite, ITEMS[what] if items is None else items, tasks, split)
    ground = ground.filled(
        sample_seed=sample_seed,
        zoo=zoo,
        adapter_set=adapter_set,
        base=base,
        adapters=adapters,
        data=data,
        items_given=items is not None,
        answers=what == "lorahub",
        max_new_tokens=max_new_tokens,
        problems=problems,
    )
    if problems or out is None or ground.base is None:
        raise RecipeError(dict.fromkeys(problems))
    for note in ground.notes:
        typer.echo(f"note: {plain(note)}", err=True)
    run = lorahub if what == "lorahub" else adamerging
    try:
        with LateBar(quiet or as_json, "loading") as bar:
            report, record = run(
                ground.adapters,
                out,
                ground.base,
                ground.questions,
                options,
                more={} if dtype is None else {"dtype": dtype},
                overwrite=overwrite,
                tell=lambda label, done, total: bar.update(done, total, label),
            )
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    for warning in report.warnings:
        typer.echo(f"warning: {plain(warning)}", err=True)
    if as_json:
        import json

        typer.echo(json.dumps(record, indent=2))
    elif not quiet:
        _show(record)
        typer.echo(f"wrote {out}")


def _show(record: dict[str, Any]) -> None:
    first, steps = record["steps"][0], record["steps"]
    if record["learner"] == "lorahub":
        best = record["best"]
        typer.echo(
            f"loss {first['loss']:.4f} (the base) -> {best['loss']:.4f} "
            f"(best of {len(steps)} weights tried)"
        )
    else:
        typer.echo(f"entropy {first['loss']:.4f} -> {steps[-1]['loss']:.4f} in {len(steps)} steps")
    learnt = record["coefficients"]
    for name, found in zip(short_names(list(learnt)), learnt.values(), strict=True):
        if isinstance(found, dict):
            values = list(found.values())
            mean = sum(values) / len(values)
            text = f"{mean:.4f} on average ({min(values):.4f} to {max(values):.4f} in a layer)"
        else:
            text = f"{found:.4f}"
        typer.echo(f"  {plain(name)}: {text}")


# --- what it is learnt on, for `tune` as well -----------------------------------------------------


@dataclass(frozen=True)
class Ground:
    """Adapters, base and samples as a command line says them."""

    suite: str | None
    items: int
    tasks: str | None
    split: str
    adapters: Sequence[str] = ()
    base: Path | None = None
    questions: "Sequence[Questions]" = ()
    notes: Sequence[str] = field(default=())

    def filled(
        self,
        *,
        sample_seed: int,
        zoo: Path | None,
        adapter_set: str,
        base: Path | None,
        adapters: list[str] | None,
        data: list[Path] | None,
        items_given: bool,
        answers: bool,
        max_new_tokens: int,
        problems: list[str],
        metric: str = "exact_upper",
    ) -> "Ground":
        """Samples read, zoo opened; what is wrong with any of it goes into `problems`."""
        from dataclasses import replace

        from copamerge.bench.zoo import open_zoo
        from copamerge.errors import CopamergeError
        from copamerge.learn.questions import of_suite, read_questions

        questions: list[Questions] = []
        notes: list[str] = []
        if data:
            no = {
                "--suite": self.suite is not None,
                "--tasks": self.tasks is not None,
                "--items": items_given,
            }
            if clash := [name for name, there in no.items() if there]:
                problems.append(f"--data and {', '.join(clash)}: samples are from one of them")
            if base is None:
                problems.append("--data: say which model by --base FOLDER")
            if not adapters:
                problems.append("--data: give the adapters of that model")
            if self.split == "test":
                problems.append("--split: --data has no splits; leave it out")
            for path in data:
                try:
                    questions.append(
                        read_questions(
                            path, answers=answers, max_new_tokens=max_new_tokens, metric=metric
                        )
                    )
                except CopamergeError as error:
                    problems += error.problems
            return replace(
                self, adapters=tuple(adapters or ()), base=base, questions=tuple(questions)
            )
        try:
            questions, notes = of_suite(
                self.suite or "mini",
                names_of(self.tasks),
                items=self.items,
                split=self.split,
                seed=sample_seed,
            )
        except CopamergeError as error:
            problems += error.problems
        try:
            if base is None or not adapters:
                opened = open_zoo(zoo)
                base = base or opened.base
                adapters = adapters or [str(x) for x in opened.adapters(adapter_set).values()]
        except CopamergeError as error:
            problems += error.problems
        return replace(
            self,
            adapters=tuple(adapters or ()),
            base=base,
            questions=tuple(questions),
            notes=tuple(notes),
        )
