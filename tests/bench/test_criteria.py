"""The criteria of a zoo: each can be met and each can be missed."""

import pytest

from copamerge.bench.criteria import CAP, chance, judge
from copamerge.suites.mini import MINI

CHANCES = {task.name: 10.0 for task in MINI.tasks}


def points(zero=40.0, own=90.0, mtl=85.0, unseen=40.0):
    found = {("mtl", task.name): mtl for task in MINI.tasks}
    found |= {("zero-shot", task.name): zero if task.seen else unseen for task in MINI.tasks}
    return found | {("individual-own", task.name): own for task in MINI.seen}


def missed(found, errors=None):
    return {
        each.name for each in judge(MINI, found, errors or {"mtl": 0.3}, CHANCES) if not each.met
    }


def test_a_good_zoo_meets_them_all():
    assert missed(points()) == set()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"zero": 29.0}, "zero-shot, seen mean"),
        ({"zero": 51.0}, "zero-shot, seen mean"),
        ({"own": 79.0}, "individual-own, seen mean"),
        ({"mtl": 79.0}, "individual-own less mtl, seen mean"),
        ({"unseen": 9.0}, "zero-shot, tables"),
        ({"unseen": 81.0}, "zero-shot, tables"),
    ],
)
def test_each_can_be_missed(change, name):
    assert name in missed(points(**change))


def test_a_task_must_gain_fifteen_points_or_reach_95():
    found = points()
    found["zero-shot", "classes"], found["individual-own", "classes"] = 85.0, 94.0
    assert "individual-own, classes" in missed(found)
    found["individual-own", "classes"] = 95.0
    assert "individual-own, classes" not in missed(found)


def test_an_adapter_that_has_learned_the_commonest_answer_is_not_enough(monkeypatch):
    found = points(zero=30.0)
    found["individual-own", "science"] = 46.0
    assert "individual-own, science, not by luck" not in missed(found)
    monkeypatch.setitem(CHANCES, "science", 38.0)
    assert missed(found) == {"individual-own, science, not by luck"}


def test_captions_above_a_hundred_do_not_make_a_mean_good():
    found = points(own=60.0)
    for name in ("photo_caption", "scene_caption"):
        found["individual-own", name] = 150.0
    names = missed(found)
    assert "individual-own, seen mean" not in names
    assert f"individual-own, seen mean, captions capped at {CAP:g}" in names


def test_the_standard_error_counts():
    assert missed(points(), {"mtl": 0.51}) == {"mtl, standard error of the seen mean"}


def test_chance_is_what_the_answers_to_other_samples_score():
    assert 2 < chance(MINI.by_name["shifted_classes"], 200) < 20
    assert chance(MINI.by_name["ocr"], 200) < 5
