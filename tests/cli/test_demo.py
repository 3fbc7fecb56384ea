"""`copamerge demo` from end to end, on the zoo that ships, with few samples."""

import json

import pytest

for needed in ("transformers", "peft", "accelerate", "matplotlib", "pycocoevalcap"):
    pytest.importorskip(needed)


def test_the_demo_merges_answers_and_reports_and_goes_on_where_it_was(tmp_path, copamerge_cli):
    out = tmp_path / "demo"
    ran = copamerge_cli("demo", "-o", out, "--items", 4)
    assert ran.code == 0, ran.err
    for said in ("Zero-Shot", "Individual", "Traditional MTL", "CoPA-Merging", "±", "index.html"):
        assert said in ran.out
    results = json.loads((out / "run" / "results.json").read_text())
    assert {row["model"] for row in results["rows"]} == {
        "zero-shot", "individual", "mtl", "copa", "task_arithmetic", "ties", "dare", "pcb"
    }  # fmt: skip
    assert (out / "report" / "index.html").is_file()
    answers = {path: path.stat().st_mtime_ns for path in (out / "run" / "answers").iterdir()}
    again = copamerge_cli("demo", "-o", out, "--items", 4, "-q")
    assert (again.code, again.out) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in answers} == answers


def test_a_demo_over_something_else_is_refused(tmp_path, copamerge_cli):
    (tmp_path / "mine" / "run").mkdir(parents=True)
    (tmp_path / "mine" / "run" / "notes.txt").write_text("keep")
    ran = copamerge_cli("demo", "-o", tmp_path / "mine", "--items", 2)
    assert ran.code == 2
    assert "mine" in ran.err
    assert (tmp_path / "mine" / "run" / "notes.txt").read_text() == "keep"
