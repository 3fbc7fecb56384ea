"""The base model in three stages: see, speak, and a little of the tasks' forms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from copamerge.suites import Task
from copamerge.suites.mini import MINI
from copamerge.suites.mini._made import Maker
from copamerge.suites.mini.lessons import LESSONS
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
    language: Schedule = field(default_factory=lambda: Schedule(steps=2600, batch=48, rate=2e-3))
    forms: Schedule = field(default_factory=lambda: Schedule(steps=900, batch=48, rate=6e-4))
    share_of_forms: float = 0.06
    """Share of the last stage's samples that have the form of a seen task."""

    def shortened(self, steps: int) -> "BaseRecipe":
        """The same with every stage this long: for trying things out."""
        stages = ("vision", "language", "forms")
        changed = {name: getattr(self, name).model_copy(update={"steps": steps}) for name in stages}
        return replace(self, **changed)


def mixture(share_of_forms: float) -> Mapping[Task | Maker, float]:
    """The lessons, and this share of seen tasks, each task alike."""
    total = sum(LESSONS.values())
    shares: dict[Task | Maker, float] = {
        lesson: (1 - share_of_forms) * weight / total for lesson, weight in LESSONS.items()
    }
    if share_of_forms:
        shares |= {task: share_of_forms / len(MINI.seen) for task in MINI.seen}
    return shares


def teach_to_see(
    model: LlavaForConditionalGeneration, schedule: Schedule, work: Path, seed: int, tell: Tell
) -> None:
    """Train the vision tower on what stands on each patch; the heads are thrown away."""
    tower = SeeingTower(model.model.vision_tower, model.model.vision_tower.config.hidden_size)
    rows = Pictures(schedule.steps * schedule.batch, seed)
    train(tower, rows, collate, schedule, work=work, seed=seed, tell=lambda *a: tell("vision", *a))


def teach_to_speak(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    schedule: Schedule,
    share_of_forms: float,
    work: Path,
    seed: int,
    tell: Tell,
) -> None:
    """Train projector and language model, the vision tower frozen."""
    model.model.vision_tower.requires_grad_(False)
    rows = Questions(tokenizer, mixture(share_of_forms), schedule.steps * schedule.batch, seed)
    train(
        model,
        rows,
        Collator(tokenizer),
        schedule,
        work=work,
        seed=seed,
        tell=lambda *a: tell("forms" if share_of_forms else "language", *a),
    )
    model.requires_grad_(True)
