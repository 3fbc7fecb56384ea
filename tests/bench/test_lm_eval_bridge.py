"""lm-evaluation-harness itself, on tiny models, without the network; skipped where it is absent."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="copamerge[lm-eval] is not installed")

pytestmark = [
    pytest.mark.interop,
    # The harness's own and its libraries'; what they warn of is not ours to change.
    pytest.mark.filterwarnings("ignore"),
]
Cli = Callable[..., Any]
ROWS = [
    ("what is the color of a", "red"),
    ("what is the shape of b", "round"),
    ("the color of c", "blue"),
    ("is d red", "blue"),
    ("what", "red"),
]
COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
"""
CHOOSES = """task: chooses
output_type: multiple_choice
doc_to_choice: ["red", "blue", "round"]
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
SAYS = """task: says
output_type: generate_until
generation_kwargs: {until: ["</s>"], max_gen_toks: 3, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks of one's own; data sets are cached in a folder of this test."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in ROWS))
    for name, text in (("chooses", CHOOSES), ("says", SAYS)):
        (folder / f"{name}.yaml").write_text(text + COMMON.format(data=data))
    return folder


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    from learn.tiny import make_base

    return make_base(tmp_path_factory.mktemp("llm") / "base")


def test_adapters_on_a_model_for_text(
    copamerge_cli: Cli, llm: Path, tasks: Path, tmp_path: Path
) -> None:
    from learn.tiny import make_adapters

    one, two = make_adapters(tmp_path / "adapters")
    out = tmp_path / "out"
    words = ("lm-eval", "--base", llm, "--adapter", one, "--adapter", two, "--with-base")

    ran = copamerge_cli(
        *words, *("--tasks", "chooses,says", "--include", tasks, "--batch", 2, "-o", out)
    )

    assert ran.code == 0, ran.err
    assert [line.split()[:2] for line in ran.out.splitlines()[1:3]] == [
        ["chooses", "acc"],
        ["says", "exact_match"],
    ]
    table = json.loads((out / "harness.json").read_text())
    assert table["models"] == ["zero-shot", "a", "b"] and len(table["rows"]) == 6
    assert all(0 <= row["value"] <= 1 for row in table["rows"])
    assert json.loads((out / "a.json").read_text())["results"]["n-samples"]["says"] == {
        "original": 5,
        "effective": 5,
    }


def test_likelihoods_are_those_of_the_merged_model(llm: Path, tasks: Path, tmp_path: Path) -> None:
    """An oracle without the harness: log probabilities of the choices, from the model itself."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from copamerge.bench.bridges.lm_eval import LmEval
    from copamerge.bench.bridges.running import Asked, run_harness
    from learn.tiny import make_adapters

    (adapter,) = make_adapters(tmp_path / "adapters", 1)
    asked = Asked(("chooses",), include=(tasks,), template="none")
    run_harness(tmp_path / "out", LmEval(), llm, {"a": adapter}, asked, samples=True)
    kept = json.loads((tmp_path / "out" / "a.samples.json").read_text())["chooses"]
    said = {
        (sample["doc"]["question"], choice): float(answer[0][0])
        for sample in kept
        for choice, answer in zip(("red", "blue", "round"), sample["resps"], strict=True)
    }

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llm), str(adapter))
    tokenizer = AutoTokenizer.from_pretrained(llm)
    for (question, choice), found in said.items():
        ids = torch.tensor([tokenizer(f"{question} {choice}")["input_ids"]])
        with torch.inference_mode():
            logits = model(ids).logits[0, -2].log_softmax(-1)
        assert found == pytest.approx(float(logits[ids[0, -1]]), abs=1e-4)
    assert len(said) == 15


def test_the_language_model_of_one_with_eyes(
    copamerge_cli: Cli, base: Path, adapters: Mapping[str, Path], tasks: Path, tmp_path: Path
) -> None:
    ran = copamerge_cli(
        *("lm-eval", "--base", base, "--adapter", adapters["a"], "--tasks", "chooses,says"),
        *("--include", tasks, "--limit", 2, "--json", "-o", tmp_path / "out"),
    )

    assert ran.code == 0, ran.err
    assert len(json.loads(ran.out)["rows"]) == 2


def test_mistakes_are_sentences(copamerge_cli: Cli, llm: Path, tasks: Path, tmp_path: Path) -> None:
    words = ("lm-eval", "--base", llm, "--include", tasks, "-o", tmp_path / "out")

    unknown = copamerge_cli(*words, "--tasks", "chuses,says", "--limit", 0)
    no_chat = copamerge_cli(*words, "--tasks", "says", "--chat")

    assert unknown.code == 2 and "task 'chuses': lm-eval has none of that name" in unknown.err
    assert "limit: 0; at least 1" in unknown.err
    assert no_chat.code == 2 and "has no chat template; leave --chat out" in no_chat.err
