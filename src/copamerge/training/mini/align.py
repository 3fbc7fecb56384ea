"""The second stage: teach the projector to say what the tower sees in the words of the model.

A patch of a red star is to point where the embeddings of `red` and `star` point. From there a
language model that is asked for the star finds it by its own word, which it otherwise takes most
of its training to learn (docs/log.md).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from copamerge.suites.mini.draw import COLORS, GROUNDS, NAMES, SIDE, STEP, coordinate

EDGES = ("left", "top", "right", "bottom")
WORDS = {
    "name": NAMES,
    "color": tuple(COLORS),
    "ground": tuple(GROUNDS),
    **{edge: tuple(coordinate(step) for step in range(SIDE // STEP + 1)) for edge in EDGES},
}
"""The word of each answer to a question about a patch, in the order of the labels from 1 on."""


class Aligned(nn.Module):
    """Tower and projector, with the word embeddings as heads.

    Names and colours are compared with the projected patch itself, the four edges with a linear
    map of it each, because all edges use the same words. A patch of nothing is to match the word
    for the ground.
    """

    def __init__(
        self, model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        super().__init__()
        self.model = model.model
        words = tokenizer.get_vocab()
        missing = words["<unk>"]
        for head, said in WORDS.items():
            ids = torch.tensor([words.get(word, missing) for word in said])
            self.register_buffer(head, ids, persistent=False)
        embeddings: Any = model.get_input_embeddings()
        width: int = embeddings.weight.shape[1]
        self.edges = nn.ModuleDict({edge: nn.Linear(width, width, bias=False) for edge in EDGES})

    def forward(
        self,
        pixel_values: Float[Tensor, "batch 3 side side"],
        **labels: Int[Tensor, "batch patches"],
    ) -> dict[str, Any]:
        with torch.no_grad():
            seen = self.model.vision_tower(pixel_values).last_hidden_state[:, 1:]
        said = self.model.multi_modal_projector(seen)
        # The language model normalises what it reads; so does this comparison.
        said = said * said.pow(2).mean(-1, keepdim=True).add(1e-6).rsqrt()
        table = self.model.language_model.get_input_embeddings().weight
        loss = said.new_zeros(())
        for head in WORDS:
            pointed = self.edges[head](said) if head in EDGES else said
            logits = pointed @ table[getattr(self, head)].T
            there = labels["name"] == 0 if head == "ground" else labels[head] > 0
            loss = loss + nn.functional.cross_entropy(logits[there], labels[head][there] - 1)
        return {"loss": loss}
