"""From a suite to a zoo: an adapter for each task, or one for all, each folder whole or absent.

    ZOO/shared/<task>/   adapter_config.json, adapter_model.safetensors, train.json
    ZOO/mtl/             the same, of all tasks together
    ZOO/manifest.json    hashes of what is there

`train.json` says what made an adapter. One that is there and was made in the same way is not made
again, and a killed one goes on from its last checkpoint in a hidden folder beside its place.
"""

import gc
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from copamerge.bench.loading import CLIP, kind_of, without_noise
from copamerge.bench.suiting import suited
from copamerge.bench.units import base_digest
from copamerge.bench.zoo import BASE, MTL
from copamerge.errors import CopamergeError, OutputError, SuiteError
from copamerge.suites import Frame, Suite, Task
from copamerge.training.places import (
    ASKED,
    Trained,
    found_at,
    read_record,
    versions,
    work_of,
)
from copamerge.training.suite.base import adapted, in_full, open_base, targets
from copamerge.training.suite.fit import Division, Fitted, Ways, division, fit
from copamerge.training.suite.ranks import Ranks, is_sharded, ranks
from copamerge.training.suite.recipe import TrainRecipe
from copamerge.training.suite.record import device, write_adapter, write_zoo
from copamerge.training.suite.rows import Checked, Collator, Rows, Source, Survey

SURVEY = "survey.json"
"""In the hidden folder: what was found out about the samples."""

Init = Literal["shared", "own"]
"""Whether the adapters of a set start from the same A or each from its own."""
PUBLISHED, ANYHOW = TrainRecipe(), Ways()
Tell = Callable[[str, int, int, float | None], None]
"""(what is being done, how much of it, of how much, loss)"""


@dataclass(frozen=True)
class Order:
    """What is to be trained, on what, and where it is written."""

    suite: Suite
    base: Path
    out: Path
    tasks: tuple[Task, ...]
    mtl: bool = False
    recipe: TrainRecipe = PUBLISHED
    init: Init = "shared"
    set_name: str | None = None
    """Folder of the adapters in the zoo; None: as `init`."""
    items: int | None = None
    ways: Ways = ANYHOW

    @property
    def set_folder(self) -> Path:
        return self.out / (self.set_name or self.init)


def train_suite(order: Order, tell: Tell = lambda *_: None) -> list[Trained]:
    """One adapter after another; those that are there already are left as they are.

    Every process of a launcher calls it; the first one writes.

    Raises:
        CopamergeError: the order cannot be carried out (checked before anything is trained), or
            memory runs out.
    """
    # Its workers are processes already; the tokenizer would warn of each.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    suite, _ = suited(order.suite, order.base)
    order = replace(
        order, suite=suite, tasks=tuple(suite.by_name[task.name] for task in order.tasks)
    )
    here = ranks()
    division(order.recipe.batch, order.ways.per_device, here.world)
    frame = _checked(order)
    parts = here.said_by_first(lambda: _planned(order, frame))
    trained = []
    for folder, tasks, made_by, record in parts:
        if record is None:
            named = tuple(order.suite.by_name[name] for name in tasks)
            _train(order, folder, named, frame, made_by, here, tell)
            # The Trainer refers to itself; until it is collected, its model stays in memory.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            made = here.said_by_first(lambda f=folder: read_record(f))  # type: ignore[misc]
            trained.append(Trained(folder, made, is_new=True))
        else:
            trained.append(Trained(folder, record, is_new=False))
    script = f"copamerge train --suite {order.suite.name}"
    here.said_by_first(lambda: write_zoo(order.out, script))
    return trained


class _Part(NamedTuple):
    """An adapter to be trained, or one that is there already."""

    folder: Path
    tasks: tuple[str, ...]
    made_by: dict[str, Any]
    record: dict[str, Any] | None


def _planned(order: Order, frame: Frame) -> list[_Part]:
    """All parts of an order, looked up before the first is begun.

    Raises:
        CopamergeError: no base, no data, and what is there that is something else; all of it.
    """
    problems: list[CopamergeError] = []
    digest = ""
    try:
        digest = base_digest(order.base)
    except CopamergeError as error:
        problems.append(error)
    parts = []
    for folder, tasks, init_seed, seed in _parts(order):
        try:
            made_by = _made_by(order, tasks, frame, digest, init_seed, seed)
            there = found_at(folder, made_by, "another zoo or --set-name") if digest else None
            parts.append(_Part(folder, tuple(task.name for task in tasks), made_by, there))
        except CopamergeError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise CopamergeError(dict.fromkeys(line for one in problems for line in one.problems))
    return parts


def _parts(order: Order) -> list[tuple[Path, tuple[Task, ...], int, int]]:
    """(folder, tasks, seed of the first A, seed of order and dropout), one for each adapter."""
    seed = order.recipe.seed
    if order.mtl:
        return [(order.out / MTL, order.tasks, 1000 * seed, 1000 * seed + 99)]
    names = [task.name for task in order.suite.tasks]
    return [
        (
            order.set_folder / task.name,
            (task,),
            1000 * seed + (0 if order.init == "shared" else 1 + names.index(task.name)),
            1000 * seed + names.index(task.name),
        )
        for task in order.tasks
    ]


def _checked(order: Order) -> Frame:
    """What becomes of pictures.

    Raises:
        CopamergeError: what is wrong with the order, all of it.
    """
    problems = [
        f"task {task.name!r}: an unseen task has no train samples and gets no adapter; name seen "
        f"ones: {', '.join(one.name for one in order.suite.seen)}"
        for task in order.tasks
        if not task.seen
    ]
    if order.suite.answers != "text":
        problems.append(
            f"suite {order.suite.name!r}: its models choose labels and write no answers, so "
            "there is no text to learn"
        )
    if kind_of(order.base) == CLIP:
        problems.append(
            f"{order.base}: a CLIP model chooses among labels, and the suite {order.suite.name!r} "
            "teaches texts; give an image-text or language model by --base"
        )
    name = order.set_name
    if name is not None and (
        not name or name in (BASE, MTL) or name.startswith(".") or Path(name).name != name
    ):
        problems.append(f"--set-name {name!r}: give a plain folder name other than base and mtl")
    frames = {order.recipe.frame_of(task.asking) for task in order.tasks}
    if order.mtl and len(frames) > 1:
        problems.append(
            f"the tasks frame their pictures differently ({', '.join(sorted(frames))}); say one "
            "for training as `frame: pad` in a file given by --recipe"
        )
    if problems:
        raise SuiteError(problems)
    return order.recipe.frame_of(order.tasks[0].asking)


def _made_by(
    order: Order, tasks: Sequence[Task], frame: Frame, digest: str, init_seed: int, seed: int
) -> dict[str, Any]:
    """What decides an adapter; reading the data's digests opens the data.

    Raises:
        SuiteError: no data, or none to train on.
    """
    for task in tasks:
        task.count("train", order.items)
    return {
        "what": "suite-mtl" if order.mtl else "suite-adapter",
        "suite": order.suite.name,
        "tasks": [task.name for task in tasks],
        "data_digests": {
            task.name: task.digest("train") if task.digest else None for task in tasks
        },
        "items": order.items,
        "base_digest": digest,
        "recipe": order.recipe.model_dump(mode="json"),
        "frame": frame,
        "templates": {task.name: task.asking.template for task in tasks},
        "init_seed": init_seed,
        "seed": seed,
    }


def _train(
    order: Order,
    folder: Path,
    tasks: tuple[Task, ...],
    frame: Frame,
    made_by: dict[str, Any],
    here: Ranks,
    tell: Tell,
) -> None:
    started = time.monotonic()
    name = folder.name
    work = work_of(folder)
    # FSDP flattens trained and frozen tensors together, which have to be of one type.
    fsdp = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")
    low = order.ways.in_bfloat16
    base = open_base(order.base, tasks, torch.bfloat16 if low and not fsdp else torch.float32)
    source = Source(
        base.reader, tasks, frame, order.recipe.max_length, order.recipe.seed, order.items
    )
    survey = _surveyed(
        source, work, made_by, here, lambda n, of: tell(f"{name}: samples", n, of, None)
    )
    pattern, whole = targets(base.model), in_full(base.model, order.recipe)
    with without_noise():
        model = adapted(base.model, order.recipe, init_seed=made_by["init_seed"])
        pictured = any(sample.pictures for sample in survey.used)
        rows = Rows(source, survey)
        fitted = fit(
            model,
            rows,
            Collator(base.reader, frame, always_pictured=pictured and is_sharded()),
            order.recipe,
            order.ways,
            here,
            slow=whole,
            sometimes_unused=any(sample.pictures == 0 for sample in survey.used),
            work=work / "run",
            seed=made_by["seed"],
            tell=lambda step, of, loss: tell(name, step, of, loss),
        )
        if here.is_first:
            record = {
                "made_by": made_by,
                "stages": [
                    {
                        "stage": name,
                        "seconds": round(time.monotonic() - started, 1),
                        "loss": fitted.losses[-1][1] if fitted.losses else None,
                    }
                ],
                "versions": versions(),
                **_outcome(order, base.reader, source, survey, fitted, here),
                "adapted": pattern,
                "trained_in_full": [whole] if whole else [],
            }
            write_adapter(model, fitted.state, folder, str(order.base), record)
            shutil.rmtree(work, ignore_errors=True)


def _surveyed(
    source: Source,
    work: Path,
    made_by: Mapping[str, Any],
    here: Ranks,
    tell: Callable[[int, int], None],
) -> Survey:
    """What is known of the samples; an interrupted training goes on with what it began with."""
    kept = work / SURVEY

    def known() -> list[dict[str, Any]] | None:
        return json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else None

    found = here.said_by_first(known)
    if found is not None:
        return Survey(tuple(Checked(**one) for one in found))
    survey = source.check(here, tell)

    def keep() -> None:
        try:
            work.mkdir(parents=True, exist_ok=True)
            (work / ASKED).write_text(json.dumps(made_by), encoding="utf-8")
            temporary = kept.with_suffix(".new")
            temporary.write_text(json.dumps(survey.as_json()), encoding="utf-8")
            temporary.replace(kept)
        except OSError as error:
            raise OutputError(f"{work}: cannot be written: {error.strerror}") from None

    here.said_by_first(keep)
    return survey


def _outcome(
    order: Order, reader: Any, source: Source, survey: Survey, fitted: Fitted, here: Ranks
) -> dict[str, Any]:
    """What was trained on, in which pieces, and how the loss went."""
    shares: Division = division(order.recipe.batch, order.ways.per_device, here.world)
    return {
        "counts": survey.counts(),
        "skipped": [
            {"task": one.task, "id": one.id, "why": one.why, "reason": one.reason}
            for one in survey.skipped
        ],
        "repeated": _repeated(len(survey.used), shares),
        "steps": fitted.steps,
        "batch": {**shares._asdict(), "together": order.recipe.batch},
        "device": device(order.ways.in_bfloat16),
        "losses": [list(pair) for pair in fitted.losses],
        "example": _example(reader, source, survey),
    }


def _repeated(samples: int, shares: Division) -> int:
    """Samples that every pass takes twice, so that all processes have as many of them: accelerate
    fills up the last pieces with the first ones. None of them where there is one process."""
    return -samples % (shares.world * shares.per_device) if shares.world > 1 else 0


def _example(reader: Any, source: Source, survey: Survey) -> dict[str, str]:
    """The first sample as it was trained on: what was read, and what of it was learned."""
    by_name = {task.name: task for task in source.tasks}
    first = survey.used[0]
    task = by_name[first.task]
    pieces = reader.pieces(task.sample(first.index, "train", source.seed), task.asking)
    return {
        "task": first.task,
        "id": first.id,
        "text": "".join(piece.text for piece in pieces),
        "learned": "".join(piece.text for piece in pieces if piece.learned),
    }
