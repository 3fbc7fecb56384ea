"""Each thing that can be wrong with MM-MergeBench's files, in a sentence with its count."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copamerge.errors import SuiteError
from copamerge.suites import Looking, TaskCheck, check_suite, suite_named
from copamerge.suites.mm_mergebench import mm_mergebench
from suites.mm_data import write_json, write_mm_mergebench

Change = Callable[[Any], Any]
INSTRUCTIONS = Path("instructions")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mm_mergebench(tmp_path / "data")


def check(root: Path, name: str, **looking: Any) -> TaskCheck:
    (found,) = check_suite("mm-mergebench", root, [name], Looking(**looking))
    return found


def change(path: Path, how: Change) -> None:
    content = json.loads(path.read_text())
    result = how(content)
    write_json(path, result if isinstance(result, list | dict) else content)


def every(**fields: Any) -> Change:
    """All records get these fields; a value of `...` takes the field away."""

    def how(records: list[dict[str, Any]]) -> None:
        for record in records:
            record.update(fields)
            for key, value in fields.items():
                if value is ...:
                    del record[key]

    return how


def first(**fields: Any) -> Change:
    return lambda records: every(**fields)(records[:1])


def turn(place: int, value: Any) -> Change:
    def how(records: list[dict[str, Any]]) -> None:
        records[0]["conversations"][place] = value

    return how


def test_a_whole_root_has_no_problems_and_all_is_counted(root):
    found = check_suite("mm-mergebench", root)

    assert [one.problems for one in found] == [()] * 12
    assert found[0].counts == {"test": 4, "validation": 2, "train": 10}
    assert found[-1].counts == {"test": 4, "validation": 0, "train": 0}
    assert found[1].images == 4 + 12


MISTAKES: dict[str, tuple[str, str, Change, str]] = {
    "not a list": ("vqav2", "VQAv2/val.json", lambda x: {"a": 1}, "not a list of records"),
    "empty": ("vqav2", "VQAv2/val.json", lambda x: [], "records: 1 of 0 (it is empty)"),
    "no mapping": (
        "vqav2",
        "VQAv2/val.json",
        lambda x: [1, *x],
        "records without 'question_id': 1 of 5 (record 1)",
    ),
    "no id": (
        "vqav2",
        "VQAv2/val.json",
        every(question_id=...),
        "records without 'question_id': 4 of 4 (record 1, record 2, record 3, ...)",
    ),
    "no text": ("vqav2", "VQAv2/val.json", first(text=...), "records without 'text': 1 of 4 (1)"),
    "blank text": ("vqav2", "VQAv2/val.json", first(text=" "), "records without 'text': 1 of 4"),
    "no image": ("iconqa", "IconQA/val.json", every(image=...), "records without 'image': 4 of 4"),
    "image list": ("iconqa", "IconQA/val.json", first(image=["a"]), "whose 'image' is no path: 1"),
    "no answer": ("iconqa", "IconQA/val.json", first(answer=...), "records without 'answer': 1"),
    "number": ("tabmwp", "TabMWP/test.json", first(answer=3), "records without 'answer': 1 of 4"),
    "no name": ("imagenet", "ImageNet/test.json", first(answer=""), "class names that are empty"),
    "twice": ("ocrvqa", "OCRVQA/test.json", every(question_id=1), "used more than once: 1 of 4"),
    "no box": ("grounding", "Grounding/test.json", first(answer_bbox=...), "without 'answer_bbox'"),
    "word box": (
        "grounding",
        "Grounding/test.json",
        first(answer_bbox="[left, 0.1, 0.2, 0.3]"),
        "boxes that cannot be read: 1 of 4 (1)",
    ),
    "three numbers": (
        "grounding",
        "Grounding/test.json",
        first(answer_bbox="[0.1, 0.2, 0.3]"),
        "boxes that cannot be read: 1 of 4",
    ),
    "pixels": (
        "grounding",
        "Grounding/test.json",
        every(answer_bbox="[10, 20, 110, 220]"),
        "boxes that are not in 0 to 1: 4 of 4",
    ),
    "nan box": (
        "grounding",
        "Grounding/test.json",
        first(answer_bbox="[nan, 0, 1, 1]"),
        "boxes that are not in 0 to 1: 1 of 4",
    ),
    "turned box": (
        "grounding",
        "Grounding/test.json",
        first(answer_bbox="[0.5, 0.2, 0.1, 0.8]"),
        "corners in the wrong order: 1 of 4",
    ),
    "flat box": (
        "grounding",
        "Grounding/test.json",
        first(answer_bbox="[0.5, 0.2, 0.5, 0.8]"),
        "boxes without area",
    ),
    "fewer captions": (
        "vizwiz",
        "VizWiz-caption/val_coco_type.json",
        lambda x: {**x, "images": x["images"][:3]},
        "3 images for 4 questions",
    ),
    "ids from 0": (
        "vizwiz",
        "VizWiz-caption/val_coco_type.json",
        lambda x: {**x, "images": [{"id": i} for i in range(4)]},
        "image ids are not 1 to 4, such as 0",
    ),
    "ids twice": (
        "vizwiz",
        "VizWiz-caption/val_coco_type.json",
        lambda x: {**x, "images": [{"id": i} for i in (1, 2, 3, 3)]},
        "image ids are not 1 to 4, some of them twice",
    ),
    "stray caption": (
        "screen2words",
        "Screen2words/test_coco_type.json",
        lambda x: first(image_id=77)(x["annotations"]),
        "annotations of no image in 'images': 1 of 8 (annotation 1)",
    ),
    "no caption": (
        "screen2words",
        "Screen2words/test_coco_type.json",
        lambda x: first(caption=...)(x["annotations"]),
        "annotations without 'caption': 1 of 8",
    ),
    "bare image": (
        "flickr30k",
        "flickr30k-caption/val_coco_type.json",
        lambda x: {**x, "annotations": x["annotations"][2:]},
        "images without a caption: 1 of 4 (1)",
    ),
    "empty captions": (
        "flickr30k",
        "flickr30k-caption/val_coco_type.json",
        lambda x: every(caption=" ")(x["annotations"]),
        "images without a caption: 4 of 4 (1, 2, 3, ...)",
    ),
    "ids of letters": (
        "vizwiz",
        "VizWiz-caption/val_coco_type.json",
        lambda x: {
            "images": [{"id": "a"} for _ in x["images"]],
            "annotations": [{**one, "image_id": "a"} for one in x["annotations"]],
        },
        "image ids are not 1 to 4, such as a",
    ),
    "images without ids": (
        "vizwiz",
        "VizWiz-caption/val_coco_type.json",
        lambda x: {
            "images": [{} for _ in x["images"]],
            "annotations": [{**one, "image_id": None} for one in x["annotations"]],
        },
        "annotations of no image in 'images': 8 of 8",
    ),
    "no lists": ("vizwiz", "VizWiz-caption/val_coco_type.json", lambda x: {"a": 1}, "no lists"),
    "unknown problem": (
        "scienceqa",
        "ScienceQA/test.json",
        first(question_id="9999"),
        "ids that are not in problems.json: 1 of 4 (9999)",
    ),
    "no train id": ("vqav2", "VQAv2/train.json", first(id=...), "records without 'id': 1 of 12"),
    "no turns": (
        "vqav2",
        "VQAv2/train.json",
        first(conversations=...),
        "records without a question and its answer: 1 of 12 (vqav2-0)",
    ),
    "gpt first": (
        "vqav2",
        "VQAv2/train.json",
        turn(0, {"from": "gpt", "value": "red"}),
        "without a question and its answer: 1",
    ),
    "no value": (
        "vqav2",
        "VQAv2/train.json",
        turn(1, {"from": "gpt"}),
        "without a question and its answer: 1",
    ),
    "mark alone": (
        "vqav2",
        "VQAv2/train.json",
        first(image=...),
        "questions with <image>, but without a picture: 1 of 12",
    ),
    "mark in an answer": (
        "vqav2",
        "VQAv2/train.json",
        turn(1, {"from": "gpt", "value": "<image> red"}),
        "answers with <image>: 1 of 12 (vqav2-0)",
    ),
    "train image": ("vqav2", "VQAv2/train.json", first(image=[]), "whose 'image' is no path: 1"),
    "train box": (
        "grounding",
        "Grounding/train.json",
        lambda x: [turn(1, {"from": "gpt", "value": "left"})(x[i:]) for i in range(12)] and None,
        "validation split: boxes that cannot be read: 2 of 12",
    ),
    "train letter": (
        "scienceqa",
        "ScienceQA/train.json",
        lambda x: (
            [turn(1, {"from": "gpt", "value": "the left"})(x[i:]) for i in range(12)] and None
        ),
        "validation split: answers that are no letter: 2 of 12",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_that_stops_a_split_is_counted_and_keeps_it_from_being_read(root, mistake):
    name, file, how, expected = MISTAKES[mistake]
    change(root / INSTRUCTIONS / file, how)
    split = "validation" if "train" in file else "test"

    found = check(root, name)

    assert any(expected in problem for problem in found.problems), found.problems
    assert found.counts[split] is None
    task = mm_mergebench(root).by_name[name]
    with pytest.raises(SuiteError) as caught:
        task.size(split)
    assert expected in str(caught.value) and f"task {name!r}" in str(caught.value)


def test_answers_that_only_scoring_cannot_use_do_not_keep_from_training(root):
    name, file, how, _ = MISTAKES["train letter"]
    change(root / INSTRUCTIONS / file, how)

    assert check(root, name).counts == {"test": 4, "validation": None, "train": 10}


HARMLESS: dict[str, tuple[str, str, Change, str]] = {
    "empty answers": (
        "vqav2",
        "instructions/VQAv2/val.json",
        every(answer=""),
        "answers that are empty: 4 of 4 (1, 2, 3, ...); an empty output is right there",
    ),
    "unasked problem": (
        "scienceqa",
        "instructions/ScienceQA/test.json",
        lambda x: x[2:],
        "test problems of pid_splits.json that no record asks: 2 of 4 (10, 11); they count as",
    ),
    "uncounted question": (
        "scienceqa",
        "datasets/ScienceQA/pid_splits.json",
        lambda x: {**x, "test": x["test"][1:]},
        "questions that are not in the test split of pid_splits.json: 1 of 4 (10)",
    ),
    "empty train answer": (
        "iconqa",
        "instructions/IconQA/train.json",
        turn(1, {"from": "gpt", "value": ""}),
        "answers that are empty: 1 of 12",
    ),
}


@pytest.mark.parametrize("mistake", HARMLESS)
def test_a_mistake_that_can_be_lived_with_is_a_problem_all_the_same(root, mistake):
    name, file, how, expected = HARMLESS[mistake]
    change(root / file, how)

    found = check(root, name)

    assert any(expected in problem for problem in found.problems), found.problems
    assert None not in found.counts.values()


SCIENCE: dict[str, tuple[str, Change, str]] = {
    "beyond": ("problems", lambda x: x["10"].update(answer=2), "answers beyond the choices: 1"),
    "below": ("problems", lambda x: x["10"].update(answer=-1), "answers beyond the choices: 1"),
    "sixth": (
        "problems",
        lambda x: x["10"].update(answer=5, choices=list("abcdef")),
        "answers beyond the choices: 1",
    ),
    "no choices": ("problems", lambda x: x["10"].pop("choices") and None, "without 'choices' and"),
    "a list": ("problems", lambda x: [1], "not a mapping from id to problem"),
    "no test": ("pid_splits", lambda x: {"train": []}, "no list 'test'"),
    "unknown": (
        "pid_splits",
        lambda x: {"test": [*x["test"], "77"]},
        "test problems: ids that are not in problems.json: 1 of 5 (77)",
    ),
}


@pytest.mark.parametrize("mistake", SCIENCE)
def test_mistakes_of_scienceqas_own_files(root, mistake):
    file, how, expected = SCIENCE[mistake]
    change(root / f"datasets/ScienceQA/{file}.json", how)

    found = check(root, "scienceqa")

    assert any(expected in problem for problem in found.problems), found.problems
    assert found.counts["test"] is None and found.counts["train"] == 10


def test_records_are_not_blamed_for_another_file(root):
    (root / "datasets/ScienceQA/problems.json").unlink()

    (problem,) = check(root, "scienceqa").problems

    assert problem.startswith(str(root / "datasets/ScienceQA/problems.json") + ": not there")


@pytest.mark.parametrize("file", ["VizWiz-caption/val.json", "VizWiz-caption/val_coco_type.json"])
def test_a_file_that_is_missing_or_no_json(root, file):
    path = root / INSTRUCTIONS / file
    path.write_text("[{")
    assert f"{path}: not valid JSON" in check(root, "vizwiz").problems[0]

    path.write_text("[" * 100_000)
    assert f"{path}: not valid JSON" in check(root, "vizwiz").problems[0]

    path.unlink()
    assert f"{path}: not there" in check(root, "vizwiz").problems[0]

    path.mkdir()
    assert f"{path}: cannot be read" in check(root, "vizwiz").problems[0]


def test_all_mistakes_are_said_at_once(root):
    path = root / INSTRUCTIONS / "VQAv2/val.json"
    change(path, lambda x: [every(text=...)(x[:1]), every(answer=...)(x[1:2])] and None)
    (root / INSTRUCTIONS / "VQAv2/train.json").unlink()
    (root / "datasets/VQAv2/images/0002.png").unlink()

    found = check(root, "vqav2")

    said = "\n".join(found.problems)
    assert len(found.problems) == 4
    for part in ("'text': 1 of 4 (1)", "'answer': 1 of 4 (2)", "train.json: not there", "0002.png"):
        assert part in said


def test_the_train_files_mistakes_are_said_once(root):
    (root / INSTRUCTIONS / "VQAv2/train.json").unlink()

    found = check(root, "vqav2")

    assert len(found.problems) == 1
    assert found.counts == {"test": 4, "validation": None, "train": None}


def test_only_the_splits_that_are_asked_for_are_looked_at(root):
    (root / INSTRUCTIONS / "VQAv2/train.json").unlink()

    found = check(root, "vqav2", splits=("test",))

    assert found.problems == () and found.counts == {"test": 4}


def test_pictures_that_are_missing_are_counted(root):
    shutil.rmtree(root / "datasets/IconQA")

    found = check(root, "iconqa")

    assert found.counts["test"] == 4  # the run goes on without them
    assert "test: pictures that are not there: 4 of 4 (" in found.problems[0]
    assert [problem.split(":")[0] for problem in found.problems] == ["test", "validation", "train"]


def test_so_many_pictures_are_looked_for(root):
    (root / "datasets/IconQA/images/0001.png").unlink()

    assert check(root, "iconqa", images=0) == check(root, "iconqa", images=0, opened=True)
    assert check(root, "iconqa", images=0).problems == ()
    assert check(root, "iconqa", images=2).images == 2 + 2 + 2
    assert check(root, "iconqa", images=2).problems == ()  # the first and the third
    assert "1 of 4" in check(root, "iconqa", images=9).problems[0]


def test_pictures_that_do_not_open_are_found_only_when_they_are_opened(root):
    (root / "datasets/IconQA/images/0001.png").write_bytes(b"no picture")

    assert check(root, "iconqa").problems == ()
    (problem,) = check(root, "iconqa", opened=True).problems
    assert "test: pictures that do not open: 1 of 4" in problem
    assert "0001.png: not a picture that Pillow can read" in problem


def test_answers_that_the_list_of_classes_lacks(root):
    (root / INSTRUCTIONS / "ImageNet/classes.txt").write_text("Whippet\nTeapot\nBanjo\n")

    (problem,) = check(root, "imagenet").problems

    assert "answers that are not in this list: 1 (Hip)" in problem


def test_a_mark_of_the_picture_in_a_text_is_taken_out_and_noted(root):
    change(root / INSTRUCTIONS / "IconQA/val.json", first(text="<image>\nHow many?"))

    found = check(root, "iconqa")

    assert found.problems == ()
    (note,) = found.notes
    assert "texts with <image>: 1 of 4" in note
    assert mm_mergebench(root).by_name["iconqa"].sample(0, "test", 0).question == "How many?"


def test_a_list_of_classes_that_is_not_there_is_noted(root):
    found = check(root, "imagenet")

    assert found.problems == ()
    assert "lists the 4 class names of the answers in order of appearance" in found.notes[0]


def test_a_check_sees_the_disk_as_it_is_now(root):
    suite = suite_named("mm-mergebench", root)
    assert suite.by_name["vqav2"].size("test") == 4
    change(root / INSTRUCTIONS / "VQAv2/val.json", lambda x: x[:2])

    assert check(root, "vqav2").counts["test"] == 2


def test_what_stops_the_check_itself_is_said_once(root, tmp_path):
    with pytest.raises(SuiteError, match="no such folder"):
        check_suite("mm-mergebench", tmp_path / "nowhere")
    with pytest.raises(SuiteError, match="--data"):
        check_suite("mm-mergebench", None)
    with pytest.raises(SuiteError, match="did you mean 'vqav2'"):
        check_suite("mm-mergebench", root, ["vqa2"])
    (root / "mm-mergebench.yaml").write_text("vqav2: {tset: a}")
    with pytest.raises(SuiteError, match="'tset'"):
        check_suite("mm-mergebench", root)


def test_a_suite_made_by_code_has_nothing_to_check():
    assert check_suite("mini", None) == ()
