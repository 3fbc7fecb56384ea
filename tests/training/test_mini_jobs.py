"""Training jobs, a few steps long: seeded, resumable, never over something else."""

import json

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.torch import load_file

from copamerge.errors import OutputError, SuiteError
from copamerge.suites.mini import MINI
from copamerge.training.mini import jobs
from copamerge.training.mini.base import BaseRecipe
from copamerge.training.mini.model import Size
from copamerge.training.run import Schedule

QUICK = Schedule(steps=2, batch=4)
TINY = BaseRecipe(
    size=Size(vision_width=16, vision_layers=1, width=16, layers=1, heads=2),
    vision=QUICK,
    align=QUICK,
    words=QUICK,
    language=QUICK,
    forms=QUICK,
    letters=QUICK,
)
TWO = MINI.seen[:2]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def tensors(folder):
    (weights,) = folder.glob("*.safetensors")
    return load_file(weights)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return jobs.train_base(tmp_path_factory.mktemp("zoo") / "base", TINY, seed=0)


def test_a_base_opens_as_any_llava_of_the_hub_does(base):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(base)
    processor = AutoProcessor.from_pretrained(base)
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    sample = MINI.tasks[0].sample(0, "test", 0)
    message = {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": sample.question}],
    }
    text = processor.apply_chat_template([message], add_generation_prompt=True)
    inputs = processor(images=sample.images[0], text=text, return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert answer.shape[1] > inputs["input_ids"].shape[1]


def test_the_record_says_what_made_the_base(base):
    record = json.loads((base / jobs.RECORD).read_text())
    assert record["made_by"]["what"] == "mini-base"
    assert record["made_by"]["language"]["steps"] == 2
    stages = record["stages"]
    assert [stage["stage"] for stage in stages] == [
        "vision",
        "align",
        "words",
        "language",
        "forms",
        "letters",
    ]
    assert all(stage["seconds"] > 0 and stage["loss"] > 0 for stage in stages)
    assert set(record["versions"]) == {"copamerge", "torch", "transformers", "peft"}


def test_a_base_made_with_the_same_settings_is_left_as_it_is(base):
    before = (base / "model.safetensors").stat().st_mtime_ns
    jobs.train_base(base, TINY, seed=0)
    assert (base / "model.safetensors").stat().st_mtime_ns == before


def test_other_settings_or_another_folder_are_refused(base, tmp_path):
    with pytest.raises(OutputError, match=r"base: was trained with other settings"):
        jobs.train_base(base, TINY, seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match=r"mine: already exists and has no train.json"):
        jobs.train_base(tmp_path / "mine", TINY, seed=0)


def test_a_killed_base_goes_on_after_its_last_finished_stage(base, tmp_path):
    out, seen = tmp_path / "base", []

    def stop_in_the_last_stage(stage, step, of, loss):
        seen.append(stage)
        if stage == "letters":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.train_base(out, TINY, seed=0, tell=stop_in_the_last_stage)
    assert not out.exists()
    again = []
    jobs.train_base(out, TINY, seed=0, tell=lambda stage, *_: again.append(stage))
    assert {"vision", "align", "words", "language", "forms", "letters"} == set(seen)
    assert set(again) == {"letters"}
    assert same(tensors(out), tensors(base))
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_adapters_of_a_shared_start_share_their_first_a_and_own_ones_do_not(base, tmp_path):
    # One step at rate (almost) zero leaves A as it began.
    still = Schedule(steps=1, batch=2, rate=1e-12, decay=0)
    first = {}
    for init in ("shared", "own"):
        folders = jobs.train_adapters(
            base, tmp_path / init, tasks=TWO, init=init, rank=2, schedule=still
        )
        first[init] = [
            {key: value for key, value in tensors(folder).items() if "lora_A" in key}
            for folder in folders
        ]
    assert same(*first["shared"])
    assert not same(*first["own"])


def test_the_same_seed_gives_the_same_adapter_and_leaves_the_base_alone(base, tmp_path):
    before = tensors(base)
    one, other = (
        jobs.train_adapters(base, tmp_path / name, tasks=TWO[:1], rank=2, schedule=QUICK)[0]
        for name in ("one", "other")
    )
    assert same(tensors(one), tensors(other))
    assert same(before, tensors(base))
    assert all(value.dtype == torch.float16 for value in tensors(one).values())
    config = json.loads((one / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 4)
    assert config["base_model_name_or_path"] == jobs.BASE_NAME


def test_mtl_is_trained_on_every_seen_task(base, tmp_path):
    folder = jobs.train_mtl(base, tmp_path / "mtl", rank=2, schedule=QUICK)
    record = json.loads((folder / jobs.RECORD).read_text())
    assert record["made_by"]["tasks"] == [task.name for task in MINI.seen]


def test_full_fine_tuning_changes_the_matrices_that_adapters_change_and_nothing_else(
    base, tmp_path
):
    (folder,) = jobs.train_full(base, tmp_path / "full", tasks=TWO[:1], schedule=QUICK)
    before, after = tensors(base), tensors(folder)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 7  # one layer: q, k, v, o, gate, up, down
    assert all(name.startswith("language_model") for name in changed)
    assert all(name.endswith("_proj.weight") for name in changed)


def test_adapters_need_a_base(tmp_path):
    with pytest.raises(SuiteError, match=r"no base model here .*copamerge train mini-base"):
        jobs.train_adapters(tmp_path, tmp_path / "out", schedule=QUICK)


def test_the_command_trains_and_names_mistakes(base, tmp_path, copamerge_cli):
    ran = copamerge_cli(
        "train", "mini-adapters", "--base", base, "--tasks", "vqa", "--rank", 2, "--steps", 1,
        "-o", tmp_path / "zoo",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert (tmp_path / "zoo" / "vqa" / "adapter_model.safetensors").is_file()
    for words, message in (
        (("mini-bass",), "train 'mini-bass': there is nothing of that name; did you mean"),
        (("mini-adapters", "--init", "both"), "--init 'both': choose shared or own"),
        (("mini-adapters", "--tasks", "vga"), "did you mean 'vqa'?"),
        (("mini-adapters", "--tasks", "tables"), "tables: an unseen task"),
    ):
        ran = copamerge_cli("train", *words, "--base", base, "-o", tmp_path / "nothing")
        assert ran.code == 2
        assert message in ran.err
        assert not (tmp_path / "nothing").exists()
