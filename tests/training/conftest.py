"""The tokenizer takes seconds to make; one is enough for all."""

import pytest


@pytest.fixture(scope="session")
def tokenizer():
    pytest.importorskip("transformers")
    from copamerge.training.mini.words import build_tokenizer

    return build_tokenizer()
