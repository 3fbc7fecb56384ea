"""Image sets: every form reads as the same pictures, and what is malformed is said."""

import hashlib

import numpy as np
import pytest

from copamerge.errors import SuiteError
from copamerge.suites.images import open_image_set
from copamerge.suites.pictures import PictureError, pixels
from pictures_on_disk import NAMES, as_folder, as_npz, as_tables, pictures

SPLITS = ("train", "validation", "test")


@pytest.fixture(params=["npz", "folder", "saved", "parquet"])
def stored(request, tmp_path, monkeypatch):
    x, y, split = pictures()
    if request.param == "npz":
        return as_npz(tmp_path / "set.npz", x, y, split, classes=np.array(NAMES))
    if request.param == "folder":
        return as_folder(tmp_path / "set", x, y, split)
    datasets = pytest.importorskip("datasets", reason="the extra images is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return as_tables(tmp_path / "set", x, y, split, parquet=request.param == "parquet")


def content(images, split):
    """Every picture of a split with its label, in an order of no meaning."""
    return sorted(
        (images.label(split, i), pixels(images.picture(split, i)).tobytes())
        for i in range(images.size(split))
    )


def test_every_form_reads_as_the_same_pictures_and_labels(stored):
    x, y, split = pictures()

    images = open_image_set(stored)

    assert images.names == NAMES
    assert [images.size(part) for part in SPLITS] == [54, 6, 12]
    train = content(images, "train") + content(images, "validation")
    for part, found in (("train", sorted(train)), ("test", content(images, "test"))):
        rows = np.flatnonzero(split == part)
        assert found == sorted((int(y[i]), x[i].tobytes()) for i in rows)


def test_a_set_opens_twice_alike_and_keys_are_unique(stored):
    one, two = open_image_set(stored), open_image_set(stored)

    for part in SPLITS:
        keys = [one.key(part, i) for i in range(one.size(part))]
        assert keys == [two.key(part, i) for i in range(two.size(part))]
        assert len(set(keys)) == len(keys)
        assert one.digest(part) == two.digest(part)
    assert len({one.digest(part) for part in SPLITS}) == 3


def test_a_changed_picture_changes_the_digest(tmp_path):
    x, y, split = pictures()
    before = open_image_set(as_folder(tmp_path / "set", x, y, split)).digest("test")
    x[-1, 0, 0, 0] ^= 1

    after = open_image_set(as_folder(tmp_path / "set", x, y, split)).digest("test")

    assert before != after


def test_names_change_the_digest_and_nothing_else(tmp_path):
    path = as_npz(tmp_path / "a.npz", *pictures())

    one = open_image_set(path, names=["a", "b", "c"])
    two = open_image_set(path, names=["a", "b", "d"])

    assert one.digest("test") != two.digest("test")
    assert content(one, "test") == content(two, "test")


def test_validation_is_of_each_class_the_tenth_with_the_smallest_hashes(tmp_path):
    x, y, split = pictures()
    images = open_image_set(as_folder(tmp_path / "set", x, y, split))

    held = {images.key("validation", i) for i in range(images.size("validation"))}

    for name in NAMES:
        keys = [f"train/{name}/{i:03}.png" for i in range(20)]
        expected = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:2]
        assert {key for key in held if f"/{name}/" in key} == set(expected)


def test_the_first_pictures_of_a_split_are_of_all_classes(tmp_path):
    images = open_image_set(as_npz(tmp_path / "a.npz", *pictures()), names=NAMES)

    assert set(images.labels("train")[:12].tolist()) == {0, 1, 2}


def test_a_validation_part_of_the_set_is_used(tmp_path):
    data = pictures(each={"train": 5, "val": 3, "test": 2})

    images = open_image_set(as_npz(tmp_path / "a.npz", *data), names=NAMES)

    assert [images.size(part) for part in SPLITS] == [15, 9, 6]


def test_a_picture_more_in_one_class_moves_none_of_another(tmp_path):
    before = open_image_set(as_folder(tmp_path / "set", *pictures()))
    extra = tmp_path / "set" / "train" / "light" / "extra.png"
    extra.write_bytes((tmp_path / "set" / "train" / "light" / "000.png").read_bytes())

    after = open_image_set(tmp_path / "set")

    def held(images):
        keys = (images.key("validation", i) for i in range(images.size("validation")))
        return {key for key in keys if "/light/" not in key}

    assert held(before) == held(after)
    assert after.size("train") + after.size("validation") == 61


def test_tables_of_one_part_can_be_divided(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the extra images is not installed")
    datasets.disable_progress_bars()
    x, y, split = pictures(each={"train": 10})
    as_tables(tmp_path / "set", x, y, split)

    images = open_image_set(tmp_path / "set" / "train", divide=True)

    assert [images.size(part) for part in SPLITS] == [21, 3, 6]
    assert images.digest("test") != images.digest("train")


def test_splits_as_numbers(tmp_path):
    x, y, split = pictures()
    numbers = np.where(split == "train", 0, 2)

    images = open_image_set(as_npz(tmp_path / "a.npz", x, y, numbers), names=NAMES)

    assert [images.size(part) for part in SPLITS] == [54, 6, 12]


def test_a_part_with_another_name_can_be_a_split_and_others_are_counted(tmp_path):
    data = pictures(each={"train": 5, "clean": 3, "extra": 2})

    images = open_image_set(
        as_npz(tmp_path / "a.npz", *data), names=NAMES, splits={"test": "clean"}
    )

    assert images.size("test") == 9
    assert images.notes == (f"{tmp_path}/a.npz: 6 pictures of extra are not used",)


def test_a_set_without_test_split_says_what_to_do(tmp_path):
    data = pictures(each={"train": 5})

    with pytest.raises(SuiteError, match=r"no test split \(there: train\).*divide: true"):
        open_image_set(as_npz(tmp_path / "a.npz", *data), names=NAMES)


def test_a_divided_set_has_three_splits_of_every_class(tmp_path):
    data = pictures(each={"": 20})

    images = open_image_set(as_npz(tmp_path / "a.npz", *data), names=NAMES, divide=True)

    assert [images.size(part) for part in SPLITS] == [42, 6, 12]
    assert all(np.bincount(images.labels(part)).min() > 0 for part in SPLITS)
    keys = [images.key(part, i) for part in SPLITS for i in range(images.size(part))]
    assert len(set(keys)) == 60


def test_a_divided_set_of_several_parts_uses_all_of_them(tmp_path):
    images = open_image_set(as_folder(tmp_path / "set", *pictures()), divide=True)

    assert sum(images.size(part) for part in SPLITS) == 72
    everything = [content(images, part) for part in SPLITS]
    x, y, _ = pictures()
    assert sorted([each for some in everything for each in some]) == sorted(
        (int(label), image.tobytes()) for image, label in zip(x, y, strict=True)
    )


def test_a_set_with_test_pictures_only_can_be_asked_and_not_trained_on(tmp_path):
    data = pictures(each={"test": 4})
    images = open_image_set(as_npz(tmp_path / "a.npz", *data), names=NAMES)

    assert [images.size(part) for part in SPLITS] == [0, 0, 12]
    with pytest.raises(SuiteError, match="no train split"):
        images.picture("train", 0)


def test_folders_that_are_numbers_are_in_their_order(tmp_path):
    data = pictures(each={"train": 3, "test": 1})

    images = open_image_set(as_folder(tmp_path / "set", *data, names=("2", "10", "9")))

    assert images.names == ("2", "9", "10")


def test_grey_pictures_become_colour(tmp_path):
    x, y, split = pictures()

    for grey in (x[..., 0], x[..., :1]):
        images = open_image_set(as_npz(tmp_path / "a.npz", grey, y, split), names=NAMES)
        image = pixels(images.picture("test", 0))
        assert image.shape == (8, 8, 3)
        assert (image == image[..., :1]).all()


def test_picture_names_of_an_npz_are_its_keys(tmp_path):
    x, y, split = pictures()
    called = np.array([f"p{i}" for i in range(len(y))])

    images = open_image_set(as_npz(tmp_path / "a.npz", x, y, split, names=called), names=NAMES)

    assert images.key("test", 0).startswith("test/p")


def test_what_is_no_picture_is_counted(tmp_path):
    path = as_folder(tmp_path / "set", *pictures())
    (path / "train" / "dark" / "notes.txt").write_text("x")

    assert open_image_set(path).notes == (f"{path}: not read: 1 (first: train/dark/notes.txt)",)


# --- what is wrong is said, all of it ----------------------------------------------------------


def damaged(**changes):
    x, y, split = pictures()
    arrays = {"x": x, "y": y, "split": split} | changes
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"x": None, "images": np.zeros(2)}, ["no array 'x'"]),
        ({"y": np.zeros(5, int)}, ["5 entries in y for 72 pictures"]),
        ({"y": np.zeros(72)}, ["y is float64"]),
        ({"y": np.full(72, -1)}, ["72 labels in y are below 0"]),
        ({"y": np.full(72, 3)}, ["3 names for 4 classes"]),
        ({"x": np.zeros((72, 8, 8)), "split": np.full(72, 7)}, ["x is float64", "split 7"]),
        ({"split": np.zeros(72)}, ["split is float64"]),
        ({"x": np.zeros((0, 8, 8), np.uint8), "y": np.zeros(0, int), "split": None}, ["no pict"]),
        ({"names": np.array(["same"] * 72)}, ["two pictures are called 'same'"]),
    ],
)
def test_a_malformed_npz(tmp_path, changes, sentences):
    path = tmp_path / "a.npz"
    np.savez(path, **damaged(**changes))

    with pytest.raises(SuiteError) as caught:
        open_image_set(path, names=NAMES)

    for sentence in sentences:
        assert any(sentence in problem for problem in caught.value.problems), caught.value
    assert all(str(path) in problem for problem in caught.value.problems)


def test_a_cut_off_npz(tmp_path):
    path = as_npz(tmp_path / "a.npz", *pictures())
    path.write_bytes(path.read_bytes()[:500])

    with pytest.raises(SuiteError, match="may be cut off"):
        open_image_set(path, names=NAMES)


def test_a_text_called_npz(tmp_path):
    path = tmp_path / "set.npz"
    path.write_text("hello")

    with pytest.raises(SuiteError, match=r"cannot be read as an .npz \(it is none\)"):
        open_image_set(path)


def test_an_npz_of_python_objects_is_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}]), y=np.zeros(1, int))

    with pytest.raises(SuiteError, match="Python objects"):
        open_image_set(tmp_path / "a.npz", names=NAMES)


def test_a_folder_without_classes(tmp_path):
    (tmp_path / "train").mkdir()

    with pytest.raises(SuiteError, match="no folders of classes"):
        open_image_set(tmp_path)


def test_a_set_that_is_not_there(tmp_path):
    with pytest.raises(SuiteError, match="give the folder it lies in by --data"):
        open_image_set(tmp_path / "nowhere")


def test_classes_without_names(tmp_path):
    with pytest.raises(SuiteError, match="does not say what its 3 classes are called"):
        open_image_set(as_npz(tmp_path / "a.npz", *pictures()))


def test_the_sets_own_names_in_another_order_are_refused_and_others_are_taken(stored):
    """Else every label would be another class's, and nothing would say so."""
    with pytest.raises(SuiteError, match="another order: class 0 is 'dark', not 'Light'"):
        open_image_set(stored, names=("Light", "grey", "dark"))

    assert open_image_set(stored, names=("Dark", "grey", "light")).names[0] == "Dark"
    assert open_image_set(stored, names=("night", "dusk", "day")).names[0] == "night"


def test_labels_beyond_the_sets_own_names_are_counted(tmp_path):
    x, y, split = pictures()
    path = as_npz(tmp_path / "set.npz", x, y + 3, split, classes=np.array(NAMES))

    with pytest.raises(SuiteError, match=r"3 names for 6 classes \(labels in y\)"):
        open_image_set(path)


def test_splits_one_folder_deeper_with_unusual_names(tmp_path):
    """Taken for classes, they hold no pictures; what lies there is said."""
    as_folder(tmp_path / "set", *pictures(each={"morning": 3}))

    with pytest.raises(SuiteError, match=r"no pictures in it; not read: 9 \(first: morning/dark"):
        open_image_set(tmp_path / "set")
    with pytest.raises(SuiteError, match="splits: test: 'evening': there is no such part"):
        open_image_set(tmp_path / "set", splits={"test": "evening"})
    assert open_image_set(tmp_path / "set", splits={"test": "morning"}).size("test") == 9


def test_classes_with_equal_names(tmp_path):
    with pytest.raises(SuiteError, match="two classes are called 'a'"):
        open_image_set(as_npz(tmp_path / "a.npz", *pictures()), names=["a", "b", "a"])


def test_a_damaged_picture_is_named_when_it_is_opened(tmp_path):
    images = open_image_set(as_folder(tmp_path / "set", *pictures()))
    images.picture("test", 0).write_bytes(b"no picture")

    with pytest.raises(PictureError, match="not a picture that Pillow can read"):
        pixels(images.picture("test", 0))


def test_tables_with_rows_that_are_wrong(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra images is not installed")
    datasets.disable_progress_bars()
    rows = {"img": [b"no picture"] * 3, "label": ["a", "b", "a"]}
    table = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict({"test": table}).save_to_disk(tmp_path / "set")

    with pytest.raises(SuiteError, match=r"no column 'image'.*image_key and label_key"):
        open_image_set(tmp_path / "set")
    images = open_image_set(tmp_path / "set", image_key="img")
    assert images.names == ("a", "b")
    with pytest.raises(PictureError, match=r"test row .: not a picture"):
        pixels(images.picture("test", 0))


def test_tables_with_labels_out_of_range(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the extra images is not installed")
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict({"image": [b""] * 5, "label": [0, -1, -1, -1, -1]})
    datasets.DatasetDict({"test": table}).save_to_disk(tmp_path / "set")

    with pytest.raises(SuiteError, match="test row 1: label -1"):
        open_image_set(tmp_path / "set", names=["a", "b"])


def test_the_library_of_tables_may_be_missing(tmp_path, monkeypatch):
    (tmp_path / "dataset_dict.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)

    with pytest.raises(Exception, match=r"pip install 'copamerge\[images\]'"):
        open_image_set(tmp_path)


# --- real sets ---------------------------------------------------------------------------------


def test_real_sets_open(pytestconfig):
    root = pytestconfig.rootpath.parent / "shared" / "images"
    if not root.is_dir():
        pytest.skip("no ../shared/images here")

    mnist = open_image_set(root / "mnist" / "data.npz", names=[str(i) for i in range(10)])
    letters = open_image_set(root / "notmnist" / "data.npz", names=list("ABCDEFGHIJ"), divide=True)

    assert [mnist.size(part) for part in SPLITS] == [54001, 5999, 10000]
    assert [letters.size(part) for part in SPLITS] == [7000, 1000, 2000]
    assert pixels(mnist.picture("test", 0)).shape == (28, 28, 3)
