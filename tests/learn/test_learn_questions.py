"""What is learnt from: suites without their test split, lines of a user's file."""

import json

import numpy as np
import pytest

from copamerge.errors import SuiteError
from copamerge.learn.questions import digest_of, of_suite, read_questions
from learn.tiny import LINES, write_lines


def test_lines_become_samples_in_order(tmp_path):
    from PIL import Image

    Image.fromarray(np.full((3, 2, 4), 200, np.uint8)).save(tmp_path / "x.png")
    lines = [{"prompt": "what", "answer": "a", "image": "x.png"}, *LINES]
    path = write_lines(tmp_path / "data.jsonl", lines)
    path.write_text(path.read_text() + "\n\n")

    read = read_questions(path, answers=True)

    assert [sample.question for sample in read.samples] == [line["prompt"] for line in lines]
    assert [sample.references for sample in read.samples] == [(x["answer"],) for x in lines]
    assert read.samples[0].images[0].shape == (3, 2, 3) and not read.samples[1].images


def test_every_malformed_line_is_named(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(
        "\n".join(
            [
                json.dumps({"prompt": "fine", "answer": "a"}),
                "{not json",
                "[1]",
                json.dumps({"answer": "a"}),
                json.dumps({"prompt": " ", "answer": 3}),
                json.dumps({"promt": "x", "answer": "a"}),
                json.dumps({"prompt": "x", "answer": "a", "image": "nowhere.png"}),
                json.dumps({"prompt": "x", "answer": "a", "image": "data.jsonl"}),
            ]
        )
    )

    with pytest.raises(SuiteError) as caught:
        read_questions(path, answers=True)

    text = str(caught.value)
    assert all(f"line {number}:" in text for number in range(2, 9)) and "line 1:" not in text
    assert "unknown key 'promt'; did you mean 'prompt'?" in text
    assert "nowhere.png: not there" in text and "not a picture" in text
    assert "'answer' must be a text that is not empty (got 3)" in text


def test_answers_are_asked_for_where_they_are_needed(tmp_path):
    path = write_lines(tmp_path / "data.jsonl", [{"prompt": "what"}])

    assert read_questions(path, answers=False).samples[0].references == ()
    with pytest.raises(SuiteError, match="line 1: no 'answer'"):
        read_questions(path, answers=True)


@pytest.mark.parametrize(
    "content, fact",
    [(b"", "holds no lines"), (b"\xff\xfe\x00", "not a text file"), (None, "cannot be read")],
)
def test_files_without_lines(tmp_path, content, fact):
    path = tmp_path / "data.jsonl"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SuiteError, match=fact):
        read_questions(path, answers=True)


def test_the_test_split_is_refused():
    with pytest.raises(SuiteError, match="chosen on the test split cannot be judged by it"):
        of_suite("mini", ["vqa"], items=2, split="test")


def test_all_that_is_wrong_with_a_suite_is_said_at_once():
    with pytest.raises(SuiteError) as caught:
        of_suite("mini", ["vqu"], items=0, split="valid")

    assert len(caught.value.problems) == 3


def test_unseen_tasks_are_remarked_on():
    found, notes = of_suite("mini", ["vqa", "tables"], items=2)

    assert [one.name for one in found] == ["vqa", "tables"]
    assert len(notes) == 1 and notes[0].startswith("tables is an unseen task")


def test_a_suite_of_ones_own_is_learnt_from_too(tmp_path):
    write_lines(tmp_path / "held-out.jsonl")
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "{suite: custom, name: mine, tasks: [{name: words, validation: held-out.jsonl}]}"
    )

    (found,), _ = of_suite(str(suite), None, items=100)

    assert len(found.samples) == len(LINES)
    with pytest.raises(SuiteError, match="has no train split"):
        of_suite(str(suite), None, items=100, split="train")


def test_a_digest_tells_samples_apart(tmp_path):
    one = read_questions(write_lines(tmp_path / "a.jsonl"), answers=True)
    same = read_questions(write_lines(tmp_path / "b.jsonl"), answers=True)
    other = read_questions(write_lines(tmp_path / "c.jsonl", LINES[1:]), answers=True)

    assert digest_of([one]) == digest_of([same]) != digest_of([other])
