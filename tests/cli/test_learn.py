"""`copamerge learn` and `copamerge tune` from end to end, and what they refuse."""

import json

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("pycocoevalcap")
pytest.importorskip("transformers")
pytest.importorskip("nevergrad")
pytest.importorskip("optuna")

from learn.tiny import make_adapters, make_base, write_lines
from makers import tree


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learn")
    make_base(folder / "base")
    make_adapters(folder / "adapters")
    write_lines(folder / "data.jsonl")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(before)


@pytest.fixture
def own(place):
    """Options for a model and data of one's own."""
    return (
        place / "adapters" / "a", place / "adapters" / "b", "--base", place / "base",
        "--data", place / "data.jsonl", "--max-new-tokens", 3,
    )  # fmt: skip


def test_lorahub_on_one_s_own_data(copamerge_cli, own, tmp_path):
    ran = copamerge_cli("learn", "lorahub", *own, "-o", tmp_path / "o", "--set", "steps=5")

    assert ran.code == 0, ran.err
    assert "best of 6 weights tried" in ran.out and "  a: " in ran.out
    record = json.loads((tmp_path / "o" / "learn.json").read_text())
    assert record["options"]["steps"] == 5 and record["options"]["seed"] == 42
    assert record["data"][0]["samples"] == 5


def test_adamerging_on_the_suite_with_the_zoo(copamerge_cli, tmp_path):
    ran = copamerge_cli(
        "learn", "adamerging", "-o", tmp_path / "o", "--items", 2, "--tasks", "vqa,classes",
        "--set", "steps=2", "--set", "refresh=null", "--json",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    record = json.loads(ran.out)
    assert [set(step["tasks"]) for step in record["steps"]] == [{"vqa", "classes"}] * 2
    assert len(record["coefficients"]) == 8
    assert all(len(each) == 35 for each in record["coefficients"].values())
    assert {one["split"] for one in record["data"]} == {"validation"}


def test_lorahub_on_the_suite_gets_better(copamerge_cli, tmp_path):
    ran = copamerge_cli(
        "learn", "lorahub", "-o", tmp_path / "o", "--items", 3, "--tasks", "ocr",
        "--set", "steps=10", "--json",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    record = json.loads(ran.out)
    assert record["best"]["loss"] < record["steps"][0]["loss"]


def test_pictures_of_one_s_own_reach_an_image_text_base(copamerge_cli, tmp_path):
    from PIL import Image

    from copamerge.bench.zoo import open_zoo
    from copamerge.suites import suite_named

    zoo, lines = open_zoo(), []
    for i, sample in enumerate(suite_named("mini").by_name["vqa"].samples("train", 3)):
        Image.fromarray(sample.images[0]).save(tmp_path / f"{i}.png")
        lines.append({"prompt": sample.question, "image": f"{i}.png"})
    write_lines(tmp_path / "data.jsonl", lines)
    adapters = [zoo.adapters("shared")[name] for name in ("vqa", "classes")]

    ran = copamerge_cli(
        "learn", "adamerging", *adapters, "--base", zoo.base, "--data", tmp_path / "data.jsonl",
        "--set", "steps=2", "-o", tmp_path / "o",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    assert "entropy" in ran.out and "  vqa: " in ran.out


def test_tune_on_one_s_own_data(copamerge_cli, own, tmp_path):
    words = ("tune", *own, "-o", tmp_path / "o", "-m", "ties", "--search", "density=0.1..0.9")

    ran = copamerge_cli(*words, "--trials", 2)
    again = copamerge_cli(*words, "--trials", 3, "--json")

    assert ran.code == again.code == 0, ran.err + again.err
    assert "best of 2 trials" in ran.out and "density = " in ran.out
    assert json.loads(again.out)["trials"] == 3


def test_tune_on_the_suite(copamerge_cli, tmp_path):
    ran = copamerge_cli(
        "tune", "-o", tmp_path / "o", "-m", "mean", "--search", "weights=0..2", "--trials", 1,
        "--items", 2, "--tasks", "vqa", "-q",
    )  # fmt: skip

    assert (ran.code, ran.out) == (0, ""), ran.err
    assert json.loads((tmp_path / "o" / "tune.json").read_text())["best"]["tasks"].keys() == {"vqa"}


@pytest.mark.parametrize(
    "words, facts",
    [
        (("learn", "lorahb", "-o", "o"), ["did you mean 'lorahub'"]),
        (("learn", "lorahub"), ["no output"]),
        (
            ("learn", "lorahub", "-o", "o", "--set", "step=3", "--set", "bound=-1"),
            ["--set step: unknown option; did you mean 'steps'?", "--set bound:"],
        ),
        (
            ("learn", "adamerging", "-o", "o", "--split", "test", "--items", 0, "--tasks", "vqu"),
            ["test split cannot be judged", "items: 0", "did you mean 'vqa'"],
        ),
        (
            ("learn", "lorahub", "-o", "o", "--data", "no.jsonl", "--tasks", "vqa"),
            ["--data and --tasks", "--base", "give the adapters", "no.jsonl: cannot be read"],
        ),
        (("learn", "lorahub", "-o", "o", "--adapter-set", "shard"), ["no set of adapters 'shard'"]),
        (("tune", "-o", "o", "-m", "tis", "--search", "density=0..1"), ["did you mean 'ties'"]),
        (
            ("tune", "-o", "o", "-m", "ties", "--split", "test", "--trials", 0, "--sampler", "x"),
            ["nothing to search", "test split cannot", "trials:", "sampler:"],
        ),
    ],
)
def test_mistakes_are_sentences(copamerge_cli, tmp_path, monkeypatch, words, facts):
    monkeypatch.chdir(tmp_path)

    ran = copamerge_cli(*words)

    assert ran.code == 2 and ran.out == ""
    assert all(line.startswith("error: ") for line in ran.err.splitlines())
    assert all(fact in ran.err for fact in facts), ran.err
    assert list(tmp_path.iterdir()) == []


def test_references_the_metric_cannot_read_are_told_first(copamerge_cli, own, tmp_path):
    ran = copamerge_cli(
        "tune", *own, "-o", tmp_path / "o", "-m", "ties", "--search", "density=0.1..0.9",
        "--metric", "grounding",
    )  # fmt: skip

    assert ran.code == 2 and not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "missing, words",
    [
        ("nevergrad", ("learn", "lorahub", "-o", "o")),
        ("optuna", ("tune", "-o", "o", "--search", "scale=1..2")),
    ],
)
def test_a_missing_extra_is_named(copamerge_cli, monkeypatch, missing, words):
    import copamerge.cli._extras as extras

    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda x: None if x == missing else real(x))

    ran = copamerge_cli(*words)

    assert ran.code == 2
    assert f"{missing} is not installed; pip install 'copamerge[learn]'" in ran.err


def test_an_adapter_of_another_base_is_a_sentence(copamerge_cli, own, tmp_path):
    from makers import make_adapter

    other = make_adapter(tmp_path / "other", {"model.layers.9.self_attn.q_proj": (16, 16)})
    before = tree(tmp_path)

    ran = copamerge_cli("learn", "lorahub", other, *own[2:], "-o", tmp_path / "o")

    assert ran.code == 2 and "is not in the base" in ran.err
    assert tree(tmp_path) == before


def test_an_interrupt_leaves_nothing(copamerge_cli, own, tmp_path, monkeypatch):
    import copamerge.learn.lorahub as module

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_search", stop)

    ran = copamerge_cli("learn", "lorahub", *own, "-o", tmp_path / "o")

    assert ran.code == 130 and "nothing was written" in ran.err
    assert list(tmp_path.iterdir()) == []
