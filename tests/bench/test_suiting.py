"""How other models than LLaVA are asked a suite that has LLaVA-1.5's prompt."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from echo import Echo

from copamerge.bench.engine import run_bench
from copamerge.bench.executors import Local
from copamerge.bench.specs import ModelSpec
from copamerge.bench.suiting import suited
from copamerge.suites import Asking, Suite, suite_named
from suites.mm_data import write_mm_mergebench

MM = suite_named("mm-mergebench")


def base_of(folder: Path, config: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(config)
    return folder


@pytest.mark.parametrize("config", ['{"model_type": "llava"}', "{}", "damaged", "[]"])
def test_a_llava_is_asked_as_the_suite_says(tmp_path: Path, config: str) -> None:
    assert suited(MM, base_of(tmp_path / "b", config)) == (MM, [])


def test_another_model_is_asked_in_its_own_way(tmp_path: Path) -> None:
    found, (note,) = suited(MM, base_of(tmp_path / "b", '{"model_type": "qwen2_vl"}'))

    assert {(x.asking.template, x.asking.frame) for x in found.tasks} == {("chat", "processor")}
    tokens = [task.asking.max_new_tokens for task in MM.tasks]
    assert [task.asking.max_new_tokens for task in found.tasks] == tokens
    assert [task.name for task in found.tasks] == [task.name for task in MM.tasks]
    assert "its own processor" in note and "the base is a qwen2_vl" in note


def test_what_is_not_llava_s_stays(tmp_path: Path) -> None:
    padded = replace(MM.tasks[0], asking=Asking(8, frame="pad"))
    suite = Suite("mine", (padded, MM.tasks[1]))

    found, _ = suited(suite, base_of(tmp_path / "b", '{"model_type": "qwen2_vl"}'))

    assert found.tasks[0] == padded and found.tasks[1].asking.template == "chat"


def test_a_run_says_so_and_its_answers_have_another_name(tmp_path: Path) -> None:
    write_mm_mergebench(tmp_path / "data")
    asked = {}
    for kind in ("llava", "qwen2_vl"):
        base = base_of(tmp_path / kind, json.dumps({"model_type": kind}))
        run = run_bench(
            tmp_path / f"run-{kind}",
            [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")],
            suite="mm-mergebench",
            data=tmp_path / "data",
            base=base,
            tasks=["vqav2"],
            executor=Local(Echo),
        )
        (path,) = (run.path / "answers").glob("*.jsonl")
        asked[kind] = json.loads(path.read_text().splitlines()[0])["unit"]["asking"]["template"]
        said = any("own chat template" in note for note in run.record["notes"])
        assert said == (kind != "llava")
    assert asked == {"llava": "vicuna_v1", "qwen2_vl": "chat"}
