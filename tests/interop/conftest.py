"""Real adapters, and bases to load them on."""

from functools import lru_cache
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
    """A base of the real architecture with random weights and few tokens; one at a time is kept."""

    @lru_cache(maxsize=1)
    def of(name):
        import transformers as t

        few = {"vocab_size": 60, "max_position_embeddings": 20}
        makers = {
            "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=60, n_positions=20)),
            "gpt2, 2 labels": lambda: t.GPT2ForSequenceClassification(
                t.GPT2Config(vocab_size=60, n_positions=20, num_labels=2, pad_token_id=0)
            ),
            "roberta, 4 labels": lambda: t.RobertaForSequenceClassification(
                t.RobertaConfig(**few, num_labels=4)
            ),
            "roberta, 5 labels": lambda: t.RobertaForSequenceClassification(
                t.RobertaConfig(**few, num_labels=5)
            ),
            "distilbert, 2 labels": lambda: t.DistilBertForSequenceClassification(
                t.DistilBertConfig(**few, num_labels=2)
            ),
        }
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return makers[name]().eval()

    return of
