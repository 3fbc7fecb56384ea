"""Adapters of a CLIP's vision tower: to choose the right label by a frozen zero-shot head.

ZOO/shared/<task>/   adapter_config.json, adapter_model.safetensors, train.json
ZOO/mtl/             the same, of all tasks together
ZOO/manifest.json    hashes of what is there
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from copamerge.bench.clip import check_clip, image_features, open_clip, zero_shot_head
from copamerge.bench.loading import imported, without_noise
from copamerge.bench.units import base_digest
from copamerge.bench.zoo import MANIFEST, MTL, renew_manifest, write_manifest
from copamerge.errors import SuiteError, did_you_mean
from copamerge.suites import Suite, Task
from copamerge.training.clip.folders import SKIPPED, Tell, trained
from copamerge.training.clip.recipe import ClipRecipe
from copamerge.training.clip.rows import Drawn, collate
from copamerge.training.places import Trained
from copamerge.training.run import train


class Ways(NamedTuple):
    """What changes no result."""

    save_every: int
    workers: int


class Chooser(nn.Module):
    """A CLIP's vision tower before the frozen heads of some tasks: pictures to a loss."""

    def __init__(self, model: Any, heads: Sequence[Float[Tensor, "classes width"]]) -> None:
        super().__init__()
        self.model = model
        for i, head in enumerate(heads):
            self.register_buffer(f"head{i}", head.clone(), persistent=False)
        self.scale = float(model.logit_scale.exp())

    def forward(
        self,
        pixel_values: Float[Tensor, "batch 3 side side"],
        task: Int[Tensor, " batch"],
        label: Int[Tensor, " batch"],
        row: Int[Tensor, " batch"] | None = None,
    ) -> dict[str, Tensor]:
        """The mean cross entropy over the batch, each picture among its task's labels."""
        seen = image_features(self.model, pixel_values)
        loss = seen.new_zeros(())
        for which in sorted(set(task.tolist())):
            mine = task == which
            logits = self.scale * seen[mine] @ getattr(self, f"head{which}").T
            loss = loss + nn.functional.cross_entropy(logits, label[mine], reduction="sum")
        return {"loss": loss / len(task)}


def train_clip(
    suite: Suite,
    tasks: Sequence[Task],
    base: Path,
    out: Path,
    recipe: ClipRecipe | None = None,
    tell: Tell = lambda *_: None,
    *,
    mtl: bool = False,
    init: str = "shared",
    set_name: str | None = None,
    save_every: int = 500,
    workers: int | None = None,
) -> list[Trained]:
    """One adapter for each task in `out/shared/<task>`, or one for all of them in `out/mtl`.

    What is there and was made in the same way is not made again; a killed training goes on from
    its last checkpoint. `init` `shared`: the adapters start from the same A; `own`: each from its
    own, in `out/own`. `workers` processes read pictures; None: four beside a GPU, else none.

    Raises:
        SuiteError: unseen tasks, tasks without labels or train pictures, a base that is no CLIP.
        OutputError: something else is where an adapter belongs.
    """
    recipe = recipe or ClipRecipe()
    if workers is None:
        workers = 4 if torch.cuda.is_available() else 0
    ways = Ways(save_every, workers)
    _check(suite, tasks)
    check_clip(base)
    digest = base_digest(base)
    made = []
    names = list(suite.by_name)
    # (folder, tasks, seed of the first A, seed of the order and of dropout)
    parts = [
        (
            out / (set_name or init) / task.name,
            [task],
            1000 * recipe.seed + (0 if init == "shared" else 1 + names.index(task.name)),
            1000 * recipe.seed + names.index(task.name),
        )
        for task in tasks
    ]
    if mtl:
        parts = [(out / MTL, list(tasks), 1000 * recipe.seed, 1000 * recipe.seed + 99)]
    for folder, some, init_seed, seed in parts:
        made_by = {
            "what": "clip-mtl" if mtl else "clip-adapter",
            "suite": suite.name,
            "tasks": [task.name for task in some],
            "data_digests": {task.name: _digest(task) for task in some},
            "classes": {task.name: _classes(task) for task in some},
            "base_digest": digest,
            "recipe": recipe.model_dump(mode="json"),
            "init_seed": init_seed,
            "seed": seed,
        }
        made.append(
            trained(
                folder,
                made_by,
                lambda work, place, some=some, i=init_seed, s=seed, name=folder.name: _train(  # type: ignore[misc]
                    some, base, recipe, i, s, work, place, ways, lambda *a: tell(name, *a)
                ),
            )
        )
    if (out / MANIFEST).is_file():
        renew_manifest(out)
    else:
        write_manifest(out, script=f"copamerge train --suite {suite.name}")
    return made


def _train(
    tasks: Sequence[Task],
    base: Path,
    recipe: ClipRecipe,
    init_seed: int,
    seed: int,
    work: Path,
    place: Path,
    ways: Ways,
    tell: Any,
) -> dict[str, Any]:
    model, processor = open_clip(base)
    model.requires_grad_(False)
    with torch.no_grad():
        heads = [
            zero_shot_head(model, processor.tokenizer, task.asking.classes, str(base))
            for task in tasks
            if task.asking.classes is not None
        ]
    schedule = recipe.schedule(len(tasks))
    rows = Drawn(
        tasks,
        processor,
        schedule.steps * schedule.batch,
        items=recipe.items,
        seed=seed,
        log=work.parent / SKIPPED,
        workers=ways.workers,
    )
    peft = imported("peft")
    config = peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        bias="none",
        target_modules=recipe.pattern,
    )
    torch.manual_seed(init_seed)
    with without_noise():
        adapted = peft.get_peft_model(model, config)
        chooser = Chooser(adapted.base_model.model, heads)
        loss = train(
            chooser,
            rows,
            collate,
            schedule,
            work=work,
            seed=seed,
            tell=tell,
            save_every=ways.save_every,
            workers=ways.workers,
        )
        adapted.peft_config["default"].base_model_name_or_path = str(base)
        adapted.save_pretrained(place, save_embedding_layers=False)
    return {
        "loss": loss,
        "logit_scale": chooser.scale,
        "steps": schedule.steps,
        "counts": rows.counts,
        "skipped": rows.skipped,
        "device": "cuda, bfloat16" if torch.cuda.is_available() else "cpu, float32",
    }


def _check(suite: Suite, tasks: Sequence[Task]) -> None:
    seen = [task.name for task in suite.seen]
    problems = [
        f"task {task.name!r}: an unseen task gets no adapter{did_you_mean(task.name, seen)}"
        for task in tasks
        if not task.seen
    ]
    problems += [
        f"task {task.name!r}: has no labels, so a CLIP model cannot be trained on it; list the "
        "names of its classes"
        for task in tasks
        if task.seen and task.size is not None and task.asking.classes is None and _is_there(task)
    ]
    for task in tasks:
        try:
            task.count("train", None)
        except SuiteError as error:
            problems += error.problems
    if problems:
        raise SuiteError(problems)


def _is_there(task: Task) -> bool:
    try:
        return task.count("train", None) > 0
    except SuiteError:
        return False


def _digest(task: Task) -> str | None:
    return task.digest("train") if task.digest is not None else None


def _classes(task: Task) -> Mapping[str, Any]:
    classes = task.asking.classes
    assert classes is not None
    return {"names": len(classes.names), "templates": list(classes.templates)}
