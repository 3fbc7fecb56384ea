"""What is known of the eight image sets without their pictures."""

from importlib.resources import files

import pytest
import yaml

from copamerge.suites.clip8._sets import TASKS, image_classes

# Sizes and ends as in FusionBench 0.2.33, fusion_bench/tasks/clip_classification.
EXPECTED = {
    "cars": (196, 8, "AM General Hummer SUV 2000", "smart fortwo Convertible 2012"),
    "dtd": (47, 8, "banded", "zigzagged"),
    "eurosat": (10, 3, "annual crop land", "lake or sea"),
    "gtsrb": (
        43,
        3,
        "red and white circle 20 kph speed limit",
        "white circle with gray strike bar indicating no passing for trucks has ended",
    ),
    "mnist": (10, 1, "0", "9"),
    "resisc45": (45, 18, "airplane", "wetland"),
    "sun397": (397, 2, "abbey", "youth hostel"),
    "svhn": (10, 1, "0", "9"),
}
# A class from the middle of each list, where an entry left out or put in would show.
MIDDLE = {
    "cars": (98, "FIAT 500 Abarth 2012"),
    "dtd": (30, "polka-dotted"),
    "eurosat": (5, "pasture land"),
    "gtsrb": (21, "red and white triangle with black double curve approaching warning"),
    "resisc45": (22, "meadow"),
    "sun397": (206, "jail cell"),
}


def test_there_are_eight_sets_and_a_file_for_each():
    there = {file.name for file in (files("copamerge") / "suites" / "clip8").iterdir()} - {
        "__pycache__"
    }

    assert {name for name in there if name.endswith(".yaml")} == {f"{task}.yaml" for task in TASKS}
    assert set(EXPECTED) == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_classes_and_templates_are_as_many_as_the_source_has(task):
    classes, templates, first, last = EXPECTED[task]
    names = image_classes(task).classes.names

    assert len(names) == classes
    assert len(image_classes(task).classes.templates) == templates
    assert (names[0], names[-1]) == (first, last)
    if task in MIDDLE:
        assert names[MIDDLE[task][0]] == MIDDLE[task][1]


@pytest.mark.parametrize("task", TASKS)
def test_no_class_and_no_template_is_there_twice(task):
    found = image_classes(task)

    assert len(set(found.classes.names)) == len(found.classes.names)
    assert len(set(found.classes.templates)) == len(found.classes.templates)
    assert all(isinstance(name, str) and name == name.strip() != "" for name in found.classes.names)
    for spelled in found.also:
        assert len(set(spelled)) == len(spelled) == len(found.classes.names)
        assert all(isinstance(name, str) for name in spelled)


@pytest.mark.parametrize("task", TASKS)
def test_a_template_has_one_place_for_the_name(task):
    for template in image_classes(task).classes.templates:
        assert template.count("{}") == 1
        assert template.count("{") == template.count("}") == 1


@pytest.mark.parametrize("task", TASKS)
def test_every_list_says_where_it_is_from_and_who_else_was_asked(task):
    found = image_classes(task)

    assert found.source.startswith("FusionBench")
    assert found.checked
    assert found.hub.count("/") == 1
    assert "test" in found.samples


@pytest.mark.parametrize("task", TASKS)
def test_a_file_says_nothing_that_is_not_read(task):
    text = (files("copamerge") / "suites" / "clip8" / f"{task}.yaml").read_text(encoding="utf-8")

    known = "title folder hub config samples source checked notes also templates names".split()
    assert set(yaml.safe_load(text)) <= set(known)


@pytest.mark.parametrize("task", TASKS)
def test_spelling_is_no_difference(task):
    found = image_classes(task)
    names = found.classes.names

    assert found.differences(names) == []
    assert found.differences([name.upper() for name in names]) == []
    assert found.differences([name.replace(" ", "_") for name in names]) == []
    for spelled in found.also:
        assert found.differences(spelled) == []


def test_eurosat_may_say_its_own_names():
    own = "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop"

    found = image_classes("eurosat").differences([*own.split(), "Residential", "River", "SeaLake"])

    assert found == []


def test_sun397_may_file_its_scenes_by_their_initial():
    names = image_classes("sun397").classes.names

    assert image_classes("sun397").differences([f"/{name[0]}/{name}" for name in names]) == []


def test_sun397_sorted_with_slashes_has_two_classes_in_each_others_places():
    names = list(image_classes("sun397").classes.names)
    names[206], names[207] = "/j/jail/indoor", "/j/jail_cell"

    assert image_classes("sun397").differences(names) == [
        "class 206 is '/j/jail/indoor', and here 'jail cell'",
        "class 207 is '/j/jail_cell', and here 'jail indoor'",
        "the same classes in another order",
    ]


def test_gtsrb_sorted_as_text_is_another_order():
    found = image_classes("gtsrb").differences(sorted(map(str, range(43))))

    assert found[0].startswith("class 2 is '10', and here 'red and white circle 50 kph")
    assert found[-2:] == ["and 38 more", "the same classes in another order"]


def test_another_number_of_classes_is_said_as_such():
    assert image_classes("dtd").differences(["banded", "blotchy"]) == ["2 classes, and DTD has 47"]


def test_other_classes_are_named_the_first_three_of_them():
    digits = [f"digit {i}" for i in range(10)]

    assert image_classes("mnist").differences(digits) == [
        "class 0 is 'digit 0', and here '0'",
        "class 1 is 'digit 1', and here '1'",
        "class 2 is 'digit 2', and here '2'",
        "and 7 more",
    ]
