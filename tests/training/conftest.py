"""Tokenizers and bases take seconds to make; one of each is enough for all."""

import pytest
import torch


@pytest.fixture(scope="session")
def tokenizer():
    pytest.importorskip("transformers")
    from copamerge.training.mini.words import build_tokenizer

    return build_tokenizer()


@pytest.fixture(scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory, one_thread):
    pytest.importorskip("transformers")
    from tiny_bases import LLAVA_HF, llama_tokenizer, save_llava

    return save_llava(tmp_path_factory.mktemp("bases") / "llava", llama_tokenizer(LLAVA_HF))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory, one_thread):
    pytest.importorskip("transformers")
    from tiny_bases import llama_tokenizer, save_llama

    return save_llama(tmp_path_factory.mktemp("bases") / "llama", llama_tokenizer())
