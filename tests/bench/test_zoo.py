"""A zoo is what its manifest says, or is not used."""

import json
import shutil
from pathlib import Path

import pytest
from echo import MINI, plain_adapter

from copamerge.bench import zoo as zoos
from copamerge.bench.zoo import open_zoo, write_manifest
from copamerge.errors import SuiteError


def test_a_zoo_has_a_base_and_sets_of_adapters(plain_zoo: Path) -> None:
    zoo = open_zoo(plain_zoo)

    assert zoo.base == plain_zoo / "base"
    assert zoo.mtl == plain_zoo / "mtl"
    assert zoo.sets == ("own", "shared")
    assert set(zoo.adapters("own")) == {task.name for task in MINI.seen}
    assert zoo.adapters("own")["vqa"] == plain_zoo / "own" / "vqa"
    with pytest.raises(SuiteError, match="did you mean 'shared'"):
        zoo.adapters("shard")


def test_sets_may_lie_deeper_and_mtl_may_be_missing(plain_zoo: Path) -> None:
    plain_adapter(plain_zoo / "ranks" / "8" / "vqa")
    shutil.rmtree(plain_zoo / "mtl")
    write_manifest(plain_zoo)

    zoo = open_zoo(plain_zoo)

    assert zoo.adapters("ranks/8") == {"vqa": plain_zoo / "ranks" / "8" / "vqa"}
    assert zoo.mtl is None


def test_the_manifest_says_where_a_zoo_is_from(plain_zoo: Path) -> None:
    write_manifest(plain_zoo, script="runs/zoo.sh", criteria={"zero_shot": [30, 50]})

    content = json.loads((plain_zoo / "manifest.json").read_text())

    assert content["script"] == "runs/zoo.sh"
    assert content["criteria"] == {"zero_shot": [30, 50]}
    assert content["files"]["base/config.json"]["bytes"] == 22
    assert "manifest.json" not in content["files"]


def test_every_file_that_differs_is_named_with_a_remedy(plain_zoo: Path) -> None:
    weights = plain_zoo / "shared" / "vqa" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (plain_zoo / "base" / "config.json").write_text("{}")
    (plain_zoo / "own" / "ocr" / "adapter_config.json").unlink()
    (plain_zoo / "shared" / "notes.txt").write_text("mine")

    with pytest.raises(SuiteError) as caught:
        open_zoo(plain_zoo)

    assert caught.value.problems == [
        f"{plain_zoo}/base/config.json: 2 bytes, the manifest says 22; copy it again from where "
        "the zoo came from",
        f"{weights}: its hash is not the manifest's; copy it again from where the zoo came from",
        f"{plain_zoo}/own/ocr/adapter_config.json: missing; copy it again from where the zoo "
        "came from",
        f"{plain_zoo}/shared/notes.txt: not in the manifest; remove it, or write the manifest anew "
        f"by python -m copamerge.bench.zoo {plain_zoo}",
    ]


def test_of_many_problems_a_few_are_named_and_all_counted(plain_zoo: Path) -> None:
    for task in MINI.seen:
        (plain_zoo / "own" / task.name / "adapter_model.safetensors").write_bytes(b"")

    with pytest.raises(SuiteError) as caught:
        open_zoo(plain_zoo)

    assert len(caught.value.problems) == 4
    assert caught.value.problems[-1].endswith("5 more files that differ from the manifest")


def test_hidden_files_are_no_part_of_it(plain_zoo: Path) -> None:
    (plain_zoo / ".DS_Store").write_text("x")
    (plain_zoo / "base" / "__pycache__").mkdir()
    (plain_zoo / "base" / "__pycache__" / "x.pyc").write_text("x")

    open_zoo(plain_zoo)


def test_what_is_no_zoo_is_said_to_be_none(plain_zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"not a zoo \(no manifest\.json"):
        open_zoo(tmp_path)
    (plain_zoo / "manifest.json").write_text('{"files": [1]}')
    with pytest.raises(SuiteError, match="damaged"):
        open_zoo(plain_zoo)


def test_the_shipped_zoo_has_its_own_remedy(
    plain_zoo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zoos, "_shipped", lambda: plain_zoo)
    assert open_zoo().path == plain_zoo
    assert zoos.shipped_base() == plain_zoo / "base"
    (plain_zoo / "base" / "config.json").write_text("{}")
    with pytest.raises(SuiteError, match="reinstall copamerge"):
        open_zoo()
    monkeypatch.setattr(zoos, "_shipped", lambda: tmp_path / "none")
    with pytest.raises(SuiteError, match="no zoo came with this copy"):
        open_zoo()


def test_a_set_that_was_added_is_written_down_and_criteria_stay(plain_zoo: Path) -> None:
    zoos.write_manifest(plain_zoo, script="made.sh", criteria={"found": []})
    shutil.copytree(plain_zoo / "shared", plain_zoo / "rank4")
    with pytest.raises(SuiteError, match="not in the manifest"):
        open_zoo(plain_zoo)

    assert zoos.main([str(plain_zoo)]) == 0

    opened = open_zoo(plain_zoo)
    assert "rank4" in opened.sets
    assert opened.manifest["script"] == "made.sh"
    assert opened.manifest["criteria"] == {"found": []}


def test_a_changed_file_is_not_written_down_as_right(
    plain_zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plain_zoo / "base" / "config.json").write_text("{}")
    before = (plain_zoo / zoos.MANIFEST).read_bytes()

    assert zoos.main([str(plain_zoo)]) == 2

    assert "base/config.json: 2 bytes" in capsys.readouterr().err
    assert (plain_zoo / zoos.MANIFEST).read_bytes() == before


def test_adapters_from_elsewhere_become_a_zoo(
    plain_zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plain_zoo / "manifest.json").unlink()
    with pytest.raises(SuiteError, match=f"python -m copamerge.bench.zoo {plain_zoo}"):
        open_zoo(plain_zoo)

    assert zoos.main([str(plain_zoo)]) == 0
    assert "shared" in open_zoo(plain_zoo).sets
    (tmp_path / "empty").mkdir()
    assert zoos.main([str(tmp_path / "empty")]) == 2
    assert "no adapters are there; put each into" in capsys.readouterr().err
    assert not any((tmp_path / "empty").iterdir())
