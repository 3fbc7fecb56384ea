"""`copamerge data check`: what it prints, and how it ends."""

import json

import pytest

from suites.mm_data import write_mm_general, write_mm_mergebench


@pytest.fixture
def root(tmp_path):
    return write_mm_mergebench(tmp_path / "data")


def test_a_whole_root_is_a_table_and_a_sentence(copamerge_cli, root):
    ran = copamerge_cli("data", "check", "--suite", "mm-mergebench", "--root", root)

    rows = [line.split() for line in ran.out.splitlines()]
    assert ran.code == 0 and "error" not in ran.err
    assert rows[0] == ["task", "test", "validation", "train", "pictures", "problems"]
    assert rows[1] == ["scienceqa", "4", "2", "10", "13"]
    assert "Nothing is wrong with 12 tasks" in ran.out
    assert ran.err.startswith("note: imagenet: ")


def test_everything_that_is_wrong_is_said_and_the_exit_code_is_2(copamerge_cli, root, untouched):
    (root / "instructions/TabMWP/test.json").unlink()
    (root / "datasets/IconQA/images/0001.png").unlink()
    untouched()

    ran = copamerge_cli("data", "check", "--suite", "mm-mergebench", "--root", root)

    assert ran.code == 2
    assert "error: tabmwp: " in ran.err and "error: iconqa: test: pictures that are" in ran.err
    assert "2 problems in 2 of 12 tasks" in ran.out
    assert ["tabmwp", "unusable", "0", "0", "0", "1"] in [x.split() for x in ran.out.splitlines()]


def test_only_some_tasks_splits_and_pictures(copamerge_cli, root):
    ran = copamerge_cli(
        "data",
        "check",
        "--suite",
        "mm-mergebench",
        "--data",
        root,
        "--tasks",
        "vqav2,iconqa",
        "--splits",
        "test",
        "--images",
        "2",
        "--open",
        "--json",
    )

    assert ran.code == 0
    assert json.loads(ran.out) == [
        {"task": name, "counts": {"test": 4}, "images": 2, "problems": [], "notes": []}
        for name in ("vqav2", "iconqa")
    ]


def test_general_tasks_are_checked_alike(copamerge_cli, tmp_path):
    write_mm_general(tmp_path)

    ran = copamerge_cli("data", "check", "--suite", "mm-general", "--root", tmp_path)

    assert ran.code == 0 and "Nothing is wrong with 3 tasks" in ran.out


def test_a_suite_made_by_code_gets_a_sentence(copamerge_cli):
    ran = copamerge_cli("data", "check", "--suite", "mini")

    assert ran.code == 0
    assert ran.out == "suite 'mini': its samples are made by code; there is nothing to check\n"
    assert copamerge_cli("data", "check", "--suite", "mini", "--json").out == "[]\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--suite", "mm-mergebnch"), "did you mean 'mm-mergebench'?"),
        (("--suite", "mm-mergebench"), "its data are read from disk"),
        (("--suite", "mini", "--images", "some"), "--images some: all, none or a number"),
        (("--suite", "mini", "--splits", "tests"), "no such split; did you mean 'test'?"),
        (("--suite", "mm-general", "--tasks", "pop"), "did you mean 'pope'?"),
    ],
)
def test_what_cannot_be_asked_is_refused(copamerge_cli, words, expected):
    ran = copamerge_cli("data", "check", *words)

    assert ran.code == 2 and ran.err.startswith("error: ") and expected in ran.err
