"""Suites of one's own from end to end: readers of text, models with eyes, and what stops them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from echo import Echo

from copamerge.bench.engine import run_bench
from copamerge.bench.executors import Local, samples_of
from copamerge.bench.models import load_base, sees
from copamerge.bench.specs import ModelSpec
from copamerge.errors import CopamergeError, SuiteError
from copamerge.suites import Asking, Sample

pytestmark = pytest.mark.interop
Cli = Callable[..., Any]
TEXT = [
    {"prompt": "what is the color of a", "answer": "red", "category": "colors"},
    {"prompt": "what is the shape of b", "answers": ["round", "blue"], "category": "shapes"},
    {"prompt": "is d red", "answer": "a"},
]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def suite_file(folder: Path, **task: Any) -> Path:
    """YAML is a superset of JSON."""
    task = {"name": "words", "file": "words.jsonl", "max_new_tokens": 3, **task}
    path = folder / "mine.yaml"
    path.write_text(json.dumps({"suite": "custom", "name": "mine", "tasks": [task]}))
    return path


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    pytest.importorskip("transformers")
    from learn.tiny import make_base

    return make_base(tmp_path_factory.mktemp("llm") / "base")


@pytest.fixture(scope="module")
def llm_adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    from learn.tiny import make_adapters

    return make_adapters(tmp_path_factory.mktemp("llm-adapters"))


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """Questions with no picture, one and two."""
    from PIL import Image

    for i in range(2):
        Image.fromarray(np.full((32, 32, 3), 200 * i, np.uint8)).save(tmp_path / f"{i}.png")
    rows: list[dict[str, Any]] = [
        {"prompt": "what color is it ?", "answer": "red", "image": "0.png"},
        {"prompt": "are these the same ?", "answer": "no", "images": ["0.png", "1.png"]},
        {"prompt": "say yes", "answer": "yes"},
    ]
    return lines(tmp_path / "words.jsonl", rows)


def test_a_file_of_lines_on_a_model_for_text(
    copamerge_cli: Cli, llm: Path, llm_adapters: list[Path], tmp_path: Path
) -> None:
    path = lines(tmp_path / "words.jsonl", TEXT)

    ran = copamerge_cli(
        *("evaluate", "--suite", path, "--base", llm, "--json", "-o", tmp_path / "run"),
        *("--adapter", llm_adapters[0], "--adapter", llm_adapters[1]),
    )

    assert ran.code == 0 and ran.err == ""
    content = json.loads(ran.out)
    assert content["run"]["suite"] == "words" and content["run"]["suite_file"] == str(path)
    rows = content["results"]["rows"]
    assert [row["model"] for row in rows] == ["a", "a", "b", "b"]
    assert {row["answers"] for row in rows} == {3}
    assert set(rows[0]["categories"]) == {"colors", "shapes"}


def test_answers_are_found_again_wherever_the_suite_lies(
    llm: Path, llm_adapters: list[Path], tmp_path: Path
) -> None:
    def run(place: str, answer: str = "red") -> Any:
        lines(tmp_path / place / "words.jsonl", [{**TEXT[0], "answer": answer}, *TEXT[1:]])
        file = suite_file(tmp_path / place, metric="contains")
        specs = [ModelSpec("a", "a", adapter=llm_adapters[0])]
        out, answers = tmp_path / "runs" / place, tmp_path / "answers"
        run_bench(out, specs, suite=str(file), base=llm, answers=answers)
        return sorted(answers.iterdir()), [x.stat().st_mtime_ns for x in answers.iterdir()]

    first = run("here")

    assert len(first[0]) == 1 and run("there") == first
    assert run("corrected", "blue") == first


@pytest.mark.parametrize("template, wanted", [("none", "3 what"), ("chat", "3 what")])
def test_a_wording_and_a_template(template: Any, wanted: str, llm: Path, tmp_path: Path) -> None:
    lines(tmp_path / "words.jsonl", [{"prompt": "what", "answer": "red"}])
    echo = Echo()

    run = run_bench(
        tmp_path / "run",
        [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")],
        suite=str(suite_file(tmp_path, template=template, prompt="3 {prompt}")),
        base=llm,
        executor=Local(lambda: echo),
    )

    assert run.record["finished"] and echo.asked == [(None, "words/1")]
    generator = load_base(llm)
    inputs = generator.inputs([Sample("x", (), wanted, ())], Asking(template=template))
    assert inputs["input_ids"].tolist() == generator.processor.tokenizer([wanted])["input_ids"]


def test_none_writes_the_tokens_of_pictures_and_nothing_else(base: Path, pictured: Path) -> None:
    generator = load_base(base)
    picture = np.zeros((32, 32, 3), np.uint8)
    sample = Sample("x", (picture, picture), "say yes", ())

    inputs = generator.inputs([sample], Asking(template="none"))

    tokens = generator.processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    assert tokens[-2:] == ["say", "yes"] and inputs["pixel_values"].shape[0] == 2
    assert set(tokens[:-2]) == {generator.processor.image_token}


def test_no_picture_one_and_two_on_a_model_with_eyes(
    copamerge_cli: Cli, base: Path, adapters: Mapping[str, Path], pictured: Path
) -> None:
    ran = copamerge_cli(
        *("evaluate", "--suite", suite_file(pictured.parent), "--base", base),
        *("--adapter", adapters["a"], "--json"),
    )

    assert ran.code == 0, ran.err
    row = json.loads(ran.out)["results"]["rows"][0]
    assert (row["answers"], row["unasked"]) == (3, 0)


def test_two_pictures_are_both_seen(base: Path) -> None:
    generator = load_base(base)
    dark, light = (np.full((32, 32, 3), x, np.uint8) for x in (0, 255))
    pairs = [(dark, dark), (dark, light), (light, dark)]
    samples = [Sample(str(i), pair, "say yes", ()) for i, pair in enumerate(pairs)]

    with torch.inference_mode():
        logits = generator.model(**generator.inputs(samples, Asking())).logits[:, -1]

    assert not torch.allclose(logits[0], logits[1]) and not torch.allclose(logits[1], logits[2])


def test_a_picture_that_is_not_there_is_named_and_counted(
    copamerge_cli: Cli, base: Path, pictured: Path
) -> None:
    (pictured.parent / "1.png").unlink()

    ran = copamerge_cli("evaluate", "--suite", pictured, "--base", base)

    assert ran.code == 2
    assert "note: words/2: image" in ran.err and "1.png: not there" in ran.err
    assert "1 sample could not be asked and counts as wrong" in ran.err


def test_pictures_for_a_reader_of_text_are_refused_before_anything_is_asked(
    copamerge_cli: Cli, llm: Path, base: Path, pictured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sees(base) and not sees(llm)

    def load(*_: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("copamerge.bench.executors.load_answerer", load)
    ran = copamerge_cli("evaluate", "--suite", pictured, "--base", llm)

    assert ran.code == 2 and ran.err.count("\n") == 1
    assert ran.err.startswith("error: task 'words': has pictures, but the base ")
    with pytest.raises(SuiteError, match="has pictures"):
        run_bench(
            pictured.parent / "run",
            [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")],
            suite="mini",
            base=llm,
        )


def test_a_processor_that_takes_one_picture_is_a_sentence(base: Path) -> None:
    generator = load_base(base)
    picture = np.zeros((32, 32, 3), np.uint8)

    class OneOnly:
        tokenizer = generator.processor.tokenizer
        apply_chat_template = staticmethod(generator.processor.apply_chat_template)

        def __call__(self, **_: Any) -> None:
            raise ValueError("one image at most")

    generator.processor = OneOnly()

    with pytest.raises(SuiteError, match=r"sample 'x' has 2 images.*one image at most"):
        generator.inputs([Sample("x", (picture, picture), "a", ())], Asking())
    with pytest.raises(ValueError, match="one image at most"):
        generator.inputs([Sample("x", (picture,), "a", ())], Asking())


def test_references_that_the_metric_cannot_use_are_named_before_anything_is_asked(
    tmp_path: Path, llm: Path
) -> None:
    lines(tmp_path / "words.jsonl", [*TEXT, {"id": "q", "prompt": "b", "answer": "seven"}])
    echo = Echo()

    def run(**task: Any) -> list[str]:
        with pytest.raises(CopamergeError) as caught:
            run_bench(
                tmp_path / "run",
                [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")],
                suite=str(suite_file(tmp_path, **task)),
                base=llm,
                executor=Local(lambda: echo),
            )
        assert not echo.asked and not (tmp_path / "run").exists()
        return caught.value.problems

    assert run(metric="number")[0] == (
        "task 'words': metric number, sample 'words/1': 'red' is not a number, such as 1,234.5 or "
        "-3"
    )
    assert "sample 'words/3'" in run(metric="number")[2] and len(run(metric="number")) == 4
    assert "did you mean 'exact'?" in run(metric="exakt")[0]


@pytest.mark.parametrize("content", ["", "{}\n[]\n"])
def test_malformed_lines_stop_a_run_at_once(
    copamerge_cli: Cli, llm: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "words.jsonl").write_text(content)

    ran = copamerge_cli("evaluate", "--suite", tmp_path / "words.jsonl", "--base", llm)

    assert ran.code == 2 and ran.err.count("error: ") == (3 if content else 1)


def test_a_job_reopens_its_suite_by_its_file(
    tmp_path: Path, llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(tmp_path / "words.jsonl", TEXT)
    suite_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []

    class Spy(Local):
        def run(self, jobs: Any) -> Any:
            seen.extend(jobs)
            return super().run(jobs)

    run_bench(
        tmp_path / "run",
        [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")],
        suite="mine.yaml",
        base=llm,
        executor=Spy(lambda: Echo()),
    )
    monkeypatch.chdir("/")

    (job,) = seen
    assert job.unit.suite == "mine" and Path(job.suite) == tmp_path / "mine.yaml"
    assert [sample.question for sample in samples_of(job)] == [row["prompt"] for row in TEXT]


def test_data_check_names_lines_pictures_and_references(copamerge_cli: Cli, pictured: Path) -> None:
    fine = copamerge_cli("data", "check", "--suite", suite_file(pictured.parent))
    suite_file(pictured.parent, metric="number", validation="none.jsonl")
    (pictured.parent / "1.png").unlink()

    ran = copamerge_cli("data", "check", "--suite", pictured.parent / "mine.yaml")

    assert fine.code == 0 and fine.out.splitlines()[1].split() == ["words", "3", "-", "-", "2"]
    assert ran.code == 2
    assert ran.out.splitlines()[1].split() == ["words", "3", "unusable", "-", "2", "5"]
    for fact in (
        "1.png: not there",
        "none.jsonl: cannot be read",
        "sample 'words/1': 'red' is not",
    ):
        assert fact in ran.err
