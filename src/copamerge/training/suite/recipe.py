"""What decides a training: the published recipe as defaults, a YAML file, and options over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from copamerge.errors import RecipeError, did_you_mean
from copamerge.suites import Asking, Frame
from copamerge.yamltext import YamlError, loaded


class TrainRecipe(BaseModel):
    """How an adapter is trained.

    Where a default comes from stands at its end. *paper*: said there. *LLaVA*: the released LoRA
    script of LLaVA-1.5, on which the released code is built. *sister*: the training script of
    another repository of the same authors; this one released none. *inferred*: neither says it of
    rank 16. *ours*: nobody says it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rank: int = Field(default=16, ge=1)
    """Rank of the adapter; 128 is the paper's other one. (paper)"""
    alpha: float | None = Field(default=None, gt=0)
    """LoRA's alpha; none is twice the rank, so the scaling is 2. (sister, LLaVA for rank 128;
    inferred for 16)"""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout before each LoRA branch. (LLaVA)"""
    rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate of the LoRA matrices. (sister, LLaVA)"""
    projector: str | None = "multi_modal_projector"
    """Module trained in full, in models that have it; none trains LoRA only. (LLaVA)"""
    projector_rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate of the projector. (sister, LLaVA)"""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the samples. (sister, LLaVA)"""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, in place of epochs. (ours)"""
    batch: int = Field(default=128, ge=1)
    """Samples of a step, over all devices together. (LLaVA, 16 of them on each
    device)"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rates fall after the warm-up. (sister, LLaVA)"""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which the rates rise from zero. (sister, LLaVA)"""
    decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay. (LLaVA)"""
    clip: float = Field(default=1.0, gt=0)
    """Longest gradient; a longer one is shortened to it. (the Trainer's default; LLaVA's
    script says nothing)"""
    max_length: int = Field(default=2048, ge=1)
    """Tokens of a sample, its pictures' included. A longer one is left out, named and counted:
    cutting it could cut a picture. (sister, LLaVA, which cut)"""
    frame: Frame | Literal["auto"] = "auto"
    """What becomes of a picture that is no square. auto: pad where the prompt is LLaVA-1.5's,
    whatever the task's own evaluation does; else as the task is asked. (sister, LLaVA: pad)"""
    seed: int = Field(default=0, ge=0)
    """Of the first A, the order of samples and dropout. (ours)"""

    @property
    def scaling_alpha(self) -> float:
        return 2.0 * self.rank if self.alpha is None else self.alpha

    def frame_of(self, asking: Asking) -> Frame:
        """What becomes of this task's pictures."""
        if self.frame != "auto":
            return self.frame
        return "pad" if asking.template == "vicuna_v1" else asking.frame


def load_train_recipe(path: Path | None, options: Mapping[str, Any]) -> TrainRecipe:
    """The recipe of a YAML file, or the published one, with options of the command line over it.

    Raises:
        RecipeError: not YAML, unknown keys, values out of range; all of it.
    """
    content = {} if path is None else _content(path)
    try:
        return TrainRecipe.model_validate({**content, **options})
    except ValidationError as error:
        raise RecipeError(
            [_sentence(problem, path, options) for problem in error.errors()]
        ) from None


def _content(path: Path) -> dict[str, Any]:
    try:
        content = loaded(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not a text file; write lines such as `rank: 16`") from None
    except YamlError as error:
        raise RecipeError(
            f"{path}{error.at}: not valid YAML ({error.what}); write lines such as `rank: 16`"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RecipeError(
            f"{path}: expected lines such as `rank: 16`, got a {type(content).__name__}"
        )
    return {str(key): value for key, value in content.items()}


def _sentence(problem: Any, path: Path | None, options: Mapping[str, Any]) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "recipe"
    name = str(problem["loc"][0]) if problem["loc"] else ""
    place = f"--{name}" if name in options else f"{path}: {name or 'recipe'}"
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key{did_you_mean(field, TrainRecipe.model_fields)}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{place}: {message} (got {problem['input']!r})"
