"""MM-MergeBench from disk: which samples come of which files, quirk by quirk."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copamerge.bench.prompting import VICUNA_SYSTEM, vicuna_prompt
from copamerge.errors import SuiteError
from copamerge.suites import Sample, Suite, Task, TaskCheck, check_suite
from copamerge.suites.mm_mergebench import conversations, is_validation, layout, mm_mergebench
from copamerge.suites.pictures import PictureError, pixels
from suites.mm_data import CLASSES, HELD_OUT, SEEN, held_out, write_json, write_mm_mergebench


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mm_mergebench(tmp_path / "data")


def task(root: Path, name: str) -> Task:
    return mm_mergebench(root).by_name[name]


def questions_of(root: Path, name: str) -> list[Sample]:
    one = task(root, name)
    return one.samples("test", one.count("test", None))


def checked(root: Path, name: str) -> TaskCheck:
    (found,) = check_suite("mm-mergebench", root, [name])
    return found


def changed(path: Path, change: Any) -> None:
    """The file's records, after a function has changed them in place or given others."""
    content = json.loads(path.read_text())
    result = change(content)
    write_json(path, content if result is None else result)


def refused(root: Path, name: str) -> str:
    with pytest.raises(SuiteError) as caught:
        task(root, name).size("test")
    return str(caught.value)


# What is known without data.


def test_opening_the_suite_looks_at_nothing():
    suite = mm_mergebench(None)

    assert [one.title for one in suite.seen] == [
        "ScienceQA",
        "ImageNet",
        "VQAv2",
        "Grounding",
        "OCRVQA",
        "VizWiz",
        "Flickr30k",
        "IconQA",
    ]
    assert [one.title for one in suite.unseen] == [
        "A-OKVQA",
        "ImageNet-R",
        "Screen2Words",
        "TabMWP",
    ]
    with pytest.raises(SuiteError, match="--data"):
        suite.tasks[0].size("test")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SuiteError, match="no such folder; give the folder that holds instruct"):
        task(tmp_path / "nowhere", "vqav2").size("test")


@pytest.mark.parametrize(
    ("name", "frame", "tokens", "metric"),
    [
        ("scienceqa", "crop", 1024, "science"),
        ("imagenet", "crop", 1024, "two_way_substring"),
        ("vqav2", "crop", 1024, "exact_upper"),
        ("grounding", "crop", 1024, "grounding"),
        ("ocrvqa", "pad", 128, "exact_lower_unanswerable"),
        ("vizwiz", "pad", 128, "caption"),
        ("flickr30k", "pad", 128, "caption"),
        ("iconqa", "pad", 128, "exact_upper"),
        ("aokvqa", "crop", 1024, "exact_upper"),
        ("imagenet_r", "pad", 1024, "two_way_substring"),
        ("screen2words", "pad", 128, "caption"),
        ("tabmwp", "pad", 128, "exact_upper"),
    ],
)
def test_pictures_are_framed_and_answers_limited_as_each_runner_does_it(
    name, frame, tokens, metric
):
    one = mm_mergebench(None).by_name[name]

    assert (one.asking.frame, one.asking.max_new_tokens) == (frame, tokens)
    assert one.asking.template == "vicuna_v1"
    assert one.metric.rstrip("67") == metric


@pytest.mark.parametrize(("java", "metric"), [(True, "caption7"), (False, "caption6")])
def test_captions_are_scored_by_seven_numbers_only_where_java_is(monkeypatch, java, metric):
    monkeypatch.setattr(layout, "java_there", lambda: java)

    assert mm_mergebench(None).by_name["vizwiz"].metric == metric


# The prompts, in full.

PHRASE = "Answer the question using a single word or phrase."
PROMPTS = {
    "scienceqa": "<image>\nWhich of these is red?\nA. the square\nB. the circle\n"
    "Answer with the option's letter from the given choices directly.",
    "imagenet": "<image>\nWhat is the object in the image?\n"
    "Choose an answer from the choices below: Whippet, Hip, Teapot, Banjo.",
    "vqav2": f"<image>\nWhat colour is it?\n{PHRASE}",
    "grounding": "<image>\nPlease provide the bounding box coordinate of the region: the square",
    "ocrvqa": f"<image>\nWho is the author of this book?\n{PHRASE}",
    "vizwiz": "<image>\nWhat is happening in the image?\nAnswer in a short sentence.",
    "flickr30k": "<image>\nWhat is happening in the image?\nAnswer in a short sentence.",
    "iconqa": f"<image>\nHow many dots are there?\n{PHRASE}",
    "aokvqa": f"<image>\nWhat is this for?\n{PHRASE}",
    "imagenet_r": "<image>\nWhat is drawn?\nAnswer with a class name.",
    "screen2words": "<image>\nWhat does the screen show?\nAnswer in a short phrase.",
    "tabmwp": f"<image>\nWhat is the sum?\n{PHRASE}",
}
REFERENCES = {
    "scienceqa": ("A",),
    "imagenet": ("Whippet",),
    "vqav2": ("red",),
    "grounding": ("[0.10, 0.20, 0.50, 0.78]",),
    "ocrvqa": ("A. Nother",),
    "vizwiz": ("a thing with number 0.", "thing 0 on the ground"),
    "flickr30k": ("a thing with number 0.", "thing 0 on the ground"),
    "iconqa": ("3",),
    "aokvqa": ("Eating",),
    "imagenet_r": ("Whippet",),
    "screen2words": ("a thing with number 0.", "thing 0 on the ground"),
    "tabmwp": ("1,200",),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_the_whole_prompt_of_the_first_sample(root, name):
    sample = task(root, name).sample(0, "test", 0)

    assert vicuna_prompt(sample.question, len(sample.images)) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
        f"USER: {PROMPTS[name]} ASSISTANT:"
    )
    assert sample.references == REFERENCES[name]
    assert VICUNA_SYSTEM.startswith("A chat")


@pytest.mark.parametrize("name", PROMPTS)
def test_samples_are_in_the_order_of_the_file_and_their_pictures_open(root, name):
    samples = questions_of(root, name)

    assert len(samples) == 4
    assert [pixels(p).shape[2] for sample in samples for p in sample.images][:1] == [3]
    assert samples[1].references != () and len({sample.id for sample in samples}) == 4


# ScienceQA.


def test_science_questions_may_come_without_a_picture(root):
    samples = questions_of(root, "scienceqa")

    assert [len(sample.images) for sample in samples] == [1, 0, 1, 0]
    assert [sample.place.category for sample in samples] == ["image", "text", "image", "text"]
    assert [sample.choices for sample in samples] == [2, 3, 2, 3]


def test_the_mark_of_a_picture_in_a_science_text_is_removed(root):
    """Wherever it is: the runner puts the picture before the question."""
    path = root / "instructions/ScienceQA/test.json"
    changed(path, lambda records: records[0].update(text="Which\nis red? <image>"))

    assert task(root, "scienceqa").sample(0, "test", 0).question == "Which\nis red?"


def test_other_texts_are_left_as_they_are(root):
    path = root / "instructions/VQAv2/val.json"
    changed(path, lambda records: records[0].update(text=" \nwhat? "))

    assert task(root, "vqav2").sample(0, "test", 0).question == " \nwhat? "


def test_the_mark_of_a_picture_in_another_text_is_removed_as_it_would_be_a_second_picture(root):
    path = root / "instructions/VQAv2/val.json"
    changed(path, lambda records: records[0].update(text=" <image>\nwhat? "))

    assert task(root, "vqav2").sample(0, "test", 0).question == "what?"


def test_right_letters_come_from_problems_json_not_from_the_record(root):
    path = root / "instructions/ScienceQA/test.json"
    changed(path, lambda records: records[1].update(answer="E"))

    assert task(root, "scienceqa").sample(1, "test", 0).references == ("B",)


def test_a_test_problem_that_no_record_asks_counts_as_wrong(root):
    path = root / "instructions/ScienceQA/test.json"
    changed(path, lambda records: records[1:])

    samples = questions_of(root, "scienceqa")

    assert [sample.id for sample in samples] == ["11", "12", "13", "10"]
    assert samples[-1].references == ("A",)
    assert samples[-1].place.category is None  # not in the released IMG accuracy, picture or not
    with pytest.raises(PictureError, match="no question '10'"):
        pixels(samples[-1].images[0])


def test_a_question_outside_the_test_split_is_not_counted(root):
    path = root / "datasets/ScienceQA/pid_splits.json"
    changed(path, lambda splits: splits.update(test=["10", "11", "12"]))

    assert [sample.id for sample in questions_of(root, "scienceqa")] == ["10", "11", "12"]


# ImageNet.


def test_class_names_are_listed_from_a_file_if_there_is_one(root):
    (root / "instructions/ImageNet/classes.txt").write_text("\n".join(CLASSES) + "\n\n")

    assert task(root, "imagenet").sample(0, "test", 0).question == (
        "What is the object in the image?\n"
        "Choose an answer from the choices below: Whippet, Hip, Teapot, Banjo, Golden retriever."
    )


@pytest.mark.parametrize("name", ["imagenet", "imagenet_r", "vizwiz"])
def test_ids_used_twice_do_no_harm_where_answers_are_paired_by_line(root, name):
    layout = {"imagenet": "ImageNet/test", "imagenet_r": "ImageNet-R/test"}
    path = root / f"instructions/{layout.get(name, 'VizWiz-caption/val')}.json"
    changed(path, lambda records: [record.update(question_id=7) for record in records] and None)

    assert [sample.id for sample in questions_of(root, name)] == ["7#1", "7#2", "7#3", "7#4"]


def test_ids_used_twice_stop_a_task_whose_answers_are_paired_by_id(root):
    """The released code would score both answers by the last record."""
    changed(
        root / "instructions/VQAv2/val.json",
        lambda records: (
            [record.update(question_id=i // 2) for i, record in enumerate(records)] and None
        ),
    )

    assert "ids used more than once: 2 of 4 (0 x2, 1 x2)" in refused(root, "vqav2")


# Train files.


def test_validation_is_one_id_in_fifty_and_never_trained_on(root):
    for name in SEEN:
        one = task(root, name)
        train = one.samples("train", one.size("train"))
        validation = one.samples("validation", one.size("validation"))

        assert (len(train), len(validation)) == (12 - HELD_OUT, HELD_OUT)
        assert all(is_validation(sample.id) and held_out(sample.id) for sample in validation)
        assert not any(is_validation(sample.id) or held_out(sample.id) for sample in train)


def test_the_share_kept_from_training_is_two_percent():
    assert 350 < sum(is_validation(str(i)) for i in range(20_000)) < 450


def test_of_many_records_kept_from_training_a_few_are_the_validation_split(root, monkeypatch):
    monkeypatch.setattr(conversations, "MOST", 1)

    one = task(root, "vqav2")

    assert (one.size("validation"), one.size("train")) == (1, 10)
    assert "2 records are kept from training" in checked(root, "vqav2").notes[0]


def test_a_train_sample_is_the_first_question_and_what_is_to_be_said_to_it(root):
    path = root / "instructions/VQAv2/train.json"
    more = [{"from": "human", "value": "and?"}, {"from": "gpt", "value": "no"}]
    changed(path, lambda records: records[0]["conversations"].extend(more))

    sample = task(root, "vqav2").sample(0, "train", 0)

    assert sample.question == f"What colour is it?\n{PHRASE}"
    assert sample.references == ("red",)
    assert len(sample.images) == 1
    note = checked(root, "vqav2").notes[0]
    assert "go on after their first answer: 1 of 12 (vqav2-0)" in note


def test_a_train_record_may_come_without_a_picture(root):
    sample = task(root, "scienceqa").sample(0, "train", 0)

    assert sample.images == () and sample.place.category == "text"


def test_records_about_one_id_are_trained_on_under_names_of_their_own(root):
    path = root / "instructions/VQAv2/train.json"
    changed(path, lambda records: records[1].update(id=records[0]["id"]))

    samples = task(root, "vqav2").samples("train", 2)

    assert [sample.id for sample in samples] == ["vqav2-0#1", "vqav2-0#2"]


@pytest.mark.parametrize("answer", ["B", "B.", "The answer is B.", " b "])
def test_a_science_answer_of_the_validation_split_is_cut_to_its_letter(root, answer):
    path = root / "instructions/ScienceQA/train.json"

    def change(records):
        for record in records:
            record["conversations"][1]["value"] = answer

    changed(path, change)

    one = task(root, "scienceqa")

    assert one.sample(0, "validation", 0).references == ("B",)
    assert one.sample(0, "train", 0).references == (answer,)


def test_unseen_tasks_have_nothing_to_train_on(root):
    one = task(root, "tabmwp")

    assert (one.size("train"), one.size("validation")) == (0, 0)
    with pytest.raises(SuiteError, match="its train split has no samples"):
        one.count("train", 10)


def test_either_name_of_flickrs_train_file_will_do(root):
    folder = root / "instructions/flickr30k-caption"
    (folder / "train_brief.json").rename(folder / "train.json")

    assert task(root, "flickr30k").size("train") == 10


# The user's own word.


def test_files_and_pictures_may_lie_elsewhere(root):
    (root / "instructions/VQAv2/val.json").rename(root / "mine.json")
    (root / "datasets").rename(root / "pictures")
    (root / "mm-mergebench.yaml").write_text("vqav2: {test: mine.json, images: pictures}\n")

    samples = questions_of(root, "vqav2")

    assert samples[0].images == (root / "pictures/VQAv2/images/0000.png",)


def test_what_the_file_of_places_cannot_mean_is_all_said(root):
    (root / "mm-mergebench.yaml").write_text(
        "vqa2: {test: a}\nvqav2: {tset: a, coco: b, test: 3}\nimagenet: [1]\n"
    )

    said = refused(root, "vqav2")

    assert "'vqa2': no task of that name; did you mean 'vqav2'?" in said
    assert "vqav2: no file is called 'tset'; did you mean 'test'?" in said
    assert "vqav2: no file is called 'coco'" in said
    assert "vqav2, test: a path is expected (got 3)" in said
    assert "imagenet: not a mapping" in said


@pytest.mark.parametrize("text", ["a: [", "- 1\n"])
def test_a_file_of_places_that_is_none(root, text):
    (root / "mm-mergebench.yaml").write_text(text)

    assert "mm-mergebench.yaml: not " in refused(root, "vqav2")


# Digests and reading once.


def test_a_digest_is_of_the_files_bytes_and_of_nothing_else(root, tmp_path):
    other = write_mm_mergebench(tmp_path / "other")
    before = [one.digest("test") for one in mm_mergebench(root).tasks]

    assert before == [one.digest("test") for one in mm_mergebench(other).tasks]
    assert len(set(before)) == len(before)

    (other / "instructions/ImageNet/classes.txt").write_text("Hip\n")
    coco = other / "instructions/VizWiz-caption/val_coco_type.json"
    coco.write_text(coco.read_text() + " ")
    after = [one.digest("test") for one in mm_mergebench(other).tasks]
    unlike = [
        one.name
        for one, x, y in zip(mm_mergebench(None).tasks, before, after, strict=True)
        if x != y
    ]
    assert unlike == ["imagenet", "vizwiz"]


def test_files_are_read_once(root, monkeypatch):
    read = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or original(path))
    one = task(root, "vqav2")

    for split in ("test", "train", "validation", "test", "train"):
        one.count(split, None)
        one.samples(split, 2)

    assert [path.name for path in read] == ["val.json", "train.json"]


def test_many_records_load_in_seconds(root):
    import time

    path = root / "instructions/VQAv2/val.json"
    record = json.loads(path.read_text())[0]
    write_json(path, [{**record, "question_id": i} for i in range(20_000)])
    one = task(root, "vqav2")
    started = time.perf_counter()

    assert one.count("test", None) == 20_000
    assert one.sample(19_999, "test", 0).id == "19999"
    assert time.perf_counter() - started < 30  # about 1 s of a busy core


def test_samples_are_the_same_whichever_way_they_are_asked_for(root):
    suite: Suite = mm_mergebench(root)
    for one in suite.tasks:
        again = mm_mergebench(root).by_name[one.name]
        for i in range(4):
            assert one.sample(i, "test", 0) is one.sample(i, "test", 5)
            assert one.sample(i, "test", 0).question == again.sample(i, "test", 0).question


def test_a_picture_that_is_gone_is_said_when_it_is_opened(root):
    shutil.rmtree(root / "datasets/VQAv2")
    sample = task(root, "vqav2").sample(0, "test", 0)

    with pytest.raises(PictureError, match=r"datasets/VQAv2/images/0000.png: not there"):
        pixels(sample.images[0])


def test_a_tiny_root_has_pictures_that_are_no_squares(root):
    shapes = {pixels(sample.images[0]).shape for sample in questions_of(root, "vqav2")}

    assert {(48, 48, 3), (32, 48, 3), (40, 24, 3), (36, 36, 3)} == shapes
    assert np.asarray(list(shapes)).max() <= 48
