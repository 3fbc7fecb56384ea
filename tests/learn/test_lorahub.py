"""LoraHub: its objective by PEFT, its search, what it leaves."""

import json
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from copamerge.errors import CopamergeError
from copamerge.learn.job import prepare
from copamerge.learn.lorahub import LoraHub, Objective, lorahub
from copamerge.learn.questions import read_questions
from copamerge.merging import merge
from copamerge.merging.card.rewrite import rewrite_card
from copamerge.methods.factor_sum import FactorSum
from learn.tiny import make_adapters

W = (0.4, -0.7)


@pytest.fixture(scope="module")
def questions(data):
    return [read_questions(data, answers=True)]


@pytest.mark.parametrize("space", ["factors", "delta"])
def test_the_objective_is_the_one_peft_has_with_the_merged_adapter(
    base, adapters, questions, tmp_path, space
):
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = LoraHub(space=space, batch=2)
    merge(adapters, options.method, weights=W, dtype="float32").save_pretrained(tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        judge = peft.PeftModel.from_pretrained(plain, tmp_path / "m").eval()
    losses = []
    for sample in questions[0].samples:
        prompt = tokenizer(sample.question)["input_ids"]
        answer = [*tokenizer(sample.references[0])["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([[*prompt, *answer]])
        labels = torch.tensor([[*[-100] * len(prompt), *answer]])
        with torch.no_grad():
            losses.append(float(judge(input_ids=ids, labels=labels).loss))
    job = prepare(
        adapters, base, questions, method=options.method, answers=True, out=tmp_path / "o", more={}
    )

    found = Objective(job, options)(W)

    assert found.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert found.objective == pytest.approx(found.loss + 0.05 * (0.4 + 0.7) / 2)


def test_the_loss_goes_down_and_the_folder_holds_what_was_found(
    base, adapters, questions, tmp_path
):
    out = tmp_path / "out"

    _, record = lorahub(
        adapters, out, base, questions, LoraHub(steps=25), more={"dtype": "float32"}
    )

    written = json.loads((out / "learn.json").read_text())
    assert written == record
    assert record["steps"][0]["weights"] == [0, 0]
    assert record["best"]["objective"] < record["steps"][0]["objective"] - 0.05
    assert len(record["steps"]) == 26  # the recommendation is asked too
    assert all(abs(w) <= 1.5 for step in record["steps"] for w in step["weights"])
    weights = list(record["coefficients"].values())
    again = merge(adapters, FactorSum(), weights=weights, dtype="float32").state_dict()
    there = load_file(out / "adapter_model.safetensors")
    assert there.keys() == again.keys()
    assert all(torch.equal(there[name], again[name]) for name in there)
    card = (out / "README.md").read_text()
    assert "without data" not in card and "LoraHub found on 5 labelled examples" in card
    rewrite_card(out)  # from merge.json alone
    assert (out / "README.md").read_text() == card


def test_a_search_repeats_itself(base, adapters, questions, tmp_path):
    first, second = (
        lorahub(adapters, tmp_path / name, base, questions, LoraHub(steps=6, space="delta"))[1]
        for name in "ab"
    )

    assert first["steps"] == second["steps"]
    assert first["data_digest"] == second["data_digest"]


def test_a_base_that_is_best_leaves_nothing(base, adapters, questions, tmp_path):
    with pytest.raises(CopamergeError, match="better than the base alone"):
        lorahub(adapters, tmp_path / "out", base, questions, LoraHub(steps=3, l1=1000.0))

    assert not (tmp_path / "out").exists()


def test_unlike_ranks_have_no_sum_of_factors(base, adapters, questions, tmp_path):
    (other,) = make_adapters(tmp_path / "r3", 1, r=3)

    with pytest.raises(CopamergeError, match="needs equal ranks"):
        lorahub([adapters[0], str(other)], tmp_path / "out", base, questions)
    _, record = lorahub(
        [adapters[0], str(other)], tmp_path / "d", base, questions, LoraHub(space="delta", steps=4)
    )

    assert len(record["coefficients"]) == 2


def test_an_earlier_result_is_replaced_only_when_asked(base, adapters, questions, tmp_path):
    out, options = tmp_path / "out", LoraHub(steps=4, space="delta")
    lorahub(adapters, out, base, questions, options)

    with pytest.raises(CopamergeError, match="already exists"):
        lorahub(adapters, out, base, questions, options)
    lorahub(adapters, out, base, questions, options, overwrite=True)
    (out / "mine.txt").write_text("keep")
    with pytest.raises(CopamergeError, match=r"holds mine\.txt"):
        lorahub(adapters, out, base, questions, options, overwrite=True)


def test_one_file_twice_is_refused(base, adapters, questions, tmp_path):
    with pytest.raises(CopamergeError, match="given twice"):
        lorahub(adapters, tmp_path / "out", base, [*questions, *questions])
