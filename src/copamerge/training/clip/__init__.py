"""CLIP on image sets: a small one from nothing, and adapters of any one's vision tower.

`pretrain` and `train_clip` write folders that appear whole, with a `train.json` that says what
made them.
"""

from copamerge.training.clip.adapters import train_clip
from copamerge.training.clip.pretrain import PretrainRecipe, pretrain
from copamerge.training.clip.recipe import ClipRecipe

__all__ = ["ClipRecipe", "PretrainRecipe", "pretrain", "train_clip"]
