"""The suite clip8 on tiny sets in the layout of the Hub's copies."""

import numpy as np
import pytest
from clip8_data import pictures, write_clip8, write_clip8_arrays

from copamerge.errors import SuiteError
from copamerge.suites import Looking, suite_named
from copamerge.suites.clip8 import TASKS, image_classes
from copamerge.suites.images import set_of
from copamerge.suites.pictures import pixels
from pictures_on_disk import as_folder, as_npz, as_tables


@pytest.fixture
def needs_datasets():
    pytest.importorskip("datasets", reason="writes sets of the `datasets` library")


def opened(root):
    return suite_named("clip8", root)


def problems_of(task):
    with pytest.raises(SuiteError) as caught:
        task.count("test", None)
    return caught.value.problems


def test_the_suite_opens_without_data():
    suite = suite_named("clip8")

    assert suite.answers == "labels"
    assert suite.averaged and not suite.ships and suite.items is None
    assert [task.title for task in suite.tasks] == (
        "Cars DTD EuroSAT GTSRB MNIST RESISC45 SUN397 SVHN".split()
    )
    assert all(task.seen and task.metric == "top1" for task in suite.tasks)
    for task in suite.tasks:
        assert task.asking.classes == image_classes(task.name).classes


def test_what_is_asked_without_data_says_how_to_give_it():
    assert problems_of(suite_named("clip8").by_name["dtd"]) == [
        "suite 'clip8': its images lie in a folder; give it by --data"
    ]


def test_a_root_that_is_not_there(tmp_path):
    found = problems_of(opened(tmp_path / "nowhere").by_name["dtd"])

    assert len(found) == 1 and "nowhere: no such folder" in found[0]


def test_all_sets_that_are_missing_are_named_at_once(tmp_path):
    (tmp_path / "gtsrb").mkdir()

    found = problems_of(opened(tmp_path).by_name["dtd"])

    assert len(found) == 7
    assert found[0] == (
        f"task 'cars': {tmp_path / 'stanford_cars'}: no image set is there; "
        "fetch tanganke/stanford_cars, or say in clip8.yaml where it lies"
    )
    assert "fetch ufldl-stanford/svhn (cropped_digits)" in found[-1]
    assert not any("gtsrb" in problem for problem in found)


@pytest.mark.usefixtures("needs_datasets")
def test_eight_sets_below_one_folder_are_read(tmp_path):
    suite = opened(write_clip8(tmp_path))

    for task in suite.tasks:
        x, y, split = pictures(task.name)
        names = image_classes(task.name).classes.names
        # Of each class one picture of five is held out for validation.
        assert [task.count(part, None) for part in ("train", "validation", "test")] == [16, 4, 8]
        samples = task.samples("test", 8)
        assert len({sample.id for sample in samples}) == 8
        assert all(sample.id.startswith(f"{task.name}/test/") for sample in samples)
        found = sorted((pixels(s.images[0]).tobytes(), s.references) for s in samples)
        assert found == sorted(
            (x[i].tobytes(), (names[y[i]],)) for i in np.flatnonzero(split == "test")
        )


@pytest.mark.usefixtures("needs_datasets")
def test_one_set_is_enough_for_its_own_task(tmp_path):
    suite = opened(write_clip8(tmp_path, ["eurosat"]))

    assert suite.by_name["eurosat"].count("test", None) == 8
    assert len(problems_of(suite.by_name["svhn"])) == 7


@pytest.mark.usefixtures("needs_datasets")
def test_names_that_are_spelled_otherwise_are_the_same_classes(tmp_path):
    own = image_classes("eurosat").also[0]
    suite = opened(write_clip8(tmp_path, ["eurosat"], names={"eurosat": own}))

    first = suite.by_name["eurosat"].samples("test", 8)

    # What is asked and scored are the words for CLIP, not the set's.
    assert {sample.references[0] for sample in first} <= set(image_classes("eurosat").classes.names)


@pytest.mark.usefixtures("needs_datasets")
def test_label_ids_in_another_order_are_refused_with_the_classes(tmp_path):
    names = list(image_classes("sun397").classes.names)
    names[206], names[207] = names[207], names[206]
    root = write_clip8(tmp_path, ["sun397"], names={"sun397": names})

    assert problems_of(opened(root).by_name["sun397"]) == [
        f"task 'sun397': {root / 'sun397'}: not the classes of SUN397: "
        "class 206 is 'jail indoor', and here 'jail cell'; "
        "class 207 is 'jail cell', and here 'jail indoor'; the same classes in another order "
        "(take tanganke/sun397, whose label ids are meant, or name another folder in clip8.yaml)"
    ]


@pytest.mark.usefixtures("needs_datasets")
def test_another_set_in_its_folder_is_refused(tmp_path):
    as_tables(tmp_path / "dtd", *pictures("mnist"), names=image_classes("mnist").classes.names)

    (problem,) = problems_of(opened(tmp_path).by_name["dtd"])

    assert "not the classes of DTD: 10 classes, and DTD has 47" in problem


def test_sets_as_arrays_by_a_file_that_says_so(tmp_path):
    suite = opened(write_clip8_arrays(tmp_path))

    assert [task.count("test", None) for task in suite.tasks] == [8] * 8


def test_a_set_without_names_is_taken_as_it_is_and_that_is_noted(tmp_path):
    as_npz(tmp_path / "mnist.npz", *pictures("mnist"))
    (tmp_path / "clip8.yaml").write_text("mnist: mnist.npz\n")
    suite = opened(tmp_path)

    (found,) = suite.check(suite.pick(["mnist"]), Looking())

    assert suite.by_name["mnist"].count("test", None) == 8
    assert not found.problems
    assert any(
        "its classes have no names; they are taken to be in the order of ylecun/mnist" in note
        for note in found.notes
    )


def test_a_set_without_names_and_with_too_many_classes(tmp_path):
    x, y, split = pictures("mnist")
    as_npz(tmp_path / "mnist.npz", x, np.where(y == 9, 12, y), split)
    (tmp_path / "clip8.yaml").write_text("mnist: mnist.npz\n")

    (problem,) = problems_of(opened(tmp_path).by_name["mnist"])

    assert "10 names for 13 classes" in problem


def test_folders_have_no_label_ids_so_their_names_say_the_class(tmp_path):
    pytest.importorskip("PIL")
    names = image_classes("cars").classes.names
    # All classes have a folder; in alphabetical order they are not in that of the label ids.
    for name in names:
        (tmp_path / "stanford_cars" / "test" / name.replace("/", "_")).mkdir(parents=True)
    x, y, split = pictures("cars", {"test": 2})
    as_folder(
        tmp_path / "stanford_cars", x, y, split, names=[name.replace("/", "_") for name in names]
    )

    samples = opened(tmp_path).by_name["cars"].samples("test", 8)

    assert sorted(set(names)) != list(names)
    found = sorted((pixels(s.images[0]).tobytes(), s.references) for s in samples)
    assert found == sorted((x[i].tobytes(), (names[y[i]],)) for i in range(8))


@pytest.mark.parametrize("task", ["gtsrb", "eurosat"])
def test_folders_may_have_the_sets_own_names(task, tmp_path):
    pytest.importorskip("PIL")
    known = image_classes(task)
    own = known.also[0 if task == "eurosat" else 1]
    assert own[2] in ("HerbaceousVegetation", "00002")
    for name in own:
        (tmp_path / known.folder / "test" / name).mkdir(parents=True)
    x, y, split = pictures(task, {"test": 2})
    as_folder(tmp_path / known.folder, x, y, split, names=own)

    samples = opened(tmp_path).by_name[task].samples("test", 8)

    found = sorted((pixels(s.images[0]).tobytes(), s.references) for s in samples)
    assert found == sorted((x[i].tobytes(), (known.classes.names[y[i]],)) for i in range(8))


@pytest.mark.usefixtures("needs_datasets")
def test_a_whole_copy_of_svhn_is_read_from_its_cropped_digits(tmp_path):
    names = image_classes("svhn").classes.names
    as_tables(tmp_path / "svhn" / "cropped_digits", *pictures("svhn"), names=names)

    task = opened(tmp_path).by_name["svhn"]

    assert set_of(task).path == tmp_path / "svhn" / "cropped_digits"


@pytest.mark.usefixtures("needs_datasets")
@pytest.mark.parametrize(
    "task, below", [("gtsrb", "data"), ("mnist", "mnist"), ("svhn", "cropped_digits")]
)
def test_parquet_files_as_they_lie_on_the_hub(task, below, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    known = image_classes(task)
    parts = pictures(task, {"train": 5, "test": 2, "contrast": 1})
    as_tables(tmp_path / "made", *parts, names=known.classes.names, parquet=True)
    (tmp_path / "root" / known.folder).mkdir(parents=True)
    (tmp_path / "made" / "data").rename(tmp_path / "root" / known.folder / below)
    suite = opened(tmp_path / "root")

    (found,) = suite.check(suite.pick([task]), Looking(opened=True))

    assert found.counts == {"test": 8, "validation": 4, "train": 16}
    assert not found.problems


@pytest.mark.usefixtures("needs_datasets")
def test_a_place_may_say_columns_and_splits(tmp_path):
    x, y, split = pictures("dtd", {"train": 5, "holdout": 2})
    as_tables(tmp_path / "textures", x, y, split, names=image_classes("dtd").classes.names)
    (tmp_path / "clip8.yaml").write_text("dtd: {path: textures, splits: {test: holdout}}\n")

    assert opened(tmp_path).by_name["dtd"].count("test", None) == 8


def test_a_malformed_clip8_yaml_is_told_with_every_problem(tmp_path):
    (tmp_path / "clip8.yaml").write_text("dtdd: x\nsvhn: {pth: y}\nmnist: 3\n")

    found = problems_of(opened(tmp_path).by_name["dtd"])

    assert any("dtdd: unknown key; did you mean 'dtd'?" in problem for problem in found)
    assert any("svhn.pth: unknown key; did you mean 'path'?" in problem for problem in found)
    assert any("mnist: expected a mapping" in problem for problem in found)


def test_an_empty_clip8_yaml_says_what_is_expected(tmp_path):
    (tmp_path / "clip8.yaml").write_text("")

    (problem,) = problems_of(opened(tmp_path).by_name["dtd"])

    assert "expected a place for some of cars, dtd" in problem


def test_a_check_names_each_missing_set_once_with_its_own_task(tmp_path):
    suite = opened(write_clip8_arrays(tmp_path, ["mnist", "svhn"]))

    found = {one.task: one for one in suite.check(suite.tasks, Looking())}

    assert list(found) == list(TASKS)
    for task in TASKS:
        assert len(found[task].problems) == (0 if task in ("mnist", "svhn") else 1)
    assert found["mnist"].counts == {"test": 8, "validation": 4, "train": 16}
    assert any(
        "8 test pictures, and published numbers are of the 10000 in ylecun/mnist" in note
        for note in found["mnist"].notes
    )


def test_a_check_of_no_folder_says_so_once(tmp_path):
    for suite in (suite_named("clip8"), suite_named("clip8", tmp_path / "none")):
        with pytest.raises(SuiteError, match="--data") as caught:
            suite.check(suite.tasks, Looking())
        assert len(caught.value.problems) == 1


@pytest.mark.usefixtures("needs_datasets")
def test_the_digest_is_of_the_pictures_and_their_classes(tmp_path):
    one = opened(write_clip8(tmp_path / "one", ["mnist"])).by_name["mnist"]
    same = opened(write_clip8(tmp_path / "same", ["mnist"])).by_name["mnist"]
    more = opened(write_clip8(tmp_path / "more", ["mnist"], {"train": 5, "test": 3})).by_name[
        "mnist"
    ]

    assert one.digest("train") == one.digest("train")
    assert one.digest("test") == same.digest("test")
    assert one.digest("test") != more.digest("test")
