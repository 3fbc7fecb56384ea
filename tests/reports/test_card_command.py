"""`copamerge card`: a card made anew from merge.json, with the scores of runs."""

import json
import os
import shutil
from pathlib import Path

import pytest
from fake_runs import make_run
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from markdown_it import MarkdownIt

import copamerge
from copamerge.bench.entries import Entry
from copamerge.bench.units import adapter_digest
from copamerge.merging.card import is_own
from makers import make_adapter, tree

TIES = Entry("ties", "merge", "TIES", method="ties")
BARE = Entry("zero-shot", "zero-shot", "Zero-Shot")


@pytest.fixture
def out(tmp_path):
    sources = [make_adapter(tmp_path / name, seed=i) for i, name in enumerate("ab")]
    (sources[0] / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n")
    (sources[1] / "README.md").write_text("---\nlicense: mit\n---\n")
    copamerge.merge(sources, "ties").save_pretrained(tmp_path / "my merge")
    return tmp_path / "my merge"


def run_of(path, out, *, entries=(BARE, TIES), models=None, **more):
    mine = {"ties": {"digest": adapter_digest(out)}, "zero-shot": {"digest": None}}
    return make_run(path, entries, models={**mine, **(models or {})}, **more)


def card_of(out):
    return (out / "README.md").read_text(encoding="utf-8")


# --- without scores ------------------------------------------------------------------------------


def test_the_card_is_the_same_when_the_sources_are_gone(tmp_path, out, copamerge_cli):
    before = tree(out)
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")

    ran = copamerge_cli("card", out)

    assert (ran.code, ran.err) == (0, "") and ran.out == f"wrote {out / 'README.md'}\n"
    assert tree(out) == before
    assert ModelCard(card_of(out)).data.license == "mit"


def test_a_missing_card_is_written(out, copamerge_cli):
    before = card_of(out)
    (out / "README.md").unlink()

    assert copamerge_cli("card", out, "-q").out == ""
    assert card_of(out) == before


@pytest.mark.parametrize("change", ["edited", "replaced", "binary", "mark alone"])
def test_what_somebody_else_wrote_is_kept(out, copamerge_cli, change):
    path, before = out / "README.md", card_of(out)
    mark = before.splitlines()[-1]
    content = {
        "edited": before.replace("# a + b", "# My merge").encode(),
        "replaced": b"# Mine\n",
        "binary": b"\xff\xfe\x00",
        "mark alone": f"# Mine\n\n{mark}\n".encode(),
    }[change]
    path.write_bytes(content)

    ran = copamerge_cli("card", out)

    assert ran.code == 2 and path.read_bytes() == content
    assert ran.err.startswith(f"error: {path}: was not written by copamerge, or was changed since")
    assert "--overwrite replaces it" in ran.err
    assert copamerge_cli("card", out, "--overwrite").code == 0 and card_of(out) == before


def test_line_endings_of_another_system_are_no_change(out, copamerge_cli):
    path = out / "README.md"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert is_own(path.read_bytes().decode())
    assert copamerge_cli("card", out).code == 0 and b"\r" not in path.read_bytes()


def test_a_card_that_cannot_be_written_leaves_the_old_one(out, copamerge_cli, monkeypatch):
    before = tree(out)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full)
    ran = copamerge_cli("card", out)

    assert ran.code == 2 and "No space left on device" in ran.err
    assert "what was there is still there" in ran.err
    assert tree(out) == before


def test_a_report_of_an_earlier_version_says_what_it_lacks(out, copamerge_cli):
    report = json.loads((out / "merge.json").read_text())
    for key in ("hub_base", "task_type", "learnt"):
        del report[key]
    for part in report["inputs"]:
        del part["card"], part["format"]
    (out / "merge.json").write_text(json.dumps(report))

    assert copamerge_cli("card", out).code == 0

    card = ModelCard(card_of(out))
    assert card.data.base_model == "org/tiny-base"
    assert card.data.license is None and card.data.pipeline_tag is None
    assert "were not written down when this was merged" in card.text


@pytest.mark.parametrize(
    "content, told",
    [
        ("{", "not valid JSON"),
        ("[]", "not what a merge writes"),
        ("{}", "not what a merge writes (method: Field required)"),
        ('{"norm": NaN}', "not valid JSON"),
        ('{"norm": 1e999}', "not valid JSON"),
        ("[" * 100000, "not valid JSON"),
    ],
)
def test_what_is_no_report_is_a_sentence(out, copamerge_cli, content, told):
    (out / "merge.json").write_text(content)
    before = tree(out)

    ran = copamerge_cli("card", out)

    assert ran.code == 2 and told in ran.err and len(ran.err.splitlines()) == 1
    assert tree(out) == before


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"method": "ties"}},
        {"recipe": {"adapters": ["a", "b"]}},
        {"recipe": {"adapters": [{"adapter": "a"}]}},
        {"saved": [{"tensor": "x", "policy": "mean", "adapters": [7], "spread": None}]},
    ],
)
def test_a_report_whose_parts_do_not_fit_is_a_sentence(out, copamerge_cli, change):
    report = json.loads((out / "merge.json").read_text())
    (out / "merge.json").write_text(json.dumps(report | change))

    ran = copamerge_cli("card", out)

    assert ran.code == 2 and "merge.json: not what a merge writes" in ran.err


def test_what_is_no_merge_is_said(tmp_path, copamerge_cli):
    adapter = make_adapter(tmp_path / "plain")

    assert "was not written by a merge" in copamerge_cli("card", adapter).err
    assert "does not exist" in copamerge_cli("card", tmp_path / "none").err
    assert not (adapter / "README.md").exists()


# --- with scores ---------------------------------------------------------------------------------


def test_scores_are_in_the_index_and_in_the_table(tmp_path, out, copamerge_cli):
    run = run_of(tmp_path / "run", out, items=30)
    rows = json.loads((run / "results.json").read_text())["rows"]
    mine = {x["task"]: x for x in rows if x["model"] == "ties" and x["mode"] == "official"}

    ran = copamerge_cli("card", out, "--run", run)

    assert ran.code == 0, ran.err
    assert ran.out == f"wrote {out / 'README.md'} with points on 12 of 12 tasks\n"
    card = ModelCard(card_of(out))
    assert card.data.model_name == "my-merge"
    results = {result.dataset_config: result for result in card.data.eval_results}
    assert results.keys() == mine.keys()
    for task, result in results.items():
        assert result.metric_value == pytest.approx(mine[task]["points"], abs=5e-5)
        assert result.metric_type == mine[task]["metric"] and result.verified is False
        assert (result.dataset_type, result.dataset_name) == ("mini", f"mini/{task}")
        assert result.dataset_split == "test" and result.task_type == "image-text-to-text"
        assert result.metric_args["items"] == 30
        cells = f"{mine[task]['points']:.2f} | {mine[task]['stderr']:.2f} |"
        assert any(
            f"| {task.replace('_', chr(92) + '_')} |" in x and cells in x
            for x in card.text.splitlines()
        )
    seen = [x["points"] for x in mine.values() if x["seen"]]
    assert f"| **mean, seen** |  | **{sum(seen) / 8:.2f}** |" in card.text
    assert "**mean, unseen**" in card.text and "30 items a task, seed 0" in card.text
    assert is_own(card_of(out))


def test_the_index_survives_the_hubs_own_round_trip(tmp_path, out, copamerge_cli):
    assert copamerge_cli("card", out, "--run", run_of(tmp_path / "run", out, items=5)).code == 0

    data = ModelCard(card_of(out)).data
    index = data.to_dict()["model-index"]
    name, results = model_index_to_eval_results(index)

    assert eval_results_to_model_index(name, results) == index and len(results) == 12
    assert results == data.eval_results


def test_a_missing_score_has_its_reason_and_is_not_zero(tmp_path, out, copamerge_cli):
    def alter(row):
        if row["model"] == "ties" and row["task"] in ("vqa", "tables"):
            row.update(points=None, stderr=None, unreadable=None, reason="failed: <b>no room</b>")

    run = run_of(tmp_path / "run", out, items=5, alter=alter)

    ran = copamerge_cli("card", out, "--run", run)

    assert ran.out.endswith("with points on 10 of 12 tasks\n"), ran.err
    card = ModelCard(card_of(out))
    assert {r.dataset_config for r in card.data.eval_results}.isdisjoint({"vqa", "tables"})
    (line,) = (x for x in card.text.splitlines() if x.startswith("| vqa |"))
    assert "| - | - |" in line and r"seen; failed: \<b\>no room" in line and "0.00" not in line
    assert "| **mean, seen** |  | - | - |  |  | 7 of 8 tasks have points |" in card.text


def test_a_run_of_another_merge_is_named(tmp_path, out, copamerge_cli):
    run = run_of(tmp_path / "run", out, models={"ties": {"digest": "f" * 64}})
    before = tree(out)

    ran = copamerge_cli("card", out, "--run", run)

    assert ran.code == 2
    assert ran.err == (
        f"error: {run}: did not ask this merge; it asked zero-shot, ties: ask it by copamerge "
        f"evaluate --adapter {out} -o RUN\n"
    )
    assert tree(out) == before


def test_a_merge_that_was_changed_since_is_said(tmp_path, out, copamerge_cli):
    models = {"ties": {"digest": "f" * 64, "adapter": str(out)}}

    ran = copamerge_cli("card", out, "--run", run_of(tmp_path / "run", out, models=models))

    assert ran.code == 2 and "ties lay here, but was changed since" in ran.err


def test_two_runs_of_unlike_splits_and_not_of_the_same(tmp_path, out, copamerge_cli):
    one = run_of(tmp_path / "one", out, items=5)
    other = run_of(tmp_path / "other", out, items=5, record={"split": "validation"})
    again = run_of(tmp_path / "again", out, items=6)

    assert copamerge_cli("card", out, "--run", one, "--run", other).code == 0
    assert len(ModelCard(card_of(out)).data.eval_results) == 24

    ran = copamerge_cli("card", out, "--run", one, "--run", again)
    assert ran.code == 2 and "as " + str(one) + " did; give one of them" in ran.err


def test_all_that_is_wrong_is_said_at_once(tmp_path, out, copamerge_cli):
    (out / "README.md").write_text("mine")

    ran = copamerge_cli("card", out, "--run", tmp_path / "none")

    assert ran.code == 2 and len(ran.err.splitlines()) == 2
    assert "--overwrite replaces it" in ran.err and "none: does not exist" in ran.err


def test_hostile_names_in_a_run_stay_text(tmp_path, out, copamerge_cli):
    bad = "x`|<b>\n---\u202e"
    record = {
        "suite": bad,
        "base": f"/home/me/{bad}",
        "created": bad,
        "versions": {"copamerge": bad},
        "columns": [
            {"task": "vqa", "title": bad, "seen": True, "metric": "exact_upper"},
        ],
    }
    run = run_of(tmp_path / "run", out, items=5, record=record)

    ran = copamerge_cli("card", out, "--run", run)

    assert ran.code == 0, ran.err
    card = ModelCard(card_of(out))
    assert all(c.isprintable() or c == "\n" for c in card_of(out))
    tokens = [
        t for token in MarkdownIt().parse(card.text) for t in (token, *(token.children or ()))
    ]
    assert "html_inline" not in {token.type for token in tokens}
    assert [t.content[:5] for t in tokens if t.type == "html_block"] == ["<!-- "]
    (result,) = card.data.eval_results
    assert result.dataset_type == bad and "/home/me" not in card.text
