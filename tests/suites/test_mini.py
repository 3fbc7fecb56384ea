"""The mini suite: what its samples promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copamerge.errors import SuiteError
from copamerge.suites import SUITES, suite_named
from copamerge.suites._base import Split
from copamerge.suites.mini import MINI
from copamerge.suites.mini._made import SHARES, made
from copamerge.suites.mini.draw import (
    _FONT,
    DIGITS,
    GROUNDS,
    HEADS,
    LETTERS,
    PARTS,
    SHAPES,
    STYLES,
    Box,
    Canvas,
    Thing,
    patch_labels,
    styled,
)
from copamerge.suites.mini.lessons import LATE, LESSONS
from copamerge.suites.mini.scenes import CLASS_NAMES, PLURAL, USES, screen_words

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TASKS = [pytest.param(task, id=task.name) for task in MINI.tasks]


def test_the_suite_mirrors_the_papers_eight_seen_and_four_unseen_tasks():
    assert [task.title for task in MINI.seen] == [
        "ScienceQA", "ImageNet", "VQAv2", "Grounding",
        "OCR-VQA", "VizWiz-caption", "Flickr30k-caption", "IconQA",
    ]  # fmt: skip
    assert [task.title for task in MINI.unseen] == [
        "A-OKVQA",
        "ImageNet-R",
        "Screen2Words",
        "TabMWP",
    ]


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_depends_on_its_place_alone(task):
    once, again = task.samples("test", 5, seed=3), task.samples("test", 3, seed=3, start=2)
    for one, other in zip(once[2:], again, strict=True):
        assert (one.id, one.question, one.references) == (
            other.id,
            other.question,
            other.references,
        )
        np.testing.assert_array_equal(one.images[0], other.images[0])


@pytest.mark.parametrize("task", TASKS)
def test_no_picture_is_in_two_splits_whatever_the_seed(task):
    pictures = {
        split: {
            s.images[0].tobytes() for seed in (0, 1) for s in task.samples(split, 150, seed=seed)
        }
        for split in SPLITS
    }
    assert not pictures["train"] & pictures["validation"]
    assert not pictures["train"] & pictures["test"]
    assert not pictures["validation"] & pictures["test"]


def test_the_splits_share_out_all_checksums():
    assert sorted(n for bounds in SHARES.values() for n in range(*bounds)) == list(range(100))


@pytest.mark.parametrize("task", TASKS)
def test_ids_are_unique_and_name_task_split_and_seed(task):
    ids = [s.id for split in SPLITS for seed in (0, 1) for s in task.samples(split, 4, seed=seed)]
    assert len(set(ids)) == len(ids)
    assert all(each.startswith(f"{task.name}/") for each in ids)


@pytest.mark.parametrize("task", TASKS)
def test_every_picture_is_drawn_within_its_canvas(task):
    for sample in task.samples("train", 50):
        assert sample.images[0].shape == (48, 48, 3)
        assert sample.images[0].dtype == np.uint8


def test_a_science_answer_is_a_letter_of_its_options():
    for sample in MINI.by_name["science"].samples("test", 200):
        assert sample.choices in (2, 3)
        assert sample.references[0] in "ABC"[: sample.choices]
        assert f"{sample.references[0]} ." in sample.question


def test_lettered_options_do_not_give_the_answer_away():
    letters = [
        s.references[0] for s in MINI.by_name["science"].samples("test", 1000) if s.choices == 3
    ]
    counts = [letters.count(letter) / len(letters) for letter in "ABC"]
    assert max(counts) < 0.45


def test_boxes_are_of_the_thing_that_is_asked_for():
    for sample in MINI.by_name["grounding"].samples("test", 100):
        numbers = [float(part) for part in sample.references[0].strip("[]").split(", ")]
        left, top, right, bottom = (round(48 * n) for n in numbers)
        assert 0 <= left < right <= 48
        assert 0 <= top < bottom <= 48
        color = sample.question.split()[-3]
        from copamerge.suites.mini.draw import COLORS

        inside = (sample.images[0][top:bottom, left:right] == COLORS[color]).all(axis=2)
        everywhere = (sample.images[0] == COLORS[color]).all(axis=2)
        assert inside.sum() == everywhere.sum() > 0


def test_sums_are_of_digits_on_the_table():
    for sample in MINI.by_name["tables"].samples("test", 50):
        assert 0 <= int(sample.references[0]) <= 18


@given(st.lists(st.sampled_from(("button", "picture", "text", "field")), min_size=1, max_size=4))
def test_screen_words_count_every_part(parts):
    words = screen_words(parts)
    for part in set(parts):
        assert part in words
    assert words.count(" and ") == (len(set(parts)) > 1)


@pytest.mark.parametrize("lesson", [*LESSONS, *LATE], ids=lambda lesson: lesson.__name__)
def test_no_lesson_asks_a_seen_task_in_its_own_words(lesson):
    asked = {s.question for task in MINI.tasks for s in task.samples("train", 300)}
    for index in range(100):
        one = made(lesson, lesson.__name__, index, "train", 0)
        assert asked.isdisjoint({one.question, *(question for question, _ in one.more)})


def test_a_lesson_asks_no_question_twice_about_a_picture():
    for lesson in (*LESSONS, *LATE):
        for index in range(50):
            one = made(lesson, lesson.__name__, index, "train", 0)
            questions = [one.question, *(question for question, _ in one.more)]
            assert len(set(questions)) == len(questions) <= 8


def test_every_shape_has_a_class_a_plural_and_a_use():
    assert set(CLASS_NAMES) == set(PLURAL) == set(USES) == set(SHAPES)
    assert len(set(CLASS_NAMES.values())) == len(set(USES.values())) == len(SHAPES)


def test_the_font_has_every_letter_and_digit_once():
    assert set(_FONT) == set(LETTERS) | set(DIGITS)
    assert len(set(_FONT.values())) == len(_FONT)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", SHAPES)
def test_no_two_shapes_look_alike(name, style):
    mine = styled(name, 16, style)
    assert 10 < mine.sum() <= 256
    for other in SHAPES:
        if other != name:
            assert (mine != styled(other, 16, style)).mean() > 0.03


def test_labels_of_patches_follow_the_things():
    labels = patch_labels(
        [Thing("square", "red", Box(0, 0, 16, 16)), Thing("F", "white", Box(41, 40, 46, 47))],
        "brown",
    )
    assert (labels["ground"] == list(GROUNDS).index("brown") + 1).all()
    assert set(labels) == set(HEADS)
    names = labels["name"].reshape(6, 6)
    assert (names[:2, :2] == SHAPES.index("square") + 1).all()
    assert names[5, 5] > 0
    assert (names > 0).sum() == 5
    for head, values in labels.items():
        assert values.min() >= 0
        assert values.max() < HEADS[head]


@pytest.mark.parametrize("lesson", [*LESSONS, *LATE], ids=lambda lesson: lesson.__name__)
def test_every_lesson_has_labels_within_the_heads(lesson):
    for index in range(50):
        one = made(lesson, lesson.__name__, index, "train", 5)
        if one.canvas is not None:
            for head, values in patch_labels(one.canvas.things, one.canvas.ground).items():
                assert values.max() < HEADS[head]


def test_parts_are_drawn_inside_their_boxes():
    from random import Random

    canvas = Canvas.blank(Random(0), "dark", noise=0)
    before = canvas.pixels.copy()
    canvas.part("button", "green", Box(8, 8, 28, 16))
    changed = (canvas.pixels != before).any(axis=2)
    assert changed[8:16, 8:28].any()
    changed[8:16, 8:28] = False
    assert not changed.any()
    assert set(PARTS).isdisjoint(SHAPES)


def test_an_unknown_suite_or_task_is_named_with_a_suggestion():
    with pytest.raises(SuiteError, match=r"suite 'mimi': .*did you mean 'mini'\?"):
        suite_named("mimi")
    with pytest.raises(SuiteError, match=r"task 'sciense': .*did you mean 'science'\?"):
        MINI.pick(["sciense"])
    assert "mini" in SUITES
