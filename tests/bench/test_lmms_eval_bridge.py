"""lmms-eval itself, on a tiny LLaVA, without the network; skipped where it is absent."""

import json
import sys
import types
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if find_spec("lmms_eval") is None:
    pytest.skip("copamerge[lmms-eval] is not installed", allow_module_level=True)

try:
    import torchvision
except RuntimeError:
    # It is built for another torch: its operators are missing, and nothing here uses them.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name in ("_meta_registrations", "_autograd_registrations"):
        sys.modules[f"torchvision.{name}"] = types.ModuleType(name)
    import torchvision  # noqa: F401

pytestmark = [
    pytest.mark.interop,
    # The harness's own and its libraries'; what they warn of is not ours to change.
    pytest.mark.filterwarnings("ignore"),
]
Cli = Callable[..., Any]
LOOKS = """task: looks
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: !function looks.text
doc_to_visual: !function looks.pictures
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 3, temperature: 0, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
FUNCTIONS = """
from pathlib import Path
from PIL import Image

def text(doc):
    return doc["question"]

def pictures(doc):
    return [Image.open(Path(__file__).parent / name) for name in doc["images"].split()]
"""
ROWS = [
    {"question": "what color is it ?", "answer": "red", "images": "0.png"},
    {"question": "are these the same ?", "answer": "no", "images": "0.png 1.png"},
    {"question": "say yes", "answer": "yes", "images": ""},
]


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets
    from PIL import Image

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "tasks"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.full((32, 32, 3), 200 * i, np.uint8)).save(folder / f"{i}.png")
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "looks.yaml").write_text(LOOKS.format(data=data))
    (folder / "looks.py").write_text(FUNCTIONS)
    return folder


def test_samples_with_and_without_pictures_get_the_answers_of_evaluate(
    copamerge_cli: Cli, base: Path, adapters: Mapping[str, Path], tasks: Path, tmp_path: Path
) -> None:
    """The bridge asks what `evaluate` asks: the same three answers, from both."""
    words = ("--base", base, "--adapter", adapters["a"])
    lines = [
        {
            "prompt": row["question"],
            "answer": row["answer"],
            "images": [str(tasks / name) for name in row["images"].split()],
        }
        for row in ROWS
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    suite = {"name": "own", "file": "own.jsonl", "max_new_tokens": 3}
    (tmp_path / "own.yaml").write_text(
        json.dumps({"suite": "custom", "name": "own", "tasks": [suite]})
    )

    ran = copamerge_cli(
        *("lmms-eval", *words, "--tasks", "looks", "--include", tasks, "--batch", 2),
        *("--with-base", "--samples", "-o", tmp_path / "out"),
    )
    own = copamerge_cli(
        "evaluate", *words, "--suite", tmp_path / "own.yaml", "-o", tmp_path / "run"
    )

    assert ran.code == 0, ran.err
    assert own.code == 0, own.err
    kept = json.loads((tmp_path / "out" / "a.samples.json").read_text())["looks"]
    (file,) = (tmp_path / "run" / "answers").iterdir()
    expected = [json.loads(line)["answer"] for line in file.read_text().splitlines()[1:]]
    assert [sample["resps"][0][0] for sample in kept] == expected
    assert [line.split()[:2] for line in ran.out.splitlines()[1:2]] == [["looks", "exact_match"]]
    assert json.loads((tmp_path / "out" / "harness.json").read_text())["models"] == [
        "zero-shot",
        "a",
    ]


def test_what_the_bridge_does_not_do_is_a_sentence(
    copamerge_cli: Cli, base: Path, tasks: Path, tmp_path: Path
) -> None:
    path = tasks / "looks.yaml"
    text = path.read_text()
    path.write_text(text.replace("temperature: 0, do_sample: false", "do_sample: true"))
    words = ("lmms-eval", "--base", base, "--include", tasks, "-o", tmp_path / "out")

    sampled = copamerge_cli(*words, "--tasks", "looks")
    unknown = copamerge_cli(*words, "--tasks", "lookz", "--template", "chatt")

    assert sampled.code == 2
    assert "error: task 'looks': do_sample: True: answers are greedy here" in sampled.err
    assert unknown.code == 2 and "--template 'chatt'" in unknown.err
