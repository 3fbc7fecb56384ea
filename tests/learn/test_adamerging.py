"""AdaMerging: its gradient by finite differences, its steps, what it leaves."""

import dataclasses
import json
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file

from copamerge.learn.adamerging import AdaMerging, Answered, Coefficients, _draws, adamerging, learn
from copamerge.learn.job import prepare
from copamerge.learn.mixture import hung, stacks_of, weighted_sum
from copamerge.learn.model import batch_of, entropies, generated_tokens
from copamerge.learn.questions import read_questions
from copamerge.merging import merge, merge_plan, plan
from copamerge.recipe import load_recipe
from copamerge.recipe.schedule import weight_at
from copamerge.suites import Asking


@pytest.fixture(scope="module")
def questions(data):
    return [dataclasses.replace(read_questions(data, answers=False), asking=Asking(4))]


@pytest.fixture
def job(base, adapters, questions, tmp_path):
    return prepare(
        adapters,
        base,
        questions,
        method="task_arithmetic",
        answers=False,
        out=tmp_path / "o",
        more={"dtype": "float32"},
    )


@pytest.mark.parametrize("kind", ["layer", "task"])
def test_the_gradient_is_that_of_finite_differences(job, kind):
    found = Coefficients(job.plan, AdaMerging(coefficients=kind), torch.device("cpu"))
    found.raw = found.raw.detach().double().requires_grad_()
    job.model.model.double()
    stacks = {
        name: dataclasses.replace(x, A=x.A.double(), B=x.B.double())
        for name, x in stacks_of(job.plan, torch.device("cpu")).items()
    }
    samples = job.questions[0].samples
    with hung(job.model.model, stacks, weighted_sum, found):
        answers = generated_tokens(job.model, samples, Asking(4))
        batch = batch_of(job.model, samples, answers, Asking())
        entropies(job.model, batch).mean().backward()
        gradient = found.raw.grad.clone()
        for row, column in [(0, 0), (0, 1), (-1, 1)]:

            def slope(h, row=row, column=column):
                sides = []
                for step in (h, -h):
                    with torch.no_grad():
                        found.raw[row, column] += step
                        sides.append(float(entropies(job.model, batch).mean()))
                        found.raw[row, column] -= step
                return (sides[0] - sides[1]) / (2 * h)

            # The model's norms stay float32, so steps are large and their error is extrapolated.
            expected = (4 * slope(1e-3) - slope(2e-3)) / 3
            assert float(gradient[row, column]) == pytest.approx(expected, rel=1e-3, abs=1e-4)

    assert gradient.shape == ((6, 2) if kind == "layer" else (1, 2))
    assert (gradient != 0).all()


def test_the_entropy_goes_down(job):
    options = AdaMerging(steps=12, lr=0.05, refresh=None)

    found, losses = learn(job, options)

    assert losses[-1]["loss"] < losses[0]["loss"] - 0.01
    assert all(0 <= x <= 1 for i in range(2) for x in found.of(i).values())


def test_the_base_s_weights_are_left_as_they_were(job):
    before = {k: v.clone() for k, v in job.model.model.state_dict().items()}
    asked = [x.requires_grad for x in job.model.model.parameters()]

    learn(job, AdaMerging(steps=2))

    assert all(torch.equal(v, before[k]) for k, v in job.model.model.state_dict().items())
    assert [x.requires_grad for x in job.model.model.parameters()] == asked


def test_the_first_step_of_adam_is_the_learning_rate(job):
    found, _ = learn(job, AdaMerging(steps=1, lr=1e-3, coefficients="task"))

    moved = (found.raw.detach() - 0.3).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-3), rtol=1e-2, atol=0.0)


def test_answers_are_generated_again_when_they_are_old(job, monkeypatch):
    import copamerge.learn.adamerging as module

    asked = []
    monkeypatch.setattr(
        module,
        "generated_tokens",
        lambda model, samples, n: asked.append(len(samples)) or generated_tokens(model, samples, n),
    )
    once = Answered(job, job.questions[0], AdaMerging(batch=5, refresh=None))
    for step in range(4):
        once.loss(step)
    assert asked == [5]
    asked.clear()
    anew = Answered(job, job.questions[0], AdaMerging(batch=5, refresh=2))
    for step in range(5):
        anew.loss(step)

    assert asked == [5, 5, 5]


def test_every_input_comes_once_a_round_and_never_twice_in_a_batch():
    batches = list(islice(_draws(5, 2, "0/x"), 10))

    flat = [i for batch in batches for i in batch]
    assert all(len(set(batch)) == 2 for batch in batches)
    assert all(flat.count(i) == 4 for i in range(5))
    assert list(islice(_draws(3, 16, "0/x"), 2))[1] != [] and len(next(_draws(3, 16, "x"))) == 3


@pytest.mark.parametrize("kind", ["layer", "task"])
def test_the_folder_holds_the_sum_with_these_coefficients(
    base, adapters, questions, tmp_path, kind
):
    out = tmp_path / "out"
    options = AdaMerging(steps=3, lr=0.02, coefficients=kind)

    _, record = adamerging(adapters, out, base, questions, options, more={"dtype": "float32"})

    assert json.loads((out / "learn.json").read_text()) == record
    there = load_file(out / "adapter_model.safetensors")
    inputs = [load_file(f"{path}/adapter_model.safetensors") for path in adapters]
    for name in (key for key in there if "lora_A" in key):
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        b = name.replace("lora_A", "lora_B")
        expected = 0
        for path, tensors in zip(adapters, inputs, strict=True):
            c = record["coefficients"][path]
            c = c[layer] if kind == "layer" else c
            expected = expected + 2.0 * c * tensors[b] @ tensors[name]  # lora_alpha 4, r 2
        torch.testing.assert_close(there[b] @ there[name], expected, rtol=1e-4, atol=1e-5)
    recipe, _ = load_recipe(out / "merge.json")
    again = merge_plan(plan(recipe)).state_dict()
    assert all(torch.equal(again[name], there[name]) for name in there)


def test_a_layer_whose_name_holds_another_s_has_its_own_coefficient():
    from copamerge.learn.adamerging import _source
    from copamerge.recipe import Source

    each = {"m.layers.1.fc": 0.1, "m.layers.1.fc2": 0.2, "x.m.layers.1.fc": 0.3, "fc": 0.4}

    source = _source(Source(adapter="a"), each, AdaMerging())

    assert {name: weight_at(source.weight, name, 0.5) for name in each} == each


def test_at_the_start_it_is_task_arithmetic(job, adapters):
    """Before the first step the model is the merge at `init` everywhere."""
    found = Coefficients(job.plan, AdaMerging(), torch.device("cpu"))
    merged = merge(adapters, "task_arithmetic", scale=0.3, dtype="float32").state_dict()
    stacks = stacks_of(job.plan, torch.device("cpu"))
    for name, stack in stacks.items():
        x = torch.randn(3, stack.A.shape[2])
        stem = f"base_model.model.{name}"
        A, B = merged[f"{stem}.lora_A.weight"], merged[f"{stem}.lora_B.weight"]
        with torch.no_grad():
            torch.testing.assert_close(
                weighted_sum(stack, found(name), x), x @ (B @ A).mT, rtol=1e-4, atol=1e-4
            )
