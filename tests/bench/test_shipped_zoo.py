"""The zoo that ships: whole, small, readable by everybody, and met by its own criteria."""

import json

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("peft")

from copamerge.bench.zoo import MANIFEST, open_zoo
from copamerge.io import open_adapter
from copamerge.suites.mini import MINI

MEGABYTE = 1_000_000
SEEN = [task.name for task in MINI.seen]


@pytest.fixture(scope="module")
def zoo():
    return open_zoo()


def test_every_file_is_what_the_manifest_says_and_all_is_small(zoo):
    assert set(zoo.sets) >= {"shared", "own"}
    assert zoo.mtl is not None
    size = sum(path.stat().st_size for path in zoo.path.rglob("*") if path.is_file())
    assert size < 20 * MEGABYTE


def test_weights_are_safetensors_only(zoo):
    weights = {path.suffix for path in zoo.path.rglob("*") if path.stat().st_size > 100_000}
    assert weights == {".safetensors"}


@pytest.mark.parametrize("name", ["shared", "own"])
def test_a_set_has_one_adapter_for_each_seen_task(zoo, name):
    folders = zoo.adapters(name)
    assert sorted(folders) == sorted(SEEN)
    layers = {tuple(sorted(open_adapter(str(folder)).layers)) for folder in folders.values()}
    assert len(layers) == 1


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_adapters_fit_the_base_in_peft(zoo):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(zoo.base, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, zoo.adapters("own")["vqa"])
    changed = [
        name for name, value in adapted.named_parameters() if "lora_B" in name and value.any()
    ]
    assert len(changed) == 5 * 7


def test_the_manifest_says_how_it_was_made_and_which_criteria_it_meets(zoo):
    manifest = json.loads((zoo.path / MANIFEST).read_text())
    assert manifest["script"] == "runs/mini_zoo.sh"
    found = manifest["criteria"]["found"]
    assert manifest["criteria"]["items"] == 1000
    assert {each["name"] for each in found} >= {"zero-shot, seen mean", "individual-own, vqa"}
