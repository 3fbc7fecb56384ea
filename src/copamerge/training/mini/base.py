"""The base model in stages: see, name what is seen, words, speak, a little of the tasks' forms.

And then letters: words that nothing said before are all alike to the model (cosine 0.997), and
no adapter of its matrices can tell them apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from copamerge.suites import Task
from copamerge.suites.mini import MINI
from copamerge.suites.mini._made import Maker
from copamerge.suites.mini.lessons import LATE, LESSONS, choices, facts
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
    words: Schedule = field(default_factory=lambda: Schedule(steps=800, batch=32, rate=2e-3))
    language: Schedule = field(default_factory=lambda: Schedule(steps=5000, batch=32, rate=2e-3))
    forms: Schedule = field(default_factory=lambda: Schedule(steps=400, batch=32, rate=6e-4))
    letters: Schedule = field(default_factory=lambda: Schedule(steps=350, batch=32, rate=6e-4))
    share_of_seen: float = 0.013
    """Share of the samples of `forms` that have the form of a seen task."""
    share_of_unseen: float = 0.012
    """The same of the unseen tasks. Without it the base gives none of their answers."""
    late_share_of_seen: float = 0.003
    """The same two in `letters`: enough not to be forgotten."""
    late_share_of_unseen: float = 0.0022

    def shortened(self, steps: int) -> "BaseRecipe":
        """The same with every stage this long: for trying things out."""
        stages = ("vision", "align", "words", "language", "forms", "letters")
        changed = {name: getattr(self, name).model_copy(update={"steps": steps}) for name in stages}
        return replace(self, **changed)


ONLY_WORDS: Mapping[Task | Maker, float] = {choices: 3.0, facts: 1.0}
"""What is taught before any picture. In the midst of the other lessons the model had not learned
to find a word among options in thousands of steps; alone it takes a few hundred."""


WEIGHTS = {"knowledge": 0.7, "screens": 0.7, "tables": 4.0}
"""How often a task's form is shown against another's, where that is not 1: a screen is described
almost as in the lesson, a sum is asked for quite differently."""


def mixture(
    seen: float = 0.0, unseen: float = 0.0, lessons: Mapping[Maker, float] = LESSONS
) -> Mapping[Task | Maker, float]:
    """The lessons, and these shares of seen and unseen tasks."""
    total = sum(lessons.values())
    shares: dict[Task | Maker, float] = {
        lesson: (1 - seen - unseen) * weight / total for lesson, weight in lessons.items()
    }
    for tasks, share in ((MINI.seen, seen), (MINI.unseen, unseen)):
        weights = [WEIGHTS.get(task.name, 1.0) for task in tasks]
        if share:
            shares |= {
                task: share * weight / sum(weights)
                for task, weight in zip(tasks, weights, strict=True)
            }
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


def late_mixture(recipe: BaseRecipe) -> Mapping[Task | Maker, float]:
    """All lessons, those of the last stage among them."""
    return mixture(recipe.late_share_of_seen, recipe.late_share_of_unseen, {**LESSONS, **LATE})
