"""How an adapter of a CLIP's vision tower is trained; the defaults are published ones.

RobustMerge says rank 16 and, for the rest, that it follows Task Arithmetic, which fine-tunes whole
towers. The reference for merging adapters of CLIP is FusionBench
(config/method/classification/clip_finetune.yaml): rank 16, alpha 32, the query and value
projections, dropout 0.1, 4000 steps of 128 pictures, Adam with a rate of 1e-5 that falls as a
cosine, no weight decay. Its warm-up is none. Ours differs in nothing but the second-moment decay
of Adam (0.98; theirs 0.999).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from copamerge.suites._file import content_of, read_as, text_of
from copamerge.training.run import Schedule


class ClipRecipe(BaseModel):
    """How an adapter is trained on one task."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rank: int = Field(default=16, gt=0)
    """Rank of the adapter's modules."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapter's scaling is alpha / rank."""
    targets: tuple[str, ...] = Field(default=("q_proj", "v_proj"), min_length=1)
    """Layers of the vision tower's blocks, by the last part of their names: q_proj, k_proj,
    v_proj, out_proj, fc1, fc2."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of the adapter's inputs."""
    steps: int = Field(default=4000, gt=0)
    """Optimizer steps for each task; an adapter of several tasks gets as many for each."""
    batch: int = Field(default=128, gt=0)
    """Pictures a step."""
    rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate; cosine to zero after the warm-up."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero."""
    decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay."""
    items: int | None = Field(default=None, gt=0)
    """Train pictures of each task; None: all."""
    seed: int = Field(default=0, ge=0)
    """Of the first weights, the order of the pictures and dropout."""

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        known = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
        if bad := [name for name in targets if name not in known]:
            raise ValueError(f"{bad[0]!r} is no layer of a tower's block: {', '.join(known)}")
        return targets

    def schedule(self, tasks: int) -> Schedule:
        """For so many tasks together."""
        return Schedule(
            steps=self.steps * tasks,
            batch=self.batch,
            rate=self.rate,
            warmup=self.warmup,
            decay=self.decay,
        )

    @property
    def pattern(self) -> str:
        """Of the layers that are adapted, by their full names."""
        return rf"vision_model\..*\.({'|'.join(self.targets)})"


def load_clip_recipe(path: Path | None, options: Mapping[str, Any]) -> ClipRecipe:
    """The recipe of a YAML file, or the published one, with options of the command line over it.

    Raises:
        SuiteError: not YAML, unknown keys, values out of range; all of it.
    """
    content = {} if path is None else content_of(path, text_of(path))
    return read_as(ClipRecipe, {**content, **options}, path or Path("train"))
