"""The base model in stages: see, name what is seen, speak, a little of the tasks' forms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from copamerge.suites import Task
from copamerge.suites.mini import MINI
from copamerge.suites.mini._made import Maker
from copamerge.suites.mini.lessons import LESSONS
from copamerge.training.mini.align import Aligned
from copamerge.training.mini.model import Size
from copamerge.training.mini.questions import Collator, Questions
from copamerge.training.mini.vision import Pictures, SeeingTower, collate
from copamerge.training.run import Schedule, train

Tell = Callable[[str, int, int, float | None], None]
"""(stage, step, of, loss)"""


@dataclass(frozen=True)
class BaseRecipe:
    """What decides the base model, apart from the seed."""

    size: Size = field(default_factory=Size)
    vision: Schedule = field(default_factory=lambda: Schedule(steps=3000, batch=64, rate=2e-3))
    align: Schedule = field(default_factory=lambda: Schedule(steps=400, batch=64, rate=3e-3))
    language: Schedule = field(default_factory=lambda: Schedule(steps=6000, batch=32, rate=2e-3))
    forms: Schedule = field(default_factory=lambda: Schedule(steps=450, batch=32, rate=6e-4))
    share_of_seen: float = 0.015
    """Share of the last stage's samples that have the form of a seen task."""
    share_of_unseen: float = 0.011
    """The same of the unseen tasks. Without it the base gives none of their answers."""

    def shortened(self, steps: int) -> "BaseRecipe":
        """The same with every stage this long: for trying things out."""
        stages = ("vision", "align", "language", "forms")
        changed = {name: getattr(self, name).model_copy(update={"steps": steps}) for name in stages}
        return replace(self, **changed)


def mixture(seen: float = 0.0, unseen: float = 0.0) -> Mapping[Task | Maker, float]:
    """The lessons, and these shares of seen and unseen tasks."""
    total = sum(LESSONS.values())
    shares: dict[Task | Maker, float] = {
        lesson: (1 - seen - unseen) * weight / total for lesson, weight in LESSONS.items()
    }
    for tasks, share in ((MINI.seen, seen), (MINI.unseen, unseen)):
        if share:
            shares |= {task: share / len(tasks) for task in tasks}
    return shares


def teach_to_see(
    model: LlavaForConditionalGeneration, schedule: Schedule, work: Path, seed: int, tell: Tell
) -> float:
    """Train the vision tower on what stands on each patch; the heads are thrown away.

    This stage and the others return their last loss.
    """
    tower = SeeingTower(model.model.vision_tower, model.model.vision_tower.config.hidden_size)
    rows = Pictures(schedule.steps * schedule.batch, seed)
    return train(
        tower, rows, collate, schedule, work=work, seed=seed, tell=lambda *a: tell("vision", *a)
    )


def teach_to_name(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    schedule: Schedule,
    work: Path,
    seed: int,
    tell: Tell,
) -> float:
    """Train the projector on the words for what the tower sees; tower and words are frozen."""
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    rows = Pictures(schedule.steps * schedule.batch, seed + 5)
    loss = train(
        Aligned(model, tokenizer),
        rows,
        collate,
        schedule,
        work=work,
        seed=seed,
        tell=lambda *a: tell("align", *a),
    )
    model.requires_grad_(True)
    return loss


def teach_to_speak(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    stage: str,
    schedule: Schedule,
    rows: Mapping[Task | Maker, float],
    work: Path,
    seed: int,
    tell: Tell,
) -> float:
    """Train projector and language model, the vision tower frozen."""
    model.model.vision_tower.requires_grad_(False)
    questions = Questions(tokenizer, rows, schedule.steps * schedule.batch, seed)
    loss = train(
        model,
        questions,
        Collator(tokenizer),
        schedule,
        work=work,
        seed=seed,
        tell=lambda *a: tell(stage, *a),
    )
    model.requires_grad_(True)
    return loss
