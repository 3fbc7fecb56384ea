"""`copamerge evaluate` and `copamerge bench`, with a real tiny model."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from echo import Echo

from copamerge.bench import planning
from copamerge.bench.executors import Local
from copamerge.bench.zoo import write_manifest

pytestmark = pytest.mark.interop
Cli = Callable[..., Any]


def test_evaluate_prints_points_with_their_errors(
    copamerge_cli: Cli, base: Path, adapters: Mapping[str, Path]
) -> None:
    ran = copamerge_cli(
        *("evaluate", "--base", base, "--adapter", adapters["a"], "--adapter", adapters["b"]),
        *("--items", 4, "--tasks", "vqa,tables"),
    )

    assert ran.code == 0 and ran.err == ""
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["a", "a", "b", "b"]
    assert lines[1].count("official") == lines[1].count("corrected") == 2
    assert [line[0] for line in lines[2:]] == ["vqa", "mean,", "tables", "mean,"]
    assert ran.out.count("±") == 4 * 4


def test_evaluate_without_an_adapter_is_the_base(copamerge_cli: Cli, base: Path) -> None:
    words = ("evaluate", "--base", base, "--items", 3, "--tasks", "ocr", "--json")

    content = json.loads(copamerge_cli(*words).out)

    assert [model["kind"] for model in content["run"]["models"]] == ["zero-shot"]
    assert len(content["results"]["rows"]) == 2


def test_evaluate_keeps_its_answers_where_asked(
    copamerge_cli: Cli, base: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    words = ("evaluate", "--base", base, "--adapter", adapters["a"], "--items", 3, "-q")
    words = (*words, "--tasks", "icons", "-o", tmp_path / "run")

    assert copamerge_cli(*words).out == ""
    (file,) = (tmp_path / "run" / "answers").iterdir()
    before = file.stat().st_mtime_ns
    assert copamerge_cli(*words).code == 0
    assert file.stat().st_mtime_ns == before


def test_an_adapter_that_changes_nothing_is_warned_of(
    copamerge_cli: Cli, base: Path, adapter: Callable[..., Path], tmp_path: Path
) -> None:
    zero = adapter(tmp_path / "zero", size=0.0)

    ran = copamerge_cli(
        "evaluate", "--base", base, "--adapter", zero, "--items", 2, "--tasks", "vqa"
    )

    assert ran.code == 0
    assert ran.err.startswith("warning: zero: the adapter changes nothing in the base model")


def test_an_adapter_of_another_base_is_a_sentence(
    copamerge_cli: Cli, base: Path, tmp_path: Path
) -> None:
    from makers import make_adapter

    other = make_adapter(tmp_path / "other")

    ran = copamerge_cli(
        "evaluate", "--base", base, "--adapter", other, "--items", 2, "--tasks", "vqa"
    )

    assert ran.code == 2
    assert "failed: other: " in ran.err and "is not in the base" in ran.err
    assert "Traceback" not in ran.err


def test_a_merge_that_fails_is_told_by_the_exit_code_and_the_others_are_scored(
    copamerge_cli: Cli, zoo: Path, tmp_path: Path
) -> None:
    import shutil

    from copamerge.bench.zoo import write_manifest
    from makers import make_adapter

    odd = shutil.copytree(zoo, tmp_path / "zoo")
    shutil.rmtree(odd / "shared" / "vqa")
    make_adapter(odd / "shared" / "vqa")
    write_manifest(odd)

    ran = copamerge_cli(
        *("bench", "mini", "--zoo", odd, "--items", 2, "--tasks", "vqa", "--methods", "mean"),
        *("-o", tmp_path / "out"),
    )

    assert ran.code == 2 and "failed: " in ran.err and "Traceback" not in ran.err
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert {x["model"] for x in rows if x["points"] is not None} >= {"zero-shot", "mtl"}


def test_bench_merges_asks_and_writes(copamerge_cli: Cli, zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "mini"
    words = ("bench", "mini", "--zoo", zoo, "--items", 3, "--tasks", "vqa,classes,tables")

    ran = copamerge_cli(*words, "--methods", "copa,mean", "-o", out)

    assert ran.code == 0, ran.err
    for title in ("Zero-Shot", "Individual", "Traditional MTL", "CoPA-Merging", "Mean of"):
        assert title in ran.out
    record = json.loads((out / "run.json").read_text())
    assert [x["name"] for x in record["models"]] == [
        "zero-shot",
        "individual",
        "mtl",
        "copa",
        "mean",
    ]
    assert not [x for x in record["models"] if x["failed"]]
    assert (out / "merged" / "copa" / "merge.json").is_file()
    report = copamerge_cli(*words, "--methods", "copa,mean", "--json", "-o", out)
    assert json.loads(report.out)["results"] == json.loads((out / "results.json").read_text())


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_full_modules_of_which_nothing_is_said_are_refused_before_anything_is_asked(
    copamerge_cli: Cli, zoo: Path, adapter: Callable[..., Path], tmp_path: Path, more: tuple[str]
) -> None:
    mine = tmp_path / "zoo"
    shutil.copytree(zoo / "base", mine / "base")
    adapter(mine / "shared" / "vqa", modules_to_save=["multi_modal_projector"])
    write_manifest(mine, script="tests", criteria={"none": True})
    words = ("bench", "mini", "--zoo", mine, "--items", 2, "--tasks", "vqa", "--methods", "mean")
    words = (*words, "-o", tmp_path / "run", *more)

    ran = copamerge_cli(*words)

    assert ran.code == 2 and not (tmp_path / "run").exists()
    assert "multi_modal_projector" in ran.err and "--modules-to-save mean" in ran.err
    assert copamerge_cli(*words, "--modules-to-save", "mean").code == 0


def test_every_method_runs(copamerge_cli: Cli, zoo: Path, tmp_path: Path) -> None:
    from copamerge.bench.entries import TITLES

    words = ("bench", "mini", "--zoo", zoo, "--items", 2, "--tasks", "vqa", "-q")

    ran = copamerge_cli(*words, "--adapters", "own", "-o", tmp_path / "run")

    assert (ran.code, ran.out, ran.err) == (0, "", "")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [x["name"] for x in record["models"]][3:] == list(TITLES)
    assert not [x["failed"] for x in record["models"] if x["failed"]]


@pytest.mark.parametrize(
    "words, says",
    [
        (["evaluate", "--suite", "mimi"], "did you mean 'mini'"),
        (["evaluate", "--tasks", "vqq"], "did you mean 'vqa'"),
        (["evaluate", "--split", "tset"], "did you mean 'test'"),
        (["evaluate", "--items", "0"], "items: 0; at least 1"),
        (["evaluate", "--adapter", "nowhere"], "nowhere"),
        (["bench", "mimi"], "did you mean 'mini'"),
        (["bench", "mini", "--methods", "tis"], "did you mean 'ties'"),
        (["bench", "mini", "--tasks", "orc"], "did you mean 'ocr'"),
        (["bench", "mini", "--adapters", "shard"], "did you mean 'shared'"),
        (["bench", "mini", "--scale", "serach"], "did you mean 'search'"),
        (["bench", "mini", "--experiment", "tabel2"], "did you mean 'table2"),
        (["bench", "mini", "--methods", "copa", "--experiment", "table2"], "give one of them"),
        (["bench", "mini", "--scale", "search", "--experiment", "table2"], "has its own"),
    ],
)
def test_a_wrong_word_is_a_sentence_with_a_suggestion(
    copamerge_cli: Cli, base: Path, plain_zoo: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    where = ["--base", base] if words[0] == "evaluate" else ["--zoo", plain_zoo]

    ran = copamerge_cli(*words, *where, "-o", tmp_path / "run")

    assert ran.code == 2
    assert ran.err.startswith("error: ") and says in ran.err
    assert not (tmp_path / "run").exists()


def test_evaluate_names_every_mistake_at_once(copamerge_cli: Cli, tmp_path: Path) -> None:
    ran = copamerge_cli(
        *("evaluate", "--suite", "minni", "--split", "tests", "--adapter", tmp_path / "none")
    )

    assert ran.code == 2
    assert "suite 'minni'" in ran.err and "split 'tests'" in ran.err and "none" in ran.err
    assert "Traceback" not in ran.err


def test_runs_share_answers_where_asked(copamerge_cli: Cli, zoo: Path, tmp_path: Path) -> None:
    words = ("bench", "mini", "--zoo", zoo, "--items", 2, "--tasks", "icons", "-q")
    words = (*words, "--answers", tmp_path / "answers")

    assert copamerge_cli(*words, "--methods", "mean", "-o", tmp_path / "one").code == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}
    assert copamerge_cli(*words, "--methods", "mean,copa", "-o", tmp_path / "two").code == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}

    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    assert not (tmp_path / "two" / "answers").exists()


def test_a_changed_zoo_file_is_named(copamerge_cli: Cli, plain_zoo: Path, tmp_path: Path) -> None:
    (plain_zoo / "base" / "config.json").write_text("{}")

    ran = copamerge_cli("bench", "mini", "--zoo", plain_zoo, "-o", tmp_path / "run")

    assert ran.code == 2 and f"{plain_zoo}/base/config.json: 2 bytes" in ran.err


def test_ctrl_c_says_how_to_go_on(
    copamerge_cli: Cli, plain_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = Echo()
    echo.stop_after = 2
    monkeypatch.setattr(planning, "executor_for", lambda *_, **__: Local(lambda: echo))
    words = ("bench", "mini", "--zoo", plain_zoo, "--items", 2, "-o", tmp_path / "run")

    ran = copamerge_cli(*words)

    assert ran.code == 130
    assert "interrupted" in ran.err and "the same command goes on" in ran.err
    echo.stop_after = None
    assert copamerge_cli(*words).code == 0


def test_a_killed_bench_goes_on_and_ends_as_if_nothing_had_been(
    copamerge_cli: Cli, zoo: Path, tmp_path: Path
) -> None:
    code = "import torch; torch.set_num_threads(1); from copamerge.cli import run; run()"
    words = ["bench", "mini", "--zoo", str(zoo), "--items", "5", "--methods", "mean", "-q", "-o"]

    def files() -> dict[str, int]:
        found = (tmp_path / "run" / "answers").glob("*.jsonl")
        return {file.name: file.stat().st_mtime_ns for file in found}

    process = subprocess.Popen([sys.executable, "-c", code, *words, str(tmp_path / "run")])
    started = time.monotonic()
    while len(files()) < 5 and process.poll() is None and time.monotonic() - started < 120:
        time.sleep(0.005)
    process.kill()
    process.wait()
    before = files()
    assert 5 <= len(before) < 3 * 12 + 2
    assert not (tmp_path / "run" / "results.json").exists()

    for out in ("run", "fresh"):
        assert copamerge_cli(*words, tmp_path / out).code == 0

    after = files()
    assert {name: after[name] for name in before} == before
    assert len(after) == 3 * 12 + 2  # base, MTL and merge on every task, two adapters on their own
    results = [(tmp_path / out / "results.json").read_text() for out in ("run", "fresh")]
    assert results[0] == results[1]


@pytest.mark.parametrize("missing", ["transformers", "peft", "PIL", "pycocoevalcap"])
def test_without_the_extra_it_is_named(
    copamerge_cli: Cli, base: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    ran = copamerge_cli("evaluate", "--base", base, "--items", 2, "--tasks", "vqa")

    assert ran.code == 2
    assert (
        ran.err.startswith(f"error: {missing} is not installed") and "copamerge[bench]" in ran.err
    )


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['copamerge', 'bench', '--help']\n"
        "from copamerge.cli import run\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        "print([x for x in ('torch', 'numpy', 'transformers', 'rich.table') if x in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip().endswith("[]")
