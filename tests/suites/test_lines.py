"""Lines of JSON: what may stand in them, and what is said where something else does."""

import json

import numpy as np
import pytest

from copamerge.errors import SuiteError
from copamerge.suites import Place
from copamerge.suites.lines import SHOWN, read_lines

FULL = {
    "id": "q7",
    "prompt": "Which is larger?",
    "answers": ["left", "the left one"],
    "images": ["a.png", "b.png"],
    "category": "sizes",
    "group": 3,
    "choices": 2,
}


def written(path, *lines):
    path.write_text(
        "\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), encoding="utf-8"
    )
    return path


def problems(path, **options):
    with pytest.raises(SuiteError) as caught:
        read_lines(path, **{"answers": True, **options})
    return caught.value.problems


def test_every_field_has_its_place(tmp_path):
    path = written(tmp_path / "x.jsonl", FULL, "", {"prompt": "1 + 1 =", "answer": "2"})

    full, short = read_lines(path, answers=True)

    assert (full.id, full.question, full.choices) == ("q7", "Which is larger?", 2)
    assert full.references == ("left", "the left one")
    assert full.images == (tmp_path / "a.png", tmp_path / "b.png")
    assert full.place == Place("sizes", "3")
    assert short.id == "x/3" and not short.images and short.place == Place()


def test_a_whole_number_is_an_id_and_null_is_nothing(tmp_path):
    path = written(tmp_path / "x.jsonl", {"id": 7, "prompt": "a", "answer": "b", "image": None})

    (sample,) = read_lines(path, answers=True)

    assert sample.id == "7" and not sample.images


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a", "answer": "b"}\r\n{"prompt": "c", "answer": "d"}'
    )

    assert [sample.question for sample in read_lines(path, answers=True)] == ["a", "c"]


def test_pictures_may_begin_in_another_folder_and_are_not_opened(tmp_path):
    path = written(tmp_path / "x.jsonl", FULL)

    (sample,) = read_lines(path, answers=True, folder=tmp_path / "pictures")

    assert sample.images[0] == tmp_path / "pictures" / "a.png"
    assert len(problems(path, opened=True)) == 1


def test_opened_pictures_are_pixels(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((3, 2, 3), 9, np.uint8)).save(tmp_path / "a.png")
    path = written(tmp_path / "x.jsonl", {"prompt": "a", "answer": "b", "image": "a.png"})

    (sample,) = read_lines(path, answers=True, opened=True)

    assert sample.images[0].shape == (3, 2, 3)


@pytest.mark.parametrize(
    "change, fact",
    [
        ({"promt": "x"}, "unknown key 'promt'; did you mean 'prompt'?"),
        ({"answer": "x"}, "'answer' and 'answers': give one of them"),
        ({"image": "x"}, "'image' and 'images': give one of them"),
        ({"answers": []}, "'answers' must be a list of texts that are not empty (got [])"),
        ({"answers": ["a", ""]}, "'answers' must be a list of texts"),
        ({"answers": None}, "'answer' must be a text that is not empty (got None)"),
        ({"images": "a.png"}, "'images' must be a list of texts"),
        ({"images": [3]}, "'images' must be a list of texts"),
        ({"prompt": 3}, "'prompt' must be a text that is not empty (got 3); put the number in"),
        ({"id": True}, "'id' must be a text"),
        ({"id": " "}, "'id' must be a text"),
        ({"category": ["a"]}, "'category' must be a text"),
        ({"choices": "2"}, "'choices' must say how many options the prompt offers, at least 2"),
        ({"choices": 1}, "'choices' must say how many options"),
        ({"choices": True}, "'choices' must say how many options"),
    ],
)
def test_what_does_not_belong_is_named(tmp_path, change, fact):
    path = written(tmp_path / "x.jsonl", {"prompt": "a", "answer": "b"}, {**FULL, **change})

    (problem,) = problems(path)

    assert problem.startswith(f"{path}, line 2: ") and fact in problem


def test_all_problems_are_told_at_once_and_many_are_counted(tmp_path):
    path = written(tmp_path / "x.jsonl", *[{"prompt": "a"}] * 50)

    found = problems(path)

    assert len(found) == SHOWN + 1 and "line 1: no 'answer'" in found[0]
    assert found[-1] == f"{path}: {50 - SHOWN} more problems"


def test_one_id_is_that_of_one_line(tmp_path):
    line = {"id": "a", "prompt": "a", "answer": "b"}
    path = written(tmp_path / "x.jsonl", line, {**line, "id": "x/3"}, {"prompt": "", "answer": ""})

    assert len(problems(path)) == 2  # a malformed line takes no id from others

    written(path, line, {**line, "id": "x/3"}, {"prompt": "c", "answer": "d"}, line)
    assert problems(path) == [
        f"{path}, line 3: id 'x/3' is that of line 2 too; give each its own",
        f"{path}, line 4: id 'a' is that of line 1 too; give each its own",
    ]


def test_a_key_that_is_written_twice_is_not_the_last_one(tmp_path):
    path = written(tmp_path / "x.jsonl", '{"prompt": "a", "answer": "b", "answer": "c"}')

    assert problems(path) == [f"{path}, line 1: key 'answer' is written twice; keep one of them"]


def test_an_answer_that_no_stripped_answer_equals_is_refused_where_it_is_scored(tmp_path):
    path = written(tmp_path / "x.jsonl", {"prompt": "The capital is", "answer": " Paris"})

    assert read_lines(path, answers=True)[0].references == (" Paris",)
    assert "answer ' Paris' begins or ends with a blank" in problems(path, scored=True)[0]
