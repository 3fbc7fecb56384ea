"""Real adapters, and bases to load them on."""

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


@pytest.fixture(scope="module")
def base(request):
    """A base of the real architecture, random weights, few tokens; None where it would be too big.

    Parametrised, so that pytest runs the tests of one base together and one is in memory.
    """
    if request.param is None:
        return None
    import transformers as t

    gpt2 = {"vocab_size": 60, "n_positions": 20, "pad_token_id": 0}
    bert = {"vocab_size": 60, "max_position_embeddings": 20}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        match request.param.split(", "):
            case ["gpt2"]:
                model = t.GPT2LMHeadModel(t.GPT2Config(**gpt2))
            case ["gpt2", labels]:
                config = t.GPT2Config(**gpt2, num_labels=int(labels))
                model = t.GPT2ForSequenceClassification(config)
            case ["roberta", labels]:
                config = t.RobertaConfig(**bert, num_labels=int(labels))
                model = t.RobertaForSequenceClassification(config)
            case ["distilbert", labels]:
                config = t.DistilBertConfig(**bert, num_labels=int(labels))
                model = t.DistilBertForSequenceClassification(config)
    return model.eval()
