"""Real adapters, and bases to load them on."""

from functools import cache
from pathlib import Path

import pytest
import torch

REAL = Path(__file__).parents[3] / "shared" / "adapters"


@pytest.fixture(scope="session")
def real():
    """The folder of a real adapter, by its name in shared/adapters."""
    if not REAL.is_dir():
        pytest.skip(f"no real adapters: {REAL} is absent (it is not part of the project)")
    return lambda *names: [REAL / name for name in names]


@pytest.fixture(scope="session")
def base():
    """A base of the real architecture by name, as in `gpt2` or `roberta, 5` with its labels.

    Weights are random and tokens few. Each family is built once, and its bases share the layers.
    """
    families = cache(_family)

    def of(name):
        family, _, labels = name.partition(", ")
        return families(family)(int(labels or 0)).eval()

    return of


def _family(name):
    import transformers as t

    gpt2 = {"vocab_size": 60, "n_positions": 20, "pad_token_id": 0}
    bert = {"vocab_size": 60, "max_position_embeddings": 20}

    def gpt2_with(labels):
        if not labels:
            return whole
        classifier = t.GPT2ForSequenceClassification(
            t.GPT2Config(**gpt2, n_layer=0, num_labels=labels)
        )
        classifier.transformer = whole.transformer
        return classifier

    def roberta_with(labels):
        whole.classifier.out_proj = torch.nn.Linear(768, labels)
        return whole

    def distilbert_with(labels):
        whole.classifier = torch.nn.Linear(768, labels)
        return whole

    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "gpt2":
            whole = t.GPT2LMHeadModel(t.GPT2Config(**gpt2))
            return gpt2_with
        if name == "roberta":
            whole = t.RobertaForSequenceClassification(t.RobertaConfig(**bert))
            return roberta_with
        whole = t.DistilBertForSequenceClassification(t.DistilBertConfig(**bert))
        return distilbert_with
