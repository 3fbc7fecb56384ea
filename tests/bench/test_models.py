"""A real, tiny LLaVA: batches, adapters on and off, adapters that do not fit."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from echo import mixed_samples
from torch import Tensor

from copamerge.bench import wearing
from copamerge.bench.models import Generator, load_base
from copamerge.bench.wearing import NO_CHANGE
from copamerge.errors import AdapterError, CopamergeError, SuiteError
from copamerge.suites import Asking

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def answerer(base: Path) -> Generator:
    return load_base(base)


@pytest.fixture(params=["folded", "beside"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small models have the adapter folded in, large ones have it beside the weights."""
    if request.param == "beside":
        monkeypatch.setattr(wearing, "FOLD_UP_TO", 0)
    return str(request.param)


def bits(answerer: Generator) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in answerer.model.state_dict().items()}


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].view(torch.uint8), other[name].view(torch.uint8)) for name in one
    )


def test_a_batch_answers_what_batches_of_one_answer(answerer: Generator) -> None:
    samples = mixed_samples(24)

    batched = answerer.answer(samples, Asking(8), batch=24)
    pairs = answerer.answer(samples, Asking(8), batch=5)
    alone = answerer.answer(samples, Asking(8), batch=1)

    assert batched == pairs == alone
    assert len(set(alone)) > 5  # a model that says the same to everyone would pass anything


def test_pictures_reach_the_questions_they_belong_to(answerer: Generator) -> None:
    samples = mixed_samples(6)
    inputs = answerer.inputs(samples, Asking())

    pictured = [sample for sample in samples if sample.images]
    assert len(inputs["pixel_values"]) == len(pictured) == 4
    tokens = (inputs["input_ids"] == answerer.model.config.image_token_id).sum(1).tolist()
    assert tokens == [36 if sample.images else 0 for sample in samples]
    # Padding stands on the left: the last token is the prompt's.
    assert (inputs["attention_mask"][:, -1] == 1).all()
    assert (inputs["attention_mask"][:, 0] == 0).any()


def test_questions_without_any_picture_are_answered(answerer: Generator) -> None:
    texts = [sample for sample in mixed_samples(9) if not sample.images]

    assert answerer.answer(texts, Asking(4), batch=3) == answerer.answer(texts, Asking(4), batch=1)


def test_answers_have_no_special_tokens_or_edges(answerer: Generator) -> None:
    for answer in answerer.answer(mixed_samples(12), Asking(16), batch=6):
        assert answer == answer.strip()
        assert not any(token in answer for token in ("<s>", "</s>", "<pad>", "<image>", "USER :"))


def test_the_user_s_threads_are_left_as_they_were(answerer: Generator) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    answerer.answer(mixed_samples(2), Asking(2), 2)

    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_nothing_is_asked_without_samples(answerer: Generator) -> None:
    assert answerer.answer([], Asking(4), batch=3) == []


def test_the_base_comes_back_bit_by_bit(
    answerer: Generator, adapters: Mapping[str, Path], either_way: str
) -> None:
    before, samples = bits(answerer), mixed_samples(12)
    of_base = answerer.answer(samples, Asking(6), 12)
    modules = dict(answerer.model.named_modules())
    said = {}

    for name, path in [*adapters.items(), *reversed(adapters.items())]:
        with answerer.use(path) as warned:
            assert list(warned) == []
            said.setdefault(name, []).append(answerer.answer(samples, Asking(6), 12))
        assert same_bits(bits(answerer), before)

    assert answerer.answer(samples, Asking(6), 12) == of_base
    assert dict(answerer.model.named_modules()) == modules
    assert not hasattr(answerer.model, "peft_config")
    assert said["a"][0] == said["a"][1] and said["b"][0] == said["b"][1]
    assert len({tuple(each[0]) for each in said.values()} | {tuple(of_base)}) == 3


def test_the_base_comes_back_after_an_error(
    answerer: Generator, adapters: Mapping[str, Path], either_way: str
) -> None:
    before = bits(answerer)

    with pytest.raises(KeyboardInterrupt), answerer.use(adapters["a"]):
        raise KeyboardInterrupt

    assert same_bits(bits(answerer), before)


def test_an_adapter_answers_as_under_peft_alone(
    base: Path, answerer: Generator, adapters: Mapping[str, Path], either_way: str
) -> None:
    import peft
    from transformers import AutoModelForImageTextToText

    samples = mixed_samples(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fresh = AutoModelForImageTextToText.from_pretrained(base)
        judge = peft.PeftModel.from_pretrained(fresh, str(adapters["b"])).eval()
    with answerer.use(adapters["b"]), torch.inference_mode():
        inputs = answerer.inputs(samples, Asking())
        ours = answerer.model(**inputs).logits
        theirs = judge(**inputs).logits

    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_saved_modules_and_biases_come_off_again(
    answerer: Generator, adapter: Callable[..., Path], tmp_path: Path, either_way: str
) -> None:
    path = adapter(tmp_path / "head", modules_to_save=["linear_2"])
    before = bits(answerer)

    with answerer.use(path):
        answerer.answer(mixed_samples(3), Asking(4), 3)

    assert same_bits(bits(answerer), before)


def test_an_adapter_of_another_width_is_refused_with_both_shapes(
    answerer: Generator, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "wide"
    path.mkdir()
    config = (adapters["a"] / "adapter_config.json").read_text()
    (path / "adapter_config.json").write_text(config)
    tensors = load_file(adapters["a"] / "adapter_model.safetensors")
    wide = {
        name: torch.zeros(x.shape[0], 48) if "lora_A" in name else x for name, x in tensors.items()
    }
    save_file(wide, path / "adapter_model.safetensors")
    before = bits(answerer)

    with pytest.raises(AdapterError) as caught, answerer.use(path):
        pass

    first, *_, last = caught.value.problems
    assert "layers.0.mlp.down_proj' is 32x48 in the adapter and 32x96 in the base" in first
    assert "6 of 6 layers do not fit" in last and "--base" in last
    assert "layers of other shapes" in str(caught.value)
    assert same_bits(bits(answerer), before)


def test_an_adapter_of_another_architecture_is_refused(answerer: Generator, tmp_path: Path) -> None:
    from makers import make_adapter

    path = make_adapter(tmp_path / "other")

    with pytest.raises(AdapterError, match=r"layer 'model\.layers\.0.*is not in the base"):
        answerer.use(path).__enter__()


def test_an_adapter_that_changes_nothing_is_called_so(
    answerer: Generator, adapter: Callable[..., Path], tmp_path: Path, either_way: str
) -> None:
    path = adapter(tmp_path / "zero", size=0.0)
    samples = mixed_samples(6)

    with answerer.use(path) as warned:
        said = answerer.answer(samples, Asking(4), 6)

    assert list(warned) == [NO_CHANGE]
    assert said == answerer.answer(samples, Asking(4), 6)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="not a model folder"):
        load_base(tmp_path)


def test_a_damaged_model_is_a_sentence(base: Path, tmp_path: Path) -> None:
    import shutil

    broken = shutil.copytree(base, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not weights")

    with pytest.raises(SuiteError, match="transformers cannot load this"):
        load_base(broken)


def test_weights_that_are_not_there_are_not_made_up(base: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(base, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    name = next(name for name in tensors if "q_proj" in name)
    del tensors[name]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(SuiteError, match=r"lack 1 tensors of the model \(first: '.*q_proj"):
        load_base(broken)


def test_what_is_missing_is_said_with_its_extra(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)

    with pytest.raises(CopamergeError, match=r"peft is not installed.*copamerge\[bench\]"):
        load_base(base)
