"""`copamerge lm-eval` and `copamerge lmms-eval`: merged adapters on other people's benchmarks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copamerge.cli._app import app
from copamerge.cli._bar import LateBar
from copamerge.cli._extras import needs
from copamerge.cli._names import plain
from copamerge.cli._options import AsJson, Quiet
from copamerge.cli._table import names_of, show_harness
from copamerge.cli.evaluate import say_interrupted

if TYPE_CHECKING:
    from copamerge.bench.bridges.running import Evaluated, Harness
    from copamerge.suites import Frame, Template

BaseFolder = Annotated[Path, typer.Option(help="Folder of the base model.")]
AdapterNames = Annotated[
    list[str] | None,
    typer.Option(help="A PEFT folder or Hub id; repeatable. Without one: the base alone."),
]
WithBase = Annotated[bool, typer.Option("--with-base", help="Ask the base alone as well.")]
HarnessTasks = Annotated[
    str, typer.Option(metavar="A,B", help="Tasks, groups or patterns (mmlu_*) of the harness.")
]
Limit = Annotated[int | None, typer.Option(help="Samples per task.  [default: all]")]
Shots = Annotated[
    int | None, typer.Option(help="Solved examples before a question.  [default: the task's]")
]
Include = Annotated[
    list[Path] | None, typer.Option(help="A folder of tasks of your own; repeatable.")
]
HarnessBatch = Annotated[int, typer.Option(help="Samples asked at once.")]
HarnessOut = Annotated[
    Path, typer.Option("--out", "-o", help="Folder of the results; a killed run goes on.")
]
Samples = Annotated[bool, typer.Option("--samples", help="Keep what was said to each sample.")]


@app.command("lm-eval")
def lm_eval(
    base: BaseFolder,
    tasks: HarnessTasks,
    out: HarnessOut,
    adapter: AdapterNames = None,
    with_base: WithBase = False,
    limit: Limit = None,
    shots: Shots = None,
    include: Include = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Put questions into the model's chat template.")
    ] = False,
    batch: HarnessBatch = 1,
    samples: Samples = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Ask lm-evaluation-harness's tasks of adapters on one base, loaded once."""
    needs("lm-eval", "transformers", "peft", "lm_eval")
    from copamerge.bench.bridges.lm_eval import LmEval
    from copamerge.bench.bridges.running import Asked

    asked = Asked(
        tuple(names_of(tasks) or ()),
        limit,
        shots,
        tuple(include or ()),
        batch,
        template="chat" if chat else "none",
    )
    _run(LmEval(), asked, base, adapter, out, with_base, samples, as_json, quiet)


@app.command("lmms-eval")
def lmms_eval(
    base: BaseFolder,
    tasks: HarnessTasks,
    out: HarnessOut,
    adapter: AdapterNames = None,
    with_base: WithBase = False,
    limit: Limit = None,
    shots: Shots = None,
    include: Include = None,
    template: Annotated[
        str, typer.Option(help="chat (the model's own), vicuna_v1 (LLaVA-1.5's) or none.")
    ] = "chat",
    frame: Annotated[
        str, typer.Option(help="Pictures that are no squares: processor, pad or crop.")
    ] = "processor",
    batch: HarnessBatch = 1,
    samples: Samples = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Ask lmms-eval's tasks of adapters on one image-text base, loaded once."""
    needs("lmms-eval", "transformers", "peft", "PIL", "lmms_eval")
    from copamerge.bench.bridges.lmms_eval import LmmsEval
    from copamerge.bench.bridges.running import Asked

    asked = Asked(
        tuple(names_of(tasks) or ()),
        limit,
        shots,
        tuple(include or ()),
        batch,
        *_as_asked(template, frame),
    )
    _run(LmmsEval(), asked, base, adapter, out, with_base, samples, as_json, quiet)


def _as_asked(template: str, frame: str) -> "tuple[Template, Frame]":
    """
    Raises:
        SuiteError: there is no such template or frame.
    """
    from typing import get_args

    from copamerge.errors import SuiteError, did_you_mean
    from copamerge.suites import Frame, Template

    problems = [
        f"--{option} {given!r}: there is none of that name{did_you_mean(given, get_args(known))}"
        for option, given, known in (("template", template, Template), ("frame", frame, Frame))
        if given not in get_args(known)
    ]
    if problems:
        raise SuiteError(problems)
    return next(x for x in get_args(Template) if x == template), next(
        x for x in get_args(Frame) if x == frame
    )


def _run(
    harness: "Harness",
    asked: Any,
    base: Path,
    adapters: list[str] | None,
    out: Path,
    with_base: bool,
    samples: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from copamerge.bench.bridges.running import ALONE, run_harness
    from copamerge.cli.evaluate import specs_of

    models: dict[str, Path | None] = {}
    if with_base or not adapters:
        models[ALONE] = None
    if adapters:
        models |= {spec.name: Path(str(spec.adapter)) for spec in specs_of(adapters)}
    with LateBar(quiet or as_json, "loading") as bar:
        try:
            found = run_harness(
                out,
                harness,
                base,
                models,
                asked,
                samples=samples,
                tell=lambda label, done, total: bar.update(done, total, label),
            )
        except KeyboardInterrupt:
            say_interrupted(out)
            raise typer.Exit(130) from None
    _say(found, quiet)
    if as_json:
        import json

        rows = [row._asdict() for row in found.rows]
        typer.echo(json.dumps({"rows": rows, "failed": dict(found.failed)}, indent=2))
    elif not quiet:
        show_harness(found)
        typer.echo(f"\nwrote {out}")
    if found.failed:
        raise typer.Exit(2)


def _say(found: "Evaluated", quiet: bool) -> None:
    for note in found.notes:
        typer.echo(f"note: {plain(note)}", err=True)
    for name, warnings in found.warnings.items():
        for warning in () if quiet else warnings:
            typer.echo(f"warning: {name}: {plain(warning)}", err=True)
    for name, problems in found.failed.items():
        for problem in problems:
            typer.echo(f"failed: {name}: {plain(problem)}", err=True)
