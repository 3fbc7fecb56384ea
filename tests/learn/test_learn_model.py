"""Losses and entropies of answers against plain loops; adapters that hang beside the weights."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from copamerge.bench.models import load_base
from copamerge.bench.prompting import prompt
from copamerge.errors import AdapterError, SuiteError
from copamerge.learn.mixture import hung, stacks_of, sum_of_factors, weighted_sum
from copamerge.learn.model import (
    answer_tokens,
    batch_of,
    check_askable,
    cross_entropies,
    entropies,
    generated_tokens,
)
from copamerge.learn.questions import of_suite, read_questions
from copamerge.merging import plan
from copamerge.recipe import recipe_from
from copamerge.suites import Asking
from strategies import random_stack


@pytest.fixture(scope="module")
def model(base):
    return load_base(base)


@pytest.fixture(scope="module")
def samples(data):
    return read_questions(data, answers=True).samples


@pytest.fixture(scope="module")
def batch(model, samples):
    return batch_of(
        model, samples, [answer_tokens(model, x.references[0]) for x in samples], Asking()
    )


def logs_alone(model, sample, answer):
    """For one item without padding: log-probabilities where the answer's tokens stand."""
    prompt = model.processor.tokenizer(sample.question)["input_ids"]
    ids = torch.tensor([[*prompt, *answer.tolist()]])
    with torch.no_grad():
        logits = model.model(input_ids=ids).logits[0].double().numpy()
    rows = logits[len(prompt) - 1 : -1]
    return rows - np.log(np.exp(rows).sum(1, keepdims=True))


def test_cross_entropy_is_the_mean_over_an_answer_s_tokens(model, samples, batch):
    expected = []
    for sample in samples:
        answer = answer_tokens(model, sample.references[0])
        logs = logs_alone(model, sample, answer)
        expected.append(-np.mean([logs[i, token] for i, token in enumerate(answer)]))

    found = cross_entropies(model, batch).detach()

    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_entropy_is_the_mean_over_an_answer_s_tokens(model, samples, batch):
    expected = []
    for sample in samples:
        logs = logs_alone(model, sample, answer_tokens(model, sample.references[0]))
        expected.append(np.mean([-(np.exp(row) * row).sum() for row in logs]))

    found = entropies(model, batch).detach()

    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert (found > 0).all() and (found < np.log(len(logs[0]))).all()


def test_a_batch_is_as_its_items_alone(model, samples, batch):
    answers = [answer_tokens(model, x.references[0]) for x in samples]
    alone = [
        entropies(model, batch_of(model, [x], [y], Asking()))
        for x, y in zip(samples, answers, strict=True)
    ]

    torch.testing.assert_close(entropies(model, batch), torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_generated_answers_are_what_the_answerer_says(model, samples):
    said = generated_tokens(model, samples, Asking(6))

    texts = [model.processor.tokenizer.decode(ids, skip_special_tokens=True) for ids in said]
    assert texts == model.answer(samples, Asking(6), 5)
    assert all(1 <= len(ids) <= 6 and 2 not in ids[:-1] for ids in said)


def test_a_picture_for_a_model_without_eyes_is_refused(model):
    found, _ = of_suite("mini", ["vqa"], items=1)

    with pytest.raises(SuiteError, match="reads text only"):
        check_askable(model, found, answers=True)


# --- hung beside ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
def test_what_is_added_is_the_sum_times_the_input(bias):
    stack = random_stack((2, 3, 1), weights=[1.0, 1.0, 1.0])
    some = torch.randn(3, stack.B.shape[1])
    stack = dataclasses.replace(stack, bias=some if bias else None)
    c, x = torch.tensor([0.5, -1.0, 2.0]), torch.randn(4, 5, stack.A.shape[2])
    delta = sum(c[i] * stack.B[i] @ stack.A[i] for i in range(3))
    crossed = sum(c[i] * stack.B[i] for i in range(3)) @ sum(c[i] * stack.A[i] for i in range(3))
    shift = c @ stack.bias if bias else 0

    added, product = weighted_sum(stack, c, x), sum_of_factors(stack, c, x)

    torch.testing.assert_close(added, x @ delta.mT + shift, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(product, x @ crossed.mT + shift, rtol=1e-4, atol=1e-4)


def planned(adapters, **more):
    sources = [{"adapter": str(x)} for x in adapters]
    return plan(recipe_from({"method": "task_arithmetic", "adapters": sources, **more}))


def test_nothing_hangs_after_the_block(model, adapters, batch):
    stacks = stacks_of(planned(adapters), torch.device("cpu"))
    before = entropies(model, batch)

    with hung(model.model, stacks, weighted_sum, lambda layer: torch.ones(2)):
        inside = entropies(model, batch)

    assert not torch.allclose(inside, before)
    assert torch.equal(entropies(model, batch), before)


def test_an_adapter_hangs_as_peft_puts_it_on(model, adapters, batch):
    stacks = stacks_of(planned(adapters), torch.device("cpu"))

    with hung(model.model, stacks, weighted_sum, lambda layer: torch.tensor([0.0, 1.0])):
        ours = cross_entropies(model, batch).detach()
    with model.use(Path(adapters[1])):
        theirs = cross_entropies(model, batch).detach()

    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_full_tensors_and_nan_are_refused(tmp_path, adapters):
    from learn.tiny import LAYERS
    from makers import a_of, make_adapter

    name = next(iter(LAYERS))
    broken = make_adapter(
        tmp_path / "nan",
        LAYERS,
        extra={a_of(name): torch.full((2, 16), torch.nan)},
        base_model_name_or_path="tiny",
    )
    with pytest.raises(AdapterError, match="has 32 NaN values"):
        stacks_of(planned([broken, adapters[0]]), torch.device("cpu"))

    whole = make_adapter(
        tmp_path / "whole",
        LAYERS,
        modules_to_save=["lm_head"],
        extra={"base_model.model.lm_head.weight": torch.zeros(17, 16)},
        base_model_name_or_path="tiny",
    )
    with pytest.raises(AdapterError, match="no coefficient to learn"):
        stacks_of(planned([whole, adapters[0]], modules_to_save="first"), torch.device("cpu"))


def test_a_folder_that_is_no_model_is_a_sentence(tmp_path, base):
    with pytest.raises(SuiteError, match="not a model folder"):
        load_base(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(SuiteError, match="transformers cannot load this"):
        load_base(tmp_path)


def test_a_chat_template_is_used_where_there_is_one(base, data, samples):
    model = load_base(base)
    assert prompt(model.processor, samples[0], Asking()) == samples[0].question
    model.processor.tokenizer.chat_template = (
        "{% for m in messages %}is {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}the{% endif %}"
    )

    assert prompt(model.processor, samples[0], Asking()) == f"is {samples[0].question} the"


def test_a_layer_stored_the_other_way_round_hangs_alike(tmp_path):
    """GPT-2 keeps its weights transposed; the update it gets is the one PEFT gives it."""
    import warnings

    import peft
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    plain = GPT2LMHeadModel(GPT2Config(vocab_size=11, bos_token_id=1, eos_token_id=1, **sizes))
    plain = plain.eval()
    ids = torch.tensor([[3, 4, 5]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lora = peft.LoraConfig(
            r=2, lora_alpha=4, target_modules=["c_attn"], fan_in_fan_out=True,
            init_lora_weights=False, task_type="CAUSAL_LM",
        )  # fmt: skip
        adapted = peft.get_peft_model(plain, lora).eval()
        adapted.save_pretrained(tmp_path / "a")
        with torch.no_grad():
            expected = adapted(input_ids=ids).logits
        plain = adapted.unload()
    stacks = stacks_of(planned([tmp_path / "a"]), torch.device("cpu"))

    with hung(plain, stacks, weighted_sum, lambda layer: torch.ones(1)), torch.no_grad():
        found = plain(input_ids=ids).logits

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
