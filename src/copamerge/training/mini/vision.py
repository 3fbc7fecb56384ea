"""The first stage: teach the vision tower what stands on each patch.

Learning to see from answers alone does not work at this size within minutes (docs/log.md), so the
tower first learns from labels that only made pictures have: name, colour, style and box of the
thing on every patch, and the ground.
"""

from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import CLIPVisionModel

from copamerge.suites.mini._made import Maker, made
from copamerge.suites.mini.draw import HEADS, patch_labels
from copamerge.suites.mini.lessons import LESSONS, choices, facts
from copamerge.training.mini.model import MEAN, SPREAD

WEIGHTS = {
    "name": 1.0,
    "color": 1.0,
    "style": 0.3,
    "ground": 0.3,
    "left": 0.5,
    "top": 0.5,
    "right": 0.5,
    "bottom": 0.5,
}
"""What each question counts in the loss."""


class SeeingTower(nn.Module):
    """A vision tower with one linear head for each question about a patch."""

    def __init__(self, tower: CLIPVisionModel, width: int) -> None:
        super().__init__()
        self.tower = tower
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in HEADS.items()})

    def forward(
        self,
        pixel_values: Float[Tensor, "batch 3 side side"],
        **labels: Int[Tensor, "batch patches"],
    ) -> dict[str, Any]:
        seen = self.tower(pixel_values).last_hidden_state[:, 1:]
        loss = seen.new_zeros(())
        logits = {}
        for name, head in self.heads.items():
            logits[name] = head(seen)
            if name in labels:
                loss = loss + WEIGHTS[name] * nn.functional.cross_entropy(
                    logits[name].flatten(0, 1), labels[name].flatten()
                )
        return {"loss": loss, "logits": logits}


class Pictures(Dataset[dict[str, Any]]):
    """Pictures of the lessons with what stands on each patch."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.makers: list[Maker] = [lesson for lesson in LESSONS if lesson not in (facts, choices)]
        self.shares = [LESSONS[lesson] for lesson in self.makers]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = Random(f"pictures/{self.seed}/{index}")
        while True:
            (maker,) = rng.choices(self.makers, self.shares)
            one = made(maker, maker.__name__, index, "train", self.seed)
            if one.canvas is not None:
                return {
                    "pixels": one.canvas.pixels,
                    **patch_labels(one.canvas.things, one.canvas.ground),
                }
            index += self.count


def pixel_values(pictures: list[np.ndarray[Any, Any]]) -> Float[Tensor, "batch 3 side side"]:
    """What the processor makes of pictures of the right size, without its detours."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, spread = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, SPREAD))
    return (stacked - mean) / spread


def collate(rows: list[Mapping[str, Any]]) -> dict[str, Tensor]:
    batch = {"pixel_values": pixel_values([row["pixels"] for row in rows])}
    batch |= {head: torch.from_numpy(np.stack([row[head] for row in rows])) for head in HEADS}
    return batch
