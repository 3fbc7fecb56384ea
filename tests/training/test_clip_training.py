"""CLIP on image sets end to end: from nothing to a base, adapters, merges and points."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_model import make_clip, two_sets
from copamerge.errors import OutputError, SuiteError
from copamerge.suites import suite_named
from pictures_on_disk import as_npz, pictures

pytest.importorskip("peft")

from copamerge.training.clip import (
    ClipRecipe,
    PretrainRecipe,
    pretrain,
    train_clip,
)
from copamerge.training.clip.pretrain import contrastive
from copamerge.training.clip.rows import Drawn
from copamerge.training.clip.words import LENGTH, build_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
SMALL = PretrainRecipe(
    side=8, patch=4, width=16, layers=2, heads=2, together=16, steps=30, batch=24, rate=3e-3
)
QUICK = ClipRecipe(rank=2, alpha=4, steps=12, batch=16, rate=1e-2, dropout=0.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return two_sets(tmp_path_factory.mktemp("sets"), third=True)


@pytest.fixture(scope="module")
def suite(file):
    return suite_named(str(file))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, suite):
    """A zoo as a user would make it."""
    folder = tmp_path_factory.mktemp("zoo") / "zoo"
    pretrain(suite, folder / "base", SMALL)
    train_clip(suite, suite.seen, folder / "base", folder, QUICK)
    train_clip(suite, suite.seen, folder / "base", folder, QUICK, mtl=True)
    return folder


def tensors(folder):
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def test_the_whole_way_from_sets_to_points(zoo, file, tmp_path, copamerge_cli):
    ran = copamerge_cli(
        "bench", file, "--zoo", zoo, "--methods", "mean,ties", "-o", tmp_path / "run", "-q"
    )

    assert ran.code == 0, ran.err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    rows = {(x["model"], x["task"]): x for x in results["rows"] if x["mode"] == "corrected"}
    models = {model for model, _ in rows}
    assert models == {"zero-shot", "individual", "mtl", "mean", "ties"}
    assert {task for _, task in rows} == {"one", "two", "three"}
    assert rows["mtl", "three"]["seen"] is False
    # 12 pictures of three shades of grey: whoever learned something sees them.
    assert rows["individual", "one"]["points"] > 60
    assert rows["mean", "one"]["items"] == 12


def test_the_adapter_is_on_the_vision_tower_and_starts_from_one_a(zoo):
    one, two = tensors(zoo / "shared" / "one"), tensors(zoo / "shared" / "two")

    assert all("vision_model" in name for name in one)
    assert {name.rsplit(".", 3)[-3] for name in one} == {"q_proj", "v_proj"}
    assert one.keys() == two.keys()
    apart = [name for name in one if not torch.equal(one[name], two[name])]
    assert apart
    config = json.loads((zoo / "shared" / "one" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 4)


def test_the_record_says_what_made_it(zoo):
    record = json.loads((zoo / "mtl" / "train.json").read_text())

    assert record["made_by"]["tasks"] == ["one", "two"]
    assert record["made_by"]["recipe"]["steps"] == 12
    assert record["steps"] == 24
    assert record["counts"] == {"one": {"used": 54, "of": 54}, "two": {"used": 54, "of": 54}}
    assert record["skipped"] == []
    assert record["versions"]["peft"]
    base = json.loads((zoo / "base" / "train.json").read_text())
    assert base["made_by"]["what"] == "clip-base"
    assert base["stages"][0]["loss"] > 0


def test_the_same_training_gives_the_same_adapter(zoo, suite, tmp_path):
    train_clip(suite, suite.pick(["one"]), zoo / "base", tmp_path, QUICK)

    again, first = tensors(tmp_path / "shared" / "one"), tensors(zoo / "shared" / "one")
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_what_is_there_is_not_trained_again(zoo, suite):
    before = (zoo / "shared" / "one" / "adapter_model.safetensors").stat().st_mtime_ns

    (made,) = train_clip(suite, suite.pick(["one"]), zoo / "base", zoo, QUICK)

    assert not made.is_new
    assert (made.path / "adapter_model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match=r"other settings \(rank\)"):
        train_clip(
            suite, suite.pick(["one"]), zoo / "base", zoo, QUICK.model_copy(update={"rank": 3})
        )


def test_an_interrupted_training_goes_on_to_the_same_end(zoo, suite, tmp_path):
    def stop(what, step, of, loss):
        if step >= 6:
            raise KeyboardInterrupt

    pick = suite.pick(["one"])
    with pytest.raises(KeyboardInterrupt):
        train_clip(suite, pick, zoo / "base", tmp_path, QUICK, stop, save_every=2)
    assert not (tmp_path / "shared" / "one").exists()
    with pytest.raises(OutputError, match=r"interrupted here \(rate\)"):
        other = QUICK.model_copy(update={"rate": 0.5})
        train_clip(suite, pick, zoo / "base", tmp_path, other)
    seen = []

    train_clip(suite, pick, zoo / "base", tmp_path, QUICK, lambda *a: seen.append(a[1]))

    assert min(seen) > 4
    again, first = tensors(tmp_path / "shared" / "one"), tensors(zoo / "shared" / "one")
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert not list((tmp_path / "shared").glob(".one*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_does_not_open_is_left_out_and_named(tmp_path, workers):
    file = two_sets(tmp_path)
    suite = suite_named(str(file))
    two = suite.pick(["two"])
    from copamerge.suites.images import set_of

    set_of(two[0]).picture("train", 3).write_bytes(b"no picture")
    base = make_clip(tmp_path / "base")

    (made,) = train_clip(suite, two, base, tmp_path / "zoo", QUICK, workers=workers)

    (skipped,) = made.skipped
    assert skipped["task"] == "two"
    assert "not a picture that Pillow can read" in skipped["reason"]
    assert made.record["counts"] == {"two": {"used": 53, "of": 54}}


def test_what_cannot_be_trained_is_said_at_once(suite, tmp_path):
    as_npz(tmp_path / "one.npz", *pictures(each={"test": 2}))
    shutil.copy(suite.file, tmp_path / "shades.yaml")
    poor = suite_named(str(tmp_path / "shades.yaml"))

    with pytest.raises(SuiteError) as caught:
        train_clip(poor, poor.tasks, make_clip(tmp_path / "base"), tmp_path / "zoo")

    text = str(caught.value)
    assert "task 'three': an unseen task gets no adapter" in text
    assert "task 'one': its train split has no samples" in text
    assert "task 'two': " in text
    assert not (tmp_path / "zoo").exists()


def test_recipes_refuse_layers_that_are_none():
    with pytest.raises(ValueError, match="'mlp' is no layer of a tower's block"):
        ClipRecipe(targets=("mlp",))


def test_rows_come_from_the_tasks_in_turn_and_each_picture_before_one_again(suite, zoo, tmp_path):
    from copamerge.bench.clip import open_clip

    _, processor = open_clip(zoo / "base")
    rows = Drawn(suite.seen, processor, 200, items=10, seed=0, log=tmp_path / "skipped")

    drawn = [rows[i] for i in range(40)]

    assert [row["task"] for row in drawn[:4]] == [0, 1, 0, 1]
    assert rows.counts == {"one": {"used": 10, "of": 10}, "two": {"used": 10, "of": 10}}
    first = [row["pixel_values"] for row in drawn[0:20:2]]
    assert len({image.numpy().tobytes() for image in first}) == 10


def test_right_captions_are_shared_by_a_kind():
    """By plain numpy: targets are spread evenly over equal kinds, rows and columns alike."""
    logits = np.random.default_rng(0).normal(size=(5, 5))
    kind = np.array([0, 1, 0, 2, 1])

    def one(scores):
        total = 0.0
        for i in range(5):
            probability = np.exp(scores[i]) / np.exp(scores[i]).sum()
            same = [j for j in range(5) if kind[j] == kind[i]]
            total -= sum(np.log(probability[j]) for j in same) / len(same)
        return total / 5

    found = contrastive(torch.tensor(logits), torch.tensor(kind))

    assert float(found) == pytest.approx((one(logits) + one(logits.T)) / 2)


def test_the_tokenizer_spells_what_it_does_not_know():
    from copamerge.suites import Classes

    tokenizer = build_tokenizer([Classes(("cat", "dog"), ("a photo of a {}.",))])

    assert tokenizer.tokenize("A cat.") == ["a", "cat", "."]
    assert tokenizer.tokenize("cow 7") == ["c", "##o", "##w", "7"]
    read = tokenizer("a cat")["input_ids"]
    assert (read[0], read[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.eos_token_id != 2
    assert tokenizer.model_max_length == LENGTH


def test_the_command_trains_a_zoo(file, zoo, tmp_path, copamerge_cli):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{rank: 2, alpha: 4, dropout: 0.0, rate: 0.01}")
    words = ("train", "--suite", file, "--base", zoo / "base", "-o", tmp_path / "zoo")
    options = ("--recipe", recipe, "--steps", 12, "--batch", 16)

    ran = copamerge_cli(*words, *options, "--task", "one")

    assert ran.code == 0, ran.err
    assert "54 samples" in ran.out
    first, again = tensors(zoo / "shared" / "one"), tensors(tmp_path / "zoo" / "shared" / "one")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert copamerge_cli(*words, *options, "--mtl", "--steps", 1).code == 0
    assert (tmp_path / "zoo" / "mtl" / "adapter_config.json").is_file()


def test_the_command_says_all_that_is_wrong(file, tmp_path, copamerge_cli):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{rnak: 2, dropout: 7, targets: [mlp]}")
    words = ("train", "--suite", file, "-o", tmp_path / "zoo", "--recipe", recipe)

    ran = copamerge_cli(*words, "--epochs", 2, "--task", "ones", "--batch-per-device", 2)

    assert ran.code == 2
    for sentence in (
        "rnak: unknown key; did you mean 'rank'",
        "dropout: ",
        "targets: 'mlp' is no layer of a tower's block",
        "--epochs: ",
        "--batch-per-device: ",
        "--base: give the folder of the CLIP model",
        "'ones'",
    ):
        assert sentence in ran.err
    assert not (tmp_path / "zoo").exists()


def test_the_data_of_a_suite_file_can_be_checked(file, tmp_path, copamerge_cli):
    assert copamerge_cli("data", "check", "--suite", file, "--open").code == 0
    broken = two_sets(tmp_path)
    (tmp_path / "one.npz").unlink()

    ran = copamerge_cli("data", "check", "--suite", broken)

    assert ran.code == 2
    assert "no image set is there" in ran.out + ran.err


@pytest.mark.slow
def test_the_run_on_image_sets_goes_through_on_small_ones(tmp_path, monkeypatch, pytestconfig):
    """runs/images.py as it is, but for its sets and its sizes."""
    import importlib.util

    place = pytestconfig.rootpath / "runs" / "images.py"
    spec = importlib.util.spec_from_file_location("run_on_images", place)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    small = {
        "SUITE": str(two_sets(tmp_path, third=True)),
        "STEPS": (2, 4),
        "ENOUGH": 1000.0,
        "BASE": SMALL,
        "ADAPTER": QUICK.model_copy(update={"steps": 3}),
        "METHODS": ("mean",),
    }
    for name, value in small.items():
        monkeypatch.setattr(script, name, value)
    for words in ([], ["--seed", "1"], []):
        argv = ["images.py", str(tmp_path / "out"), "--data", str(tmp_path), *words]
        monkeypatch.setattr("sys.argv", argv)
        assert script.main() == 0

    for name in ("published", "published-1", "norm_match", "norm_match-1"):
        lines = (tmp_path / "out" / f"{name}.md").read_text().splitlines()
        models = [line.split("|")[1].strip() for line in lines[2:]]
        assert models == ["zero-shot", "individual", "mtl", "mean"]
        assert "".join(lines[2:]).count(" - ") == 1  # nobody was trained on the unseen set
    assert (tmp_path / "out" / "bases" / "4" / "config.json").is_file()


def test_the_suite_file_of_the_run_is_well_formed(pytestconfig):
    suite = suite_named(str(pytestconfig.rootpath / "runs" / "images.yaml"), Path("nowhere"))

    sizes = {task.name: len(task.asking.classes.names) for task in suite.tasks}
    assert sizes == {"mnist": 10, "fashion": 10, "notmnist": 10, "signs": 10, "omniglot": 136}
    assert [task.name for task in suite.unseen] == ["omniglot"]


def test_a_base_that_is_no_clip_leaves_nothing(tmp_path):
    from copamerge.training.clip import train_clip

    suite = suite_named(str(two_sets(tmp_path)))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text('{"model_type": "llava"}')

    with pytest.raises(SuiteError, match="this is of type 'llava'"):
        train_clip(suite, suite.tasks, tmp_path / "base", tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()
