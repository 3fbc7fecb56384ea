"""Suite files of image sets: read whole, opened without data, and every mistake said at once."""

import numpy as np
import pytest

from copamerge.errors import SuiteError
from copamerge.suites import Looking, suite_named
from copamerge.suites.images import set_of
from pictures_on_disk import NAMES, as_folder, as_npz, pictures

FILE = """
suite: images
name: shades
templates: ["a {} square."]
tasks:
  - {name: one, title: One, path: one.npz, names: [dark, grey, light]}
  - {name: two, path: two, seen: false, templates: ["all {}", "so {}"]}
"""


@pytest.fixture
def file(tmp_path):
    as_npz(tmp_path / "one.npz", *pictures(0))
    as_folder(tmp_path / "two", *pictures(1))
    path = tmp_path / "shades.yaml"
    path.write_text(FILE)
    return path


def test_a_file_is_a_suite(file):
    suite = suite_named(str(file))

    assert (suite.name, suite.answers, suite.ships) == ("shades", "labels", False)
    assert [task.name for task in suite.seen] == ["one"]
    assert [task.name for task in suite.unseen] == ["two"]
    assert {task.metric for task in suite.tasks} == {"top1"}
    one, two = suite.tasks
    assert one.title == "One"
    assert one.asking.classes.templates == ("a {} square.",)
    assert two.asking.classes.names == NAMES
    assert two.asking.classes.templates == ("all {}", "so {}")
    assert one.count("test", None) == 12
    sample = one.sample(0, "test", 0)
    assert sample.references[0] in NAMES
    assert sample.id.startswith("one/test/test/")
    assert suite_named(str(file)) is suite
    assert suite_named(suite.opened_as) is suite


def test_a_changed_file_is_read_again(file):
    suite_named(str(file))
    file.write_text(FILE.replace("title: One", "title: Uno"))

    assert suite_named(str(file)).tasks[0].title == "Uno"


def test_opening_reads_no_data(tmp_path):
    path = tmp_path / "shades.yaml"
    path.write_text(FILE)

    suite = suite_named(str(path), tmp_path / "elsewhere")

    assert [task.title for task in suite.tasks] == ["One", "two"]
    with pytest.raises(SuiteError, match=r"task 'one': .*elsewhere/one.npz: no image set is there"):
        suite.tasks[0].count("test", None)


def test_data_may_lie_elsewhere(file, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "one.npz").rename(data / "one.npz")

    assert suite_named(str(file), data).tasks[0].count("test", None) == 12


def test_names_may_be_a_file(file, tmp_path):
    (tmp_path / "names.txt").write_text("dark\ngrey\n\nlight\n")
    file.write_text(FILE.replace("[dark, grey, light]", "names.txt"))

    assert suite_named(str(file)).tasks[0].asking.classes.names == NAMES


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("suite: images", "suite: imagess", "suite: imagess: there is no such kind.*'images'"),
        ("suite: images\n", "", "does not say of what kind it is; write suite: images"),
        ("title: One", "tittle: One", "tasks.0.tittle: unknown key; did you mean 'title'"),
        ("name: shades\n", "", "name: missing; write what results call the suite"),
        ("name: shades", "name: mini", "'mini' is a suite of copamerge"),
        ("path: two,", "", "tasks.1.path: missing; write where its image set lies"),
        ("name: two", "name: one", "two tasks are called 'one'"),
        ('"so {}"', '"so"', "one {} where the name stands .got 'so'"),
        ("[dark, grey, light]", "names.txt", "names.txt is no file of names"),
        ("[dark, grey, light]", "[dark, no, light]", "names.*text .got False.; put it in quotes"),
        ("seen: false", "seen: perhaps", "tasks.1.seen: expected true or false"),
        ("path: two", "path: two, kind: foldr", "expected one of folder.*did you mean 'folder'"),
        ("name: two", "name: a/b", "tasks.1.name"),
        ("tasks:", "tasks: [", "not valid YAML"),
        ("tasks:", "name: x\ntasks:", "'name' is written twice"),
        (FILE, "", "an empty file"),
        (FILE, "- 1", "got a list"),
    ],
)
def test_a_malformed_file(file, old, new, sentence):
    assert old in FILE
    file.write_text(FILE.replace(old, new))

    with pytest.raises(SuiteError, match=sentence) as caught:
        suite_named(str(file))

    assert all(problem.startswith(str(file)) for problem in caught.value.problems)


def test_all_mistakes_are_said_at_once(file):
    file.write_text(FILE.replace("title", "tittle").replace("seen: false", "seen: perhaps"))

    with pytest.raises(SuiteError) as caught:
        suite_named(str(file))

    assert len(caught.value.problems) == 2


def test_a_file_that_is_not_there():
    with pytest.raises(SuiteError, match="no such file"):
        suite_named("nowhere.yaml")


def test_a_set_with_other_classes_than_the_file_says(file, tmp_path):
    x, y, split = pictures()
    as_npz(tmp_path / "one.npz", x, y + np.where(y == 2, 2, 0), split)

    with pytest.raises(SuiteError, match=r"task 'one': .*3 names for 5 classes"):
        suite_named(str(file)).tasks[0].count("test", None)


def test_the_check_of_good_sets_finds_nothing(file):
    suite = suite_named(str(file))

    one, two = suite.check(suite.tasks, Looking(images=2, opened=True))

    assert one.counts == {"test": 12, "validation": 6, "train": 54}
    assert (one.images, one.problems, one.notes, two.problems) == (6, (), (), ())


def test_the_check_names_what_is_missing_and_does_not_open(file, tmp_path):
    suite = suite_named(str(file))
    (tmp_path / "one.npz").unlink()
    (tmp_path / "two" / "test" / "dark" / "000.png").write_bytes(b"no picture")
    images = set_of(suite.tasks[1])
    images.picture("train", 0).unlink()

    one, two = suite.check(suite.tasks, Looking(opened=True))

    assert one.counts["test"] is None
    assert "no image set is there" in one.problems[0]
    assert len(two.problems) == 2
    assert "dark/000.png: not a picture" in two.problems[0]
    assert "not there" in two.problems[1]


def test_the_check_counts_classes_without_pictures(file, tmp_path):
    x, y, split = pictures()
    keep = (y != 1) | (split == "train")
    as_npz(tmp_path / "one.npz", x[keep], y[keep], split[keep])

    (one,) = suite_named(str(file)).check(suite_named(str(file)).tasks[:1], Looking())

    assert one.notes == ("task 'one', test: 1 of 3 classes have no picture (first: 'grey')",)
