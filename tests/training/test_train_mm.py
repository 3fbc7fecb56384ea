"""From MM-MergeBench's files to adapters, their merge and its answers, by the commands."""

import json

import pytest

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.torch import load_file

from copamerge.bench.zoo import open_zoo
from copamerge.suites import SUITES, suite_named
from suites.mm_data import write_mm_mergebench

QUICK = ("--steps", 2, "--batch", 4, "--rank", 2, "--rate", 1e-2)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_mm_mergebench(tmp_path_factory.mktemp("data") / "mm")


def train(copamerge_cli, data, base, *words):
    return copamerge_cli(
        "train", "--suite", "mm-mergebench", "--data", data, "--base", base, *words
    )


def test_train_two_tasks_and_all_merge_and_evaluate(copamerge_cli, data, tiny_llava, tmp_path):
    zoo = tmp_path / "zoo"
    one = train(copamerge_cli, data, tiny_llava, "--task", "scienceqa,vqav2", "-o", zoo, *QUICK)
    assert (one.code, one.err) == (0, "")
    assert one.out.splitlines()[-1] == f"wrote {zoo}"
    mtl = train(copamerge_cli, data, tiny_llava, "--mtl", "-o", zoo, *QUICK)
    assert (mtl.code, mtl.err) == (0, "")
    assert list(open_zoo(zoo).adapters("shared")) == ["scienceqa", "vqav2"]
    record = json.loads((zoo / "mtl" / "train.json").read_text())
    assert len(record["counts"]) == 8
    assert all(count["used"] == 10 for count in record["counts"].values())  # two are held out
    assert record["counts"]["scienceqa"]["text_only"] == 1
    assert record["made_by"]["frame"] == "pad"
    assert all(len(digest) == 64 for digest in record["made_by"]["data_digests"].values())

    merged = copamerge_cli(
        "merge",
        zoo / "shared" / "scienceqa",
        zoo / "shared" / "vqav2",
        "-m",
        "copa",
        "--modules-to-save",
        "mean",
        "-o",
        tmp_path / "merged",
    )
    assert merged.code == 0, merged.err
    tensors = load_file(tmp_path / "merged" / "adapter_model.safetensors")
    assert sum("multi_modal_projector" in name for name in tensors) == 4

    ran = copamerge_cli(
        "evaluate",
        "--suite",
        "mm-mergebench",
        "--data",
        data,
        "--base",
        tiny_llava,
        "--adapter",
        tmp_path / "merged",
        "--tasks",
        "scienceqa,iconqa",
        "--items",
        2,
        "--json",
    )
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)["results"]["rows"]
    assert {row["task"] for row in rows} == {"scienceqa", "iconqa"}
    assert all(row["points"] is not None for row in rows)


def test_the_prompt_that_is_learned_is_llavas_with_the_picture_first(
    copamerge_cli, data, tiny_llava, tmp_path
):
    words = ("--task", "vqav2", "-o", tmp_path / "zoo", *QUICK)
    assert train(copamerge_cli, data, tiny_llava, *words).code == 0
    example = json.loads((tmp_path / "zoo/shared/vqav2/train.json").read_text())["example"]
    assert example["text"].startswith("A chat between a curious user and an artificial")
    assert "questions. USER: <image>\nWhat colour is it?\nAnswer the" in example["text"]
    assert example["text"].endswith(" ASSISTANT: red</s>")
    assert example["learned"] == " red</s>"


def test_later_turns_of_a_conversation_are_read(data, tmp_path):
    root = write_mm_mergebench(tmp_path / "mm")
    path = root / "instructions" / "VQAv2" / "train.json"
    records = json.loads(path.read_text())
    records[0]["conversations"] += [
        {"from": "human", "value": "And its shape?"},
        {"from": "gpt", "value": "round"},
    ]
    records[1]["conversations"] += [{"from": "human", "value": "And its shape?"}]
    path.write_text(json.dumps(records))
    task = suite_named("mm-mergebench", root).by_name["vqav2"]
    assert task.sample(0, "train", 0).further == (("And its shape?", "round"),)
    assert task.sample(1, "train", 0).further == ()


def test_a_missing_picture_is_named_and_ends_with_two_whenever_asked(
    copamerge_cli, tiny_llava, tmp_path
):
    root = write_mm_mergebench(tmp_path / "mm")
    record = json.loads((root / "instructions/IconQA/train.json").read_text())[0]
    (root / "datasets" / record["image"]).unlink()
    words = ("--task", "iconqa", "-o", tmp_path / "zoo", *QUICK)
    first = train(copamerge_cli, root, tiny_llava, *words)
    again = train(copamerge_cli, root, tiny_llava, *words)
    for ran in (first, again):
        assert ran.code == 2
        assert f"note: iconqa {record['id']}: image" in ran.err
        assert "1 of 10 train samples were left out; train.json names them all" in ran.err
    assert "was there already" in again.out
    assert (tmp_path / "zoo/shared/iconqa/adapter_model.safetensors").is_file()


# --- what cannot be -----------------------------------------------------------------------------


def refused(ran):
    assert ran.code == 2 and "Traceback" not in ran.err
    return [line.removeprefix("error: ") for line in ran.err.splitlines()]


def test_mistakes_are_told_at_once(copamerge_cli, data, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("rank: 0\nraet: 1e-4\nframe: tall\n")
    lines = refused(
        copamerge_cli(
            "train", "--suite", "mm-mergebench", "--data", data, "--task", "sciencqa",
            "--recipe", recipe, "--rate", "-1", "-o", tmp_path / "zoo",
        )
    )  # fmt: skip
    assert lines[0].startswith("task 'sciencqa': the suite 'mm-mergebench' has none of that name")
    text = "\n".join(lines)
    assert f"{recipe}: rank: input should be greater than or equal to 1 (got 0)" in text
    assert f"{recipe}: raet: unknown key; did you mean 'rate'?" in text
    assert f"{recipe}: frame: input should be" in text
    assert "--rate: input should be greater than 0 (got -1.0)" in text
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        ((), "train: say what, as in --suite mm-mergebench or one of mini-base"),
        (("mini-mtl", "--suite", "mini"), "train mini-mtl --suite mini: these are two trainings"),
        (("mini-mtl", "--mtl", "--items", 3), "train mini-mtl: --mtl, --items belongs to"),
        (("mini-bass",), "train 'mini-bass': there is nothing of that name; did you mean"),
        (("--suite", "mm-mergebensh"), "suite 'mm-mergebensh': there is none of that name"),
        (("--suite", "mm-mergebench", "--init", "mine"), "--init 'mine': choose shared or own"),
        (("--suite", "mm-mergebench"), "--base: give the folder of the base model to train on"),
        (("--suite", "mini", "--task", "tables", "--items", 4), "task 'tables': an unseen task"),
        (("--suite", "mini", "--task", "vqa"), "its samples have no end; say how many"),
    ],
)
def test_a_training_that_cannot_be_says_why(words, said, copamerge_cli, tmp_path):
    lines = refused(copamerge_cli("train", *words, "-o", tmp_path / "zoo"))
    assert said in "\n".join(lines)
    assert not (tmp_path / "zoo").exists()


def test_without_an_output_and_with_a_rank_below_one(copamerge_cli, tmp_path):
    assert refused(copamerge_cli("train", "mini-mtl")) == ["train: say where to, as in -o ZOO"]
    ran = copamerge_cli("train", "--suite", "mini", "--rank", 0, "-o", tmp_path / "zoo")
    assert ran.code == 2 and "--rank" in ran.err


def test_no_data_and_a_base_that_is_none(copamerge_cli, data, tiny_llava, tmp_path):
    def lines(data, base):
        words = ("--task", "vqav2", "-o", tmp_path / "zoo")
        return "\n".join(refused(train(copamerge_cli, data, base, *words)))

    assert str(tmp_path / "none") in lines(tmp_path / "none", tiny_llava)
    assert f"{tmp_path / 'none'}: not a model folder" in lines(data, tmp_path / "none")
    assert not (tmp_path / "zoo").exists()


def test_an_interruption_says_that_the_same_command_goes_on(
    copamerge_cli, data, tiny_llava, tmp_path, monkeypatch
):
    from copamerge.training.suite import jobs

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "fit", interrupted)
    ran = train(copamerge_cli, data, tiny_llava, "--task", "vqav2", "-o", tmp_path / "zoo", *QUICK)
    assert ran.code == 130
    assert "the same command goes on from the last checkpoint" in ran.err


def test_every_suite_that_is_answered_in_words_has_tasks_to_train():
    for name in SUITES:
        suite = suite_named(name)
        assert suite.answers == "labels" or suite.seen or name == "mm-general", name
