"""`copamerge analyze` and the screen of `inspect`, as somebody types them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from makers import LAYERS, make_adapter, tree

QUESTIONS = ("fit?", "related?", "dominates?", "rank?", "method?")


@pytest.fixture
def pair(tmp_path):
    return make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)


@pytest.mark.parametrize("command", ["inspect", "analyze"])
def test_one_screen_answers_the_questions(copamerge_cli, pair, command):
    ran = copamerge_cli(command, *pair)

    assert ran.code == 0, ran.err
    for question in QUESTIONS:
        assert f"\n{question}" in ran.out, question
    lines = ran.out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100


@pytest.mark.parametrize("command", ["inspect", "analyze"])
def test_eight_adapters_fit_a_screen(copamerge_cli, tmp_path, command):
    paths = [make_adapter(tmp_path / f"task{i}", seed=i) for i in range(8)]

    ran = copamerge_cli(command, *paths)

    assert ran.code == 0 and len(ran.out.splitlines()) <= 40


def test_details_are_what_they_were(copamerge_cli, pair):
    ran = copamerge_cli("inspect", *pair, "--details")

    assert "sha256" in ran.out and "cosine of A" in ran.out and "fit?" in ran.out


def test_the_record_is_printed_as_json(copamerge_cli, pair):
    ran = copamerge_cli("analyze", *pair, "--json", "--methods", "copa")

    record = json.loads(ran.out)
    assert [merge["name"] for merge in record["merges"]] == ["copa"]
    assert len(record["layers"]) == len(LAYERS)


def test_a_folder_holds_record_tables_figures_and_page(copamerge_cli, pair, tmp_path):
    pytest.importorskip("matplotlib")
    ran = copamerge_cli("analyze", *pair, "-o", tmp_path / "out" / "analysis")

    assert ran.code == 0, ran.err
    out = tmp_path / "out" / "analysis"
    assert {path.name for path in out.iterdir()} == {
        "analysis.json",
        "figures",
        "index.html",
        "tables",
    }
    assert f"open {out / 'index.html'}" in ran.out
    again = copamerge_cli("analyze", *pair, "-o", out)
    assert again.code == 2 and "--overwrite" in again.err
    before = tree(out)
    assert copamerge_cli("analyze", *pair, "-o", out, "--overwrite", "-q").code == 0
    assert tree(out) == before  # byte for byte


def test_without_figures_matplotlib_is_not_needed(copamerge_cli, pair, tmp_path):
    ran = copamerge_cli("analyze", *pair, "-o", tmp_path / "out", "--no-figures")

    assert ran.code == 0 and not (tmp_path / "out" / "figures").exists()


def test_merged_folders_are_looked_at_beside_their_adapters(copamerge_cli, pair, tmp_path):
    for method in ("copa", "mean"):
        assert copamerge_cli("merge", *pair, "-o", tmp_path / method, "-m", method, "-q").code == 0

    ran = copamerge_cli(
        "analyze", *pair, "--merged", tmp_path / "copa", tmp_path / "mean", "--json"
    )

    record = json.loads(ran.out)
    assert [merge["method"]["name"] for merge in record["merges"]] == ["copa", "mean"]
    assert all(merge["source"] == "folder" for merge in record["merges"])


def test_everything_that_is_wrong_is_told_at_once(copamerge_cli, pair, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")

    ran = copamerge_cli(
        *("analyze", *pair, "--methods", "copaa", "--within", "120", "--weights", "1"),
        *("-o", taken, "--rank", "many", "--device", "tpu"),
    )

    assert ran.code == 2 and ran.out == ""
    for word in ("copaa", "--within 120", "--weights", "not an analysis", "many", "tpu"):
        assert word in ran.err, word
    assert [path.name for path in taken.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("damage", ["nan", "shape", "missing", "text"])
def test_bad_adapters_are_sentences_and_leave_nothing(copamerge_cli, pair, tmp_path, damage):
    file = pair[1] / "adapter_model.safetensors"
    if damage == "missing":
        file.unlink()
    elif damage == "text":
        file.write_text("not a safetensors file")
    else:
        tensors = load_file(file)
        name = next(name for name in tensors if "lora_A" in name)
        if damage == "nan":
            tensors[name][0, 0] = float("nan")
        else:
            tensors[name] = torch.zeros(2, 99)
        save_file(tensors, file, metadata={"format": "pt"})
    before = tree(tmp_path)

    ran = copamerge_cli("analyze", *pair, "-o", tmp_path / "out", "--no-figures")

    assert ran.code == 2 and ran.err.startswith("error: ") and str(pair[1]) in ran.err
    assert "Traceback" not in ran.err and tree(tmp_path) == before


def test_a_merge_that_is_none_of_theirs_is_a_sentence(copamerge_cli, pair, tmp_path):
    other = make_adapter(tmp_path / "other", {"model.layers.5.mlp.up_proj": (4, 4)})

    ran = copamerge_cli("analyze", *pair, "--merged", other)

    assert ran.code == 2 and "takes a merge of these" in ran.err


def test_ctrl_c_leaves_nothing(copamerge_cli, pair, tmp_path, monkeypatch):
    import copamerge.analyzing.walk as walk

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(walk, "over_layers", interrupted)
    ran = copamerge_cli("analyze", *pair, "-o", tmp_path / "out", "--no-figures")

    assert ran.code == 130 and "nothing was written" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_name_cannot_steer_the_terminal(copamerge_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a\x1b[31m"
    make_adapter(Path(name))

    for command in ("inspect", "analyze"):
        ran = copamerge_cli(command, name)
        assert "\x1b" not in ran.out + ran.err


def test_an_output_inside_an_input_is_refused(copamerge_cli, pair):
    before = tree(pair[0])

    ran = copamerge_cli("analyze", *pair, "-o", pair[0] / "analysis", "--no-figures")

    assert ran.code == 2 and "lies in the input" in ran.err and tree(pair[0]) == before


def test_full_tensors_are_said_with_the_options_that_a_merge_needs(copamerge_cli, tmp_path):
    paths = [
        make_adapter(
            tmp_path / x,
            seed=i,
            extra={"base_model.model.score.weight": torch.ones(2 + k, 8)},
            modules_to_save=["score"],
        )
        for i, (x, k) in enumerate((("a", 0), ("b", 0), ("c", 1)))
    ]

    same = copamerge_cli("analyze", *paths[:2], "--methods", "none")
    other = copamerge_cli("analyze", *paths, "--methods", "none")

    assert "add --modules-to-save mean." in " ".join(same.out.split())
    assert "add --modules-to-save drop." in " ".join(other.out.split())
