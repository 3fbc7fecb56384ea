"""POPE, MME and MMBench from LLaVA's layout: samples, pairs, turns, and what can be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copamerge.bench.prompting import VICUNA_SYSTEM, vicuna_prompt
from copamerge.errors import SuiteError
from copamerge.suites import Looking, Sample, TaskCheck, check_suite
from copamerge.suites.mm_mergebench import mm_general
from copamerge.suites.pictures import PictureError, decoded, pixels
from suites.mm_data import (
    COLUMNS,
    PHRASE,
    mmbench_row,
    picture,
    write_lines,
    write_mm_general,
    write_mmbench,
)

TSV = "mmbench/mmbench_dev_20230712.tsv"
RELEASE = "MME/MME_Benchmark_release_version"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mm_general(tmp_path / "eval")


def questions_of(root: Path, name: str) -> list[Sample]:
    one = mm_general(root).by_name[name]
    return one.samples("test", one.count("test", None))


def check(root: Path, name: str, **looking: Any) -> TaskCheck:
    (found,) = check_suite("mm-general", root, [name], Looking(**looking))
    return found


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refused(root: Path, name: str, expected: str) -> None:
    """The check says it, and reading stops with it."""
    found = check(root, name)
    assert any(expected in problem for problem in found.problems), found.problems
    assert found.counts["test"] is None
    with pytest.raises(SuiteError) as caught:
        questions_of(root, name)
    assert expected in str(caught.value)


def test_opening_the_suite_looks_at_nothing():
    suite = mm_general(None)

    assert [(one.name, one.title, one.metric) for one in suite.unseen] == [
        ("pope", "POPE", "pope"),
        ("mme", "MME", "mme"),
        ("mmbench", "MMBench", "mmbench_circular"),
    ]
    assert not suite.averaged and not suite.seen
    assert [one.asking.max_new_tokens for one in suite.tasks] == [128, 128, 1024]
    assert {(one.asking.frame, one.asking.template) for one in suite.tasks} == {
        ("pad", "vicuna_v1")
    }
    with pytest.raises(SuiteError, match="--data"):
        suite.tasks[0].size("test")


def test_a_whole_root_has_no_problems(root):
    found = check_suite("mm-general", root, None, Looking(opened=True))

    assert [one.problems for one in found] == [(), (), ()]
    assert [one.counts["test"] for one in found] == [12, 8, 7]
    assert [one.counts["train"] for one in found] == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "question", "right"),
    [
        ("pope", f"Is there a dog in the image?\n{PHRASE}", "yes"),
        ("mme", f"Is there a chair in this image?\n{PHRASE}", "yes"),
        (
            "mmbench",
            "Look at the square.\nWhich one is number 241?\nA. red\nB. blue\n"
            "Answer with the option's letter from the given choices directly.",
            "A",
        ),
    ],
)
def test_the_whole_prompt_of_the_first_sample(root, name, question, right):
    sample = questions_of(root, name)[0]

    prompt = vicuna_prompt(sample.question, len(sample.images))

    assert prompt == f"{VICUNA_SYSTEM} USER: <image>\n{question} ASSISTANT:"
    assert sample.references == (right,)
    assert pixels(sample.images[0]).shape[2] == 3


@pytest.mark.parametrize("name", ["pope", "mme", "mmbench"])
def test_digests_change_with_what_is_right(root, name):
    before = mm_general(root).by_name[name].digest("test")
    file = {
        "pope": "pope/coco/coco_pope_random.json",
        "mme": f"{RELEASE}/artwork/questions_answers_YN/000000000000.txt",
        "mmbench": TSV,
    }[name]
    with (root / file).open("a") as opened:
        opened.write("\n")

    assert mm_general(root).by_name[name].digest("test") != before


def test_a_folder_or_file_that_is_not_there_is_named(root, tmp_path):
    with pytest.raises(SuiteError, match="no such folder; give the folder that holds pope/"):
        mm_general(tmp_path / "nowhere").tasks[0].size("test")
    for name, file in (("pope", "pope/llava_pope_test.jsonl"), ("mmbench", TSV)):
        (root / file).unlink()
        refused(root, name, f"{root / file}: not there")


# POPE.


def test_pope_pairs_questions_and_answers_by_order_within_each_category(root):
    path = root / "pope/llava_pope_test.jsonl"
    write_lines(path, lines(path)[::-1])
    for category in ("random", "popular", "adversarial"):
        labels = root / f"pope/coco/coco_pope_{category}.json"
        write_lines(labels, lines(labels)[::-1])

    samples = questions_of(root, "pope")

    assert [sample.id for sample in samples] == [str(i) for i in range(11, -1, -1)]
    assert [sample.references[0] for sample in samples] == ["no", "yes"] * 6
    assert [sample.place.category for sample in samples[::4]] == [
        "random",
        "popular",
        "adversarial",
    ]


def test_pope_with_more_answers_than_questions(root):
    """As with POPE's later files: the released code would cut the longer list, and go on."""
    path = root / "pope/coco/coco_pope_random.json"
    write_lines(path, [*lines(path), *lines(path)])

    refused(root, "pope", "8 answers to 4 questions")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"text": "Is there a bird in the image?"}, "questions other than those of"),
        ({"image": "COCO_val2014_9.jpg"}, "images other than those of"),
        ({"label": "maybe"}, "answers other than yes and no: 1 of 4 (line 1)"),
    ],
)
def test_pope_answers_that_do_not_belong_to_the_questions(root, change, expected):
    path = root / "pope/coco/coco_pope_popular.json"
    first, *rest = lines(path)
    write_lines(path, [{**first, **change}, *rest])

    refused(root, "pope", expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"question_id": 1}, "ids used more than once: 1 of 12 (1 x2)"),
        ({"question_id": None}, "records without 'question_id': 1 of 12 (line 1)"),
        ({"question_id": ""}, "records without 'question_id': 1 of 12 (line 1)"),
        ({"image": ""}, "records without 'image': 1 of 12 (line 1)"),
        ({"category": "easy"}, "categories that POPE has not: 1 of 12 (easy)"),
    ],
)
def test_pope_questions_that_cannot_be_used(root, change, expected):
    path = root / "pope/llava_pope_test.jsonl"
    first, *rest = lines(path)
    write_lines(path, [{**first, **change}, *rest])

    refused(root, "pope", expected)


@pytest.mark.parametrize("name", ["pope/llava_pope_test.jsonl", "MME/llava_mme.jsonl"])
def test_a_file_of_lines_that_is_broken_or_empty(root, name):
    task = "pope" if "pope" in name else "mme"
    path = root / name
    path.write_text(path.read_text() + '{"question_id": ')
    refused(root, task, "not valid JSON")
    path.write_text("\n")
    refused(root, task, "it is empty")


# MME.


def test_mme_questions_about_a_picture_are_a_pair_that_lies_together(root):
    path = root / "MME/llava_mme.jsonl"
    all_lines = lines(path)
    write_lines(path, all_lines[::2] + all_lines[1::2])

    samples = questions_of(root, "mme")

    assert [sample.references[0] for sample in samples] == ["yes", "no"] * 4
    assert [sample.id for sample in samples[:2]] == [
        "existence/000000000000.jpg:1",
        "existence/000000000000.jpg:2",
    ]
    assert [tuple(sample.place) for sample in samples[::2]] == [
        ("existence", "existence/000000000000"),
        ("existence", "existence/000000000001"),
        ("artwork", "artwork/000000000000"),
        ("artwork", "artwork/000000000001"),
    ]


def test_mme_answers_lie_beside_the_pictures_or_in_a_folder_of_their_own(root):
    assert (root / RELEASE / "existence/000000000000.txt").is_file()
    assert (root / RELEASE / "artwork/questions_answers_YN/000000000000.txt").is_file()

    assert len(questions_of(root, "mme")) == 8


def test_mme_finds_its_release_one_folder_deeper(root):
    (root / RELEASE).rename(root / "moved")
    (root / RELEASE).mkdir()
    (root / "moved").rename(root / RELEASE / "MME_Benchmark")

    found = check(root, "mme", opened=True)

    assert found.problems == () and found.counts["test"] == 8


def test_mme_questions_match_whatever_hint_and_blanks_they_end_with(root):
    path = root / RELEASE / "existence/000000000000.txt"
    path.write_text(path.read_text().replace("? Please", "?  Please"))

    assert questions_of(root, "mme")[0].references == ("yes",)


def test_mme_pictures_need_two_questions(root):
    path = root / "MME/llava_mme.jsonl"
    write_lines(path, lines(path)[1:])

    refused(root, "mme", "not asked about twice: 1 of 7 (existence/000000000000 x1)")


def test_mme_answers_that_cannot_be_found(root):
    path = root / "MME/llava_mme.jsonl"
    first, *rest = lines(path)
    write_lines(path, [{**first, "text": "Is it?"}, *rest])
    refused(root, "mme", "the picture's text file does not have: 1 of 8")

    write_lines(path, [{**first, "question_id": "existence/7.jpg"}, *rest])
    refused(root, "mme", "pictures without a text file of answers: 1 of 8 (existence/7.jpg)")


def test_mme_answers_that_are_neither_yes_nor_no(root):
    path = root / RELEASE / "existence/000000000000.txt"
    path.write_text("Is there? Yes\n")

    refused(root, "mme", "line 1: no question, tab, Yes or No")


def test_mme_without_its_release(root):
    (root / RELEASE).rename(root / "elsewhere")

    refused(root, "mme", "no such folder; put MME's pictures and answers there")


def test_mme_pictures_that_nobody_asks_about_are_a_problem_to_live_with(root):
    path = root / "MME/llava_mme.jsonl"
    write_lines(path, lines(path)[2:])

    found = check(root, "mme")

    assert found.counts["test"] == 6
    assert "without a question: 1 (existence/000000000000)" in found.problems[0]


# MMBench.


def test_mmbench_rows_that_are_turns_of_one_question_are_a_group(root):
    """In the file of the dev set they are there: row 1000241 is row 241, turned."""
    samples = questions_of(root, "mmbench")

    assert [(x.id, x.references[0], x.choices, x.place.group) for x in samples] == [
        ("241", "A", 2, "241"),
        ("1000241", "B", 2, "241"),
        ("7", "C", 3, "7"),
        ("1000007", "B", 3, "7"),
        ("2000007", "A", 3, "7"),
        ("9", "B", 2, "9"),
        ("1000009", "A", 2, "9"),
    ]
    assert samples[2].place.category == "logic_reasoning"


def test_mmbench_options_are_turned_where_the_file_has_not_done_it(root):
    write_mmbench(root / TSV, [mmbench_row(3, ["one", "two", "three"], "C")])

    samples = questions_of(root, "mmbench")

    asked = [sample.question.split("\n")[1:4] for sample in samples]
    assert asked == [
        ["A. one", "B. two", "C. three"],
        ["A. two", "B. three", "C. one"],
        ["A. three", "B. one", "C. two"],
    ]
    # The right option is "three" each time.
    assert [sample.references[0] for sample in samples] == ["C", "B", "A"]
    right = [x.question.split("\n")["ABC".index(x.references[0]) + 1][3:] for x in samples]
    assert right == ["three"] * 3


@pytest.mark.parametrize("hint", ["", "nan", "None"])
def test_mmbench_questions_without_a_hint_begin_with_the_question(root, hint):
    write_mmbench(root / TSV, [mmbench_row(3, ["one", "two"], "A", hint=hint)])

    assert questions_of(root, "mmbench")[0].question.startswith("Which one is number 3?\nA. one")


def test_mmbench_cells_may_hold_line_ends_tabs_and_quotes(root):
    row = mmbench_row(3, ["one", "two"], "A", hint='"a ""b""\n\tc"')
    write_mmbench(root / TSV, [mmbench_row(8, ["x", "y"], "B"), row])

    samples = questions_of(root, "mmbench")

    assert samples[2].question.startswith('a "b"\n\tc\nWhich one is number 3?')
    assert np.array_equal(pixels(samples[2].images[0]), decoded(picture(3), "expected"))


def test_mmbench_pictures_are_read_when_they_are_wanted_and_not_before(root):
    samples = questions_of(root, "mmbench")

    assert all(len(repr(sample.images[0])) < 500 for sample in samples)
    assert np.array_equal(pixels(samples[2].images[0]), decoded(picture(7), "expected"))


def test_mmbench_rows_may_name_the_row_whose_picture_it_is(root):
    rows = [
        mmbench_row(3, ["one", "two"], "A"),
        mmbench_row(1_000_003, ["two", "one"], "B", image="3"),
    ]
    write_mmbench(root / TSV, rows)

    samples = questions_of(root, "mmbench")

    assert samples[0].images == samples[1].images


def test_mmbench_pictures_that_do_not_open_are_named(root):
    rows = [mmbench_row(3, ["one", "two"], "A", image="!" * 80), mmbench_row(4, ["x", "y"], "A")]
    write_mmbench(root / TSV, rows)
    samples = questions_of(root, "mmbench")

    with pytest.raises(PictureError, match="row 3, image: no base64"):
        pixels(samples[0].images[0])
    assert "pictures that do not open: 1 of 2" in check(root, "mmbench", opened=True).problems[0]

    write_mmbench(root / TSV, [mmbench_row(3, ["one", "two"], "A", image="QUJD" * 20)])
    with pytest.raises(PictureError, match="not a picture that Pillow can read"):
        pixels(questions_of(root, "mmbench")[0].images[0])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (mmbench_row(3, ["one", "two"], ""), "rows without an answer: 1 of 1 (3)"),
        (mmbench_row(3, ["one", "two"], "C"), "answers beyond the options: 1 of 1 (3)"),
        (mmbench_row(3, ["one"], "A"), "rows with fewer than two options: 1 of 1 (3)"),
        (mmbench_row(3, ["one", "nan"], "A"), "rows with fewer than two options: 1 of 1 (3)"),
        (mmbench_row(3, ["x", "y"], "A", question=""), "rows without a question: 1 of 1 (3)"),
        (mmbench_row(3, ["x", "y"], "A", image=""), "rows without a picture: 1 of 1 (3)"),
        (mmbench_row(3, ["x", "y"], "A", index="b"), "rows whose index is no number: 1 of 1 (b)"),
        (mmbench_row(1_000_003, ["x", "y"], "A"), "some, but not all, of their turned options"),
    ],
)
def test_mmbench_rows_that_cannot_be_used(root, row, expected):
    write_mmbench(root / TSV, [row])

    refused(root, "mmbench", expected)


def test_mmbench_questions_of_which_a_turn_is_missing(root):
    rows = [mmbench_row(i, ["x", "y", "z"], "A") for i in (3, 1_000_003)]
    write_mmbench(root / TSV, rows)

    refused(root, "mmbench", "not all, of their turned options: 1 of 2 (3: 2 of 3)")


def test_mmbench_rows_of_one_index(root):
    write_mmbench(root / TSV, [mmbench_row(3, ["x", "y"], "A")] * 2)

    refused(root, "mmbench", "rows with the index of another: 1 of 2 (3)")


def test_mmbench_files_that_are_no_table_of_it(root):
    (root / TSV).write_text("")
    refused(root, "mmbench", "no column index, question, A, B, C, D, answer, category, image")
    (root / TSV).write_text("\t".join(COLUMNS) + "\n")
    refused(root, "mmbench", "it is empty")
    (root / TSV).write_bytes(b"index\tquestion\n\xff\xfe\t2\n")
    refused(root, "mmbench", "no table of tab-separated text")


@pytest.mark.parametrize("name", ["mme", "mmbench"])
def test_fewer_items_part_no_group(root, name):
    whole = questions_of(root, name)
    one = mm_general(root).by_name[name]

    for items in range(1, len(whole) + 1):
        count = one.count("test", items)
        inside, outside = whole[:count], whole[count:]
        assert count >= items
        assert not {x.place for x in inside} & {x.place for x in outside}
        assert count == items or whole[count - 2].place == whole[count - 1].place
    assert mm_general(root).by_name["pope"].count("test", 1) == 1
