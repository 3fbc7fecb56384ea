"""Suites of one's own: opened without their lines, all mistakes at once, hashed by content."""

import json

import numpy as np
import pytest

from copamerge.errors import SuiteError
from copamerge.suites import Asking, suite_named
from copamerge.suites._base import Looking

FILE = """
suite: custom
name: mine
tasks:
  - {name: capitals, file: capitals.jsonl, validation: more.jsonl, metric: exact}
  - name: sizes
    title: Which is larger?
    file: sizes.jsonl
    seen: false
    pictures: pictures
    metric: science
    max_new_tokens: 3
    template: vicuna_v1
    frame: pad
    prompt: "{prompt} A or B?"
"""
LINES = {
    "capitals.jsonl": [{"prompt": "France?", "answer": "Paris"}],
    "more.jsonl": [{"prompt": f"{i}?", "answer": "x"} for i in range(3)],
    "sizes.jsonl": [
        {"id": "b", "prompt": "Which?", "answer": "A", "images": ["1.png", "2.png"]},
        {"id": "a", "prompt": "And?", "answer": "B", "category": "hard", "choices": 2},
    ],
}


def make(folder, text=FILE, lines=LINES):
    image = pytest.importorskip("PIL.Image")
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for i in (1, 2):
        path = folder / "pictures" / f"{i}.png"
        image.fromarray(np.full((2, 3, 3), i, np.uint8)).save(path)
    for name, rows in lines.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def problems(path, **options):
    with pytest.raises(SuiteError) as caught:
        suite_named(str(path), **options)
    return caught.value.problems


def test_a_file_is_a_suite(tmp_path):
    suite = suite_named(str(make(tmp_path)))

    assert (suite.name, suite.answers, suite.ships, suite.averaged) == ("mine", "text", False, True)
    capitals, sizes = suite.tasks
    assert (capitals.title, capitals.seen, capitals.asking) == ("capitals", True, Asking(32))
    assert (sizes.title, sizes.seen) == ("Which is larger?", False)
    assert sizes.asking == Asking(3, "vicuna_v1", "pad")
    assert [capitals.count(split, None) for split in ("test", "validation")] == [1, 3]
    first, second = sizes.samples("test", 2)
    assert first.question == "Which? A or B?" and first.references == ("A",)
    assert first.images == tuple(tmp_path / "pictures" / f"{i}.png" for i in (1, 2))
    assert second.place.category == "hard" and second.choices == 2


def test_opening_reads_no_lines(tmp_path):
    suite = suite_named(str(make(tmp_path, lines={})))

    assert [task.metric for task in suite.tasks] == ["exact", "science"]
    with pytest.raises(SuiteError, match=r"task 'sizes': .*sizes\.jsonl: cannot be read: No such"):
        suite.by_name["sizes"].count("test", None)


def test_lines_may_lie_in_another_folder(tmp_path):
    path = make(tmp_path / "here", lines={})
    make(tmp_path / "data")

    suite = suite_named(str(path), tmp_path / "data")

    assert suite.by_name["sizes"].sample(0, "test", 0).images[0].is_file()


def test_a_split_without_lines_is_named_with_its_key(tmp_path):
    suite = suite_named(str(make(tmp_path)))

    with pytest.raises(SuiteError, match=r"task 'sizes': has no train split.*train: FILE\.jsonl"):
        suite.by_name["sizes"].count("train", None)


def test_a_file_of_lines_is_a_suite_of_one_task(tmp_path):
    make(tmp_path)

    suite = suite_named(str(tmp_path / "capitals.jsonl"))

    (task,) = suite.tasks
    assert (suite.name, task.name, task.metric) == ("capitals", "capitals", "exact_upper")
    assert [sample.id for sample in task.samples("test", 1)] == ["capitals/1"]
    assert suite.file == tmp_path / "capitals.jsonl"


def test_pictures_of_a_file_of_lines_may_begin_in_the_data(tmp_path):
    make(tmp_path)

    suite = suite_named(str(tmp_path / "sizes.jsonl"), tmp_path / "pictures")

    assert suite.tasks[0].sample(0, "test", 0).images[0].is_file()


@pytest.mark.parametrize(
    "old, new, fact",
    [
        ("metric: exact}", "metrik: exact}", "tasks.0.metrik: unknown key; did you mean 'metric'?"),
        ("name: mine", "nome: mine", "name: missing"),
        ("name: mine", "name: mini", "the name 'mini' is that of a suite that comes with"),
        ("name: mine", "name: a/b", "'a/b' cannot be a name"),
        ("name: sizes", "name: 'a,b'", "'a,b' cannot be a name"),
        ("name: sizes", "name: capitals", "called so twice"),
        ("file: sizes.jsonl", "", "names no lines; write file:"),
        ("max_new_tokens: 3", "max_new_tokens: 0", "greater than or equal to 1 (got '0')"),
        ("max_new_tokens: 3", "max_new_tokens: '3'", "expected a whole number (got '3')"),
        ("seen: false", "seen: 0", "expected true or false"),
        ("vicuna_v1", "vicuna", "expected one of chat, vicuna_v1, none; did you mean"),
        ("frame: pad", "frame: pat", "expected one of processor, pad, crop"),
        ("{prompt} A or B?", "A or B?", "must have {prompt} in it once"),
        ("suite: custom", "suite: custon", "there is no such kind of suite file; did you mean"),
    ],
)
def test_what_a_suite_file_must_not_say(tmp_path, old, new, fact):
    assert old in FILE

    (problem, *more) = problems(make(tmp_path, FILE.replace(old, new, 1)))

    assert problem.startswith(str(tmp_path / "mine.yaml")) and fact in " ".join([problem, *more])


def test_all_mistakes_of_a_suite_file_are_told_at_once(tmp_path):
    text = FILE.replace("seen", "sean").replace("metric: exact", "metrics: exact")

    assert len(problems(make(tmp_path, text))) == 2


def test_files_that_are_not_there(tmp_path):
    assert "no such file; check" in problems(tmp_path / "no.yaml")[0]
    assert "no such file of lines" in problems(tmp_path / "no.jsonl")[0]
    assert "cannot be a name" in problems(make(tmp_path).rename(tmp_path / "a,b.jsonl"))[0]


def digests(path, **options):
    suite = suite_named(str(path), **options)
    return {task.name: task.digest("test") for task in suite.tasks}


def test_what_is_asked_decides_the_digest_and_its_place_does_not(tmp_path):
    before = digests(make(tmp_path / "a"))

    assert digests(make(tmp_path / "b")) == before
    spaced = make(tmp_path / "c")
    lines = (tmp_path / "c" / "sizes.jsonl").read_text()
    (tmp_path / "c" / "sizes.jsonl").write_text(lines.replace(",", " , ") + "\n")
    assert digests(spaced) == before


def test_a_corrected_reference_is_no_reason_to_ask_again(tmp_path):
    before = digests(make(tmp_path / "a"))

    changed = [{**LINES["capitals.jsonl"][0], "answer": "PARIS", "category": "easy"}]
    after = digests(make(tmp_path / "b", lines={**LINES, "capitals.jsonl": changed}))

    assert after == before


@pytest.mark.parametrize("change", [{"prompt": "Italy?"}, {"id": "x"}, {"image": "1.png"}])
def test_another_question_is_another_digest(tmp_path, change):
    before = digests(make(tmp_path / "a"))

    changed = [{**LINES["capitals.jsonl"][0], **change}]
    after = digests(make(tmp_path / "b", lines={**LINES, "capitals.jsonl": changed}))

    assert after["capitals"] != before["capitals"] and after["sizes"] == before["sizes"]


def test_another_picture_or_wording_is_another_digest(tmp_path):
    before = digests(make(tmp_path / "a"))

    path = make(tmp_path / "b")
    (tmp_path / "b/pictures/2.png").replace(tmp_path / "b/pictures/1.png")
    reworded = make(tmp_path / "c", FILE.replace("A or B?", "A, B?"))

    assert len({each["sizes"] for each in (before, digests(path), digests(reworded))}) == 3


def test_lines_that_change_while_they_are_asked_are_noticed(tmp_path):
    task = suite_named(str(make(tmp_path))).by_name["capitals"]
    assert task.count("test", None) == 1

    (tmp_path / "capitals.jsonl").write_text('{"prompt": "Italy, then?", "answer": "Rome"}\n')

    with pytest.raises(SuiteError, match="changed since this process read it"):
        task.sample(0, "test", 0)


def test_the_check_looks_at_lines_and_pictures(tmp_path):
    path = make(tmp_path)
    (tmp_path / "pictures" / "2.png").unlink()
    (tmp_path / "pictures" / "1.png").write_text("no picture")
    (tmp_path / "more.jsonl").write_text("{}\n[]\n")
    suite = suite_named(str(path))

    capitals, sizes = suite.check(suite.tasks, Looking())
    (_, opened) = suite.check(suite.tasks, Looking(("test",), opened=True))

    assert capitals.counts == {"test": 1, "validation": None} and len(capitals.problems) == 3
    assert sizes.counts == {"test": 2} and sizes.images == 2
    assert len(sizes.problems) == 1 and "2.png: not there" in sizes.problems[0]
    assert len(opened.problems) == 2
    (_, one) = suite.check(suite.tasks, Looking(("test",), images=1))
    assert one.images == 1 and not one.problems
