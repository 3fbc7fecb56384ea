"""The jobs of `copamerge train`: a base, adapters, an adapter of all tasks, whole models.

Each writes folders that appear whole, with a `train.json` that says what made them; what is there
already and was made in the same way is not made again, so a killed job goes on where it was.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypedDict

from copamerge._version import __version__
from copamerge.errors import OutputError
from copamerge.suites import Task
from copamerge.suites.mini import MINI
from copamerge.training.mini.adapters import ALL_TASKS, ONE_TASK, WHOLE, train_adapter, train_whole
from copamerge.training.mini.base import (
    ONLY_WORDS,
    WEIGHTS,
    BaseRecipe,
    late_mixture,
    mixture,
    teach_to_name,
    teach_to_see,
    teach_to_speak,
)
from copamerge.training.mini.folders import open_base, save_adapter, save_base
from copamerge.training.mini.model import build_model
from copamerge.training.mini.words import build_tokenizer
from copamerge.training.places import RECORD
from copamerge.training.run import Schedule

Tell = Callable[[str, int, int, float | None], None]
"""(what is being trained, step, of, loss)"""
Init = Literal["shared", "own"]
"""Whether the adapters of a set start from the same A or each from its own."""
BASE_NAME = "copamerge/mini-llava"
"""What the adapters call their base."""


class Stage(TypedDict):
    """A part of a training: how long it took since it was last started, and its last loss."""

    stage: str
    seconds: float
    loss: float | None
    """None where it was not kept."""


def silent(*_: object) -> None:
    """Tell nobody."""


def train_base(out: Path, recipe: BaseRecipe, *, seed: int, tell: Tell = silent) -> Path:
    """The base model in stages, in the folder `out`.

    Raises:
        OutputError: there is something else at `out`.
    """
    made_by = _of_base(recipe, seed)
    if _already(out, made_by):
        return out
    work = _work(out)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, recipe.size, seed)
    stages = [
        _stage(
            model,
            work,
            "vision",
            lambda: teach_to_see(model, recipe.vision, work / "run", seed, tell),
        ),
        _stage(
            model,
            work,
            "align",
            lambda: teach_to_name(model, tokenizer, recipe.align, work / "run", seed, tell),
        ),
    ]
    forms = mixture(recipe.share_of_seen, recipe.share_of_unseen)
    # The samples of language and forms differ although their seed does not: their mixtures do.
    for stage, schedule, rows, more in (
        ("words", recipe.words, ONLY_WORDS, 0),
        ("language", recipe.language, mixture(), 1),
        ("forms", recipe.forms, forms, 1),
        ("letters", recipe.letters, late_mixture(recipe), 2),
    ):
        stages.append(
            _stage(
                model,
                work,
                stage,
                lambda n=stage, s=schedule, f=rows, i=seed + more: teach_to_speak(  # type: ignore[misc]
                    model, tokenizer, n, s, f, work / "run", i, tell
                ),
            )
        )
    save_base(model, tokenizer, out, _record(made_by, stages))
    _remove(work)
    return out


def train_adapters(
    base: Path,
    out: Path,
    *,
    tasks: Sequence[Task] = MINI.seen,
    init: Init = "shared",
    rank: int = 16,
    seed: int = 0,
    schedule: Schedule = ONE_TASK,
    tell: Tell = silent,
) -> list[Path]:
    """One adapter for each task, in `out/<task>`.

    Raises:
        OutputError: there is something else at one of these places.
    """
    made = []
    for task in tasks:
        place = MINI.tasks.index(task)
        init_seed = 1000 * seed + (0 if init == "shared" else 1 + place)
        made.append(
            _train_one(
                base,
                out / task.name,
                [task],
                what="mini-adapters",
                rank=rank,
                seed=1000 * seed + place,
                init_seed=init_seed,
                schedule=schedule,
                tell=tell,
            )
        )
    return made


def train_mtl(
    base: Path,
    out: Path,
    *,
    rank: int = 16,
    seed: int = 0,
    schedule: Schedule = ALL_TASKS,
    tell: Tell = silent,
) -> Path:
    """One adapter for all seen tasks together, in `out`.

    Raises:
        OutputError: there is something else at `out`.
    """
    return _train_one(
        base,
        out,
        MINI.seen,
        what="mini-mtl",
        rank=rank,
        seed=1000 * seed + 99,
        init_seed=1000 * seed,
        schedule=schedule,
        tell=tell,
    )


def train_full(
    base: Path,
    out: Path,
    *,
    tasks: Sequence[Task] = MINI.seen,
    seed: int = 0,
    schedule: Schedule = WHOLE,
    tell: Tell = silent,
) -> list[Path]:
    """The base itself fine-tuned on each task, in `out/<task>`: what adapters are compared with.

    Raises:
        OutputError: there is something else at one of these places.
    """
    made = []
    for task in tasks:
        place = MINI.tasks.index(task)
        made_by = _of_tasks("mini-full", base, [task], 1000 * seed + place, schedule)
        if not _already(out / task.name, made_by):
            model, tokenizer = open_base(base)
            work, started = _work(out / task.name), time.monotonic()
            loss = train_whole(
                model,
                tokenizer,
                [task],
                schedule,
                seed=1000 * seed + place,
                work=work / "run",
                tell=lambda *a, n=task.name: tell(n, *a),
            )
            stage = Stage(stage=task.name, seconds=_since(started), loss=loss)
            save_base(model, tokenizer, out / task.name, _record(made_by, [stage]))
            _remove(work)
        made.append(out / task.name)
    return made


def _train_one(
    base: Path,
    out: Path,
    tasks: Sequence[Task],
    *,
    what: str,
    rank: int,
    seed: int,
    init_seed: int,
    schedule: Schedule,
    tell: Tell,
) -> Path:
    made_by = {
        **_of_tasks(what, base, tasks, seed, schedule),
        "rank": rank,
        "init_seed": init_seed,
    }
    if _already(out, made_by):
        return out
    model, tokenizer = open_base(base)
    started = time.monotonic()
    name = tasks[0].name if len(tasks) == 1 else "all tasks"
    work = _work(out)
    adapted, loss = train_adapter(
        model,
        tokenizer,
        tasks,
        schedule,
        rank=rank,
        seed=seed,
        init_seed=init_seed,
        work=work / "run",
        tell=lambda *a: tell(name, *a),
    )
    stage = Stage(stage=name, seconds=_since(started), loss=loss)
    save_adapter(adapted, out, BASE_NAME, _record(made_by, [stage]))
    _remove(work)
    return out


def _of_base(recipe: BaseRecipe, seed: int) -> dict[str, Any]:
    """What decides a base."""
    return {
        "what": "mini-base",
        "seed": seed,
        "vision": recipe.vision.model_dump(),
        "align": recipe.align.model_dump(),
        "words": recipe.words.model_dump(),
        "language": recipe.language.model_dump(),
        "forms": recipe.forms.model_dump(),
        "letters": recipe.letters.model_dump(),
        "share_of_seen": recipe.share_of_seen,
        "share_of_unseen": recipe.share_of_unseen,
        "late_share_of_seen": recipe.late_share_of_seen,
        "late_share_of_unseen": recipe.late_share_of_unseen,
        "weights": dict(WEIGHTS),
        "size": vars(recipe.size),
    }


def _of_tasks(
    what: str, base: Path, tasks: Sequence[Task], seed: int, schedule: Schedule
) -> dict[str, Any]:
    """What decides a training that starts from a base."""
    weights = (base / "model.safetensors").read_bytes() if (base / "config.json").is_file() else b""
    return {
        "what": what,
        "tasks": [task.name for task in tasks],
        "seed": seed,
        "schedule": schedule.model_dump(),
        "base_sha256": sha256(weights).hexdigest(),
    }


def _already(out: Path, made_by: dict[str, Any]) -> bool:
    if not out.exists():
        return False
    record = out / RECORD
    if record.is_file():
        found = json.loads(record.read_text())
        if found.get("made_by") == json.loads(json.dumps(made_by)):
            return True
        raise OutputError(
            f"{out}: was trained with other settings (see {RECORD} in it); "
            "choose another output or remove it"
        )
    raise OutputError(f"{out}: already exists and has no {RECORD}; choose another output")


def _stage(model: Any, work: Path, name: str, run: Callable[[], float]) -> Stage:
    """Run a stage, or load what it left when an earlier, killed job got past it."""
    import torch

    kept, told = work / f"{name}.pt", work / f"{name}.json"
    if kept.is_file() and told.is_file():
        model.load_state_dict(torch.load(kept, weights_only=True))
        found: Stage = json.loads(told.read_text())
        return found
    started = time.monotonic()
    loss = run()
    stage = Stage(stage=name, seconds=_since(started), loss=loss)
    work.mkdir(parents=True, exist_ok=True)
    told.write_text(json.dumps(stage))
    temporary = kept.with_suffix(".tmp")
    torch.save(model.state_dict(), temporary)
    temporary.rename(kept)
    return stage


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)


def _record(made_by: dict[str, Any], stages: Sequence[Stage]) -> dict[str, Any]:
    import peft
    import torch
    import transformers

    versions = {
        "copamerge": __version__,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
    return {
        "made_by": made_by,
        "stages": list(stages),
        "versions": versions,
    }


def _work(out: Path) -> Path:
    """Where checkpoints of the run that makes `out` are kept until it is done."""
    return out.with_name(f".{out.name}.training")


def _remove(work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
