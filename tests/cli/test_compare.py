"""`copamerge compare`: its table, its JSON, and what it says when something does not work."""

import json

import pytest
from rich.cells import cell_len

from copamerge.methods import method_names
from makers import LAYERS, Q0, make_adapter

SMALL = {Q0: LAYERS[Q0]}


@pytest.fixture
def pair(tmp_path):
    return make_adapter(tmp_path / "legal"), make_adapter(tmp_path / "sports", seed=1)


def test_a_line_for_each_method(copamerge_cli, tmp_path, untouched):
    pair = [make_adapter(tmp_path / x, SMALL, seed=i) for i, x in enumerate(("legal", "sports"))]
    untouched()

    ran = copamerge_cli("compare", *pair)

    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    names = [line[0] for line in lines if line and line[0] in method_names()]
    assert names == [*method_names(), *method_names()]  # over all adapters, then by adapter
    assert "within 45 degrees" in ran.out and "nan" not in ran.out
    assert "legal" in ran.out and "sports" in ran.out


@pytest.mark.slow
def test_eight_adapters_fit_a_terminal_of_a_hundred_columns(copamerge_cli, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    paths = [make_adapter(tmp_path / f"adapter-{i}", SMALL, seed=i) for i in range(8)]

    ran = copamerge_cli("compare", *paths)

    assert ran.code == 0
    lines = [line for line in ran.out.splitlines() if "no merge:" not in line]
    assert max(map(cell_len, lines)) <= 100
    assert "Each adapter's own numbers: --json." in ran.out


def test_json_has_every_number(copamerge_cli, pair):
    words = ("compare", *pair, "--methods", "ties,copa", "--weights", 1, 0.5, "--rank", "max")

    ran = copamerge_cli(*words, "--within", 30, "--json")

    found = json.loads(ran.out)
    assert ran.code == 0
    assert [row["name"] for row in found["rows"]] == ["ties", "copa"]
    assert [one["weight"] for one in found["adapters"]] == [1.0, 0.5]
    assert found["within_degrees"] == 30 and found["recipe"]["rank"] == "max"
    assert found["suite"] is None and found["rows"][0]["points"] is None
    for row in found["rows"]:
        assert row["rank"] == 2 and len(row["traces"]) == 2
        assert {"cosine", "preserved", "gain", "interference"} <= row["traces"][0].keys()


def test_one_adapter_alone_can_be_compared(copamerge_cli, pair):
    ran = copamerge_cli("compare", pair[0], "--methods", "mean")

    assert ran.code == 0 and ran.out.splitlines()[2].split()[0] == "mean"


def test_a_refusal_is_a_line_with_its_reason(copamerge_cli, tmp_path, pair):
    wide = make_adapter(tmp_path / "wide", r=3, seed=2)
    words = ("compare", pair[0], wide, "--methods", "factor_linear,mean")

    ran = copamerge_cli(*words)

    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[2].split() == ["factor_linear", *["-"] * 13]
    assert lines[-1].startswith("factor_linear: no merge: factor_linear needs equal ranks")
    (refused, _) = json.loads(copamerge_cli(*words, "--json").out)["rows"]
    assert refused["seconds"] is None and refused["traces"] == []


def test_nothing_that_merges_is_exit_code_2(copamerge_cli, tmp_path, pair):
    wide = make_adapter(tmp_path / "wide", r=3, seed=2)

    ran = copamerge_cli("compare", pair[0], wide, "--methods", "factor_linear")

    assert ran.code == 2 and "no merge" in ran.out and "Traceback" not in ran.err


def test_warnings_of_a_method_name_it_once(copamerge_cli, pair):
    ran = copamerge_cli("compare", *pair, "--methods", "robustmerge,mean")

    assert ran.err.startswith("warning: robustmerge: like the released code")


def test_every_mistake_is_named_at_once(copamerge_cli, pair, tmp_path, untouched):
    untouched()

    ran = copamerge_cli(
        *("compare", pair[0], tmp_path / "nowhere", "--methods", "tis,mean,copy", "--rank", "many"),
        *("--within", 0, "--weights", 1, "--suite", "minni", "--split", "tset", "--items", 0),
        *("--device", "gpu"),
    )

    assert ran.code == 2 and ran.out == ""
    for said in (
        "--within 0: expected degrees above 0 and up to 90",
        "device: 'gpu'",
        "'tis'; did you mean 'ties'?",
        "'copy'; did you mean 'copa'?",
        "did you mean 'mini'",
        "did you mean 'test'",
        "--items 0: at least 1",
        "--weights: 1 given for 2 adapters",
        "--rank: expected full, max",
        "nowhere: no such file or folder",
    ):
        assert said in ran.err
    assert all(line.startswith("error: ") for line in ran.err.splitlines())


@pytest.mark.parametrize(
    "words, says",
    [
        (["--methods", ""], "methods: none is named"),
        (["--items", "5"], "need --suite"),
        (["--tasks", "vqa"], "need --suite"),
        (["--suite", "mini", "--tasks", "vqq"], "did you mean 'vqa'"),
        (["--missing", "skip"], "--missing: expected one of zero, error, present"),
    ],
)
def test_a_wrong_word_is_a_sentence(copamerge_cli, pair, words, says):
    ran = copamerge_cli("compare", *pair, *words)

    assert ran.code == 2 and says in ran.err and ran.err.startswith("error: ")


def test_ctrl_c_is_not_a_traceback(copamerge_cli, pair, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("copamerge.comparison.settled", interrupt)

    ran = copamerge_cli("compare", *pair)

    assert ran.code == 130 and ran.err == "interrupted; nothing was written\n"


@pytest.mark.interop
def test_a_suite_adds_points(copamerge_cli, monkeypatch):
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    pytest.importorskip("pycocoevalcap")
    from copamerge.bench.zoo import open_zoo

    adapters = open_zoo().adapters("shared")
    words = ("compare", adapters["vqa"], adapters["ocr"], "--methods", "copa,mean")
    words = (*words, "--suite", "mini", "--items", 2, "--tasks", "vqa,tables")

    ran = copamerge_cli(*words, "--json")

    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["suite"]["tasks"] == ["vqa", "tables"] and found["suite"]["split"] == "test"
    for row in found["rows"]:
        places = {(x["group"], x["mode"]) for x in row["points"]}
        assert places == {(g, m) for g in ("seen", "unseen") for m in ("official", "corrected")}
        assert row["unanswered"] is None


@pytest.mark.interop
def test_adapters_of_another_base_are_compared_but_not_asked(copamerge_cli, pair):
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    pytest.importorskip("pycocoevalcap")
    words = ("compare", *pair, "--methods", "mean", "--suite", "mini", "--items", 1)

    ran = copamerge_cli(*words, "--tasks", "vqa", "--json")

    assert ran.code == 2 and "failed: mean: " in ran.err and "Traceback" not in ran.err
    (row,) = json.loads(ran.out)["rows"]
    assert row["points"] is None and "is not in the base" in row["unanswered"]
    assert row["failed"] is None and row["norm"] > 0
