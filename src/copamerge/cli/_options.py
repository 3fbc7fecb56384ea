"""Options that several commands take, and what `--set` says."""

from pathlib import Path
from typing import Annotated

import typer

AdapterSet = Annotated[
    str, typer.Option(help="The zoo's set, where no adapters are given: shared or own.")
]
Adapters = Annotated[list[str], typer.Argument(help="Folders, weights files or Hub ids.")]
AllowDifferentBases = Annotated[
    bool, typer.Option("--allow-different-bases", help="Merge although bases differ by name.")
]
AllowUnknownConfig = Annotated[
    bool,
    typer.Option("--allow-unknown-config", help="Accept unknown options in adapter configs."),
]
AllowUnmatchedTargets = Annotated[
    bool,
    typer.Option("--allow-unmatched-targets", help="Accept targets that have no tensors."),
]
Alpha = Annotated[float | None, typer.Option(help="LoRA alpha, for weights without a config.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
Base = Annotated[Path | None, typer.Option(help="Folder of the base model.  [default: the zoo's]")]
BaseModel = Annotated[
    str | None, typer.Option(help="Name of the base to write; must agree with the adapters'.")
]
Batch = Annotated[int, typer.Option(help="Samples answered at once; changes no answer.")]
Bias = Annotated[
    str | None,
    typer.Option(help="Trained base biases: mean, first, drop or error.  [default: error]"),
]
ChoosingSplit = Annotated[str, typer.Option(help="validation or train; never test.")]
ChoosingTasks = Annotated[
    str | None, typer.Option(metavar="A,B", help="Only these tasks.  [default: seen ones]")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Dtype = Annotated[
    str | None, typer.Option(help="auto, float32, bfloat16 or float16.  [default: auto]")
]
Data = Annotated[
    Path | None, typer.Option(help="Folder of the data of a suite that is not made by code.")
]
GpusPerActor = Annotated[
    float, typer.Option(help="With --ray, of a cluster with GPUs: 0.5 puts two actors on each.")
]
Items = Annotated[
    int | None,
    typer.Option(help="Samples per task.  [default: 1000 of mini, all of what is read from disk]"),
]
LargeBatch = Annotated[
    int | None,
    typer.Option("--batch", help="Samples answered at once.  [default: 100; 16 of large models]"),
]
LayoutName = Annotated[
    str | None,
    typer.Option(
        "--layout", help="How to write: peft, peft-4.51 or llava (LLaVA's own).  [default: peft]"
    ),
]
MergeSeed = Annotated[int | None, typer.Option(help="For random methods.  [default: 0]")]
Missing = Annotated[
    str | None,
    typer.Option(help="Layers an adapter lacks: zero, error or present.  [default: zero]"),
]
ModulesToSave = Annotated[
    str | None,
    typer.Option(help="Full modules: mean, first, drop or error.  [default: error]"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")]
Rank = Annotated[
    str | None,
    typer.Option(help="full, max, a number, or energy=0.99.  [default: full]"),
]
Ray = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS|local", help="Answer on a Ray cluster's actors."),
]
SampleSeed = Annotated[int, typer.Option(help="Of the samples.")]
SplitName = Annotated[str, typer.Option(help="test, validation or train.")]
SuiteSeed = Annotated[int, typer.Option(help="Of the suite's samples.")]
Tasks = Annotated[str | None, typer.Option(metavar="A,B", help="Only these tasks.  [default: all]")]
Weights = Annotated[
    list[float] | None,
    typer.Option(metavar="W1 W2 ...", help="One number per adapter; may be negative."),
]
Zoo = Annotated[Path | None, typer.Option(help="Folder of the zoo.  [default: the one that ships]")]
ZooAdapters = Annotated[
    list[str] | None,
    typer.Argument(help="Folders or Hub ids, in order.  [default: those of the zoo]"),
]


def options_of(pairs: list[str], problems: list[str]) -> dict[str, str]:
    """What `--set density=0.3` and its like say; what cannot be read becomes a problem."""
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
