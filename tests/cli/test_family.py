"""`copamerge family` and `copamerge evaluate --family`."""

import json
from contextlib import contextmanager
from typing import ClassVar

import pytest

from copamerge.bench import planning
from copamerge.bench.executors import Local
from copamerge.io import open_adapter
from makers import make_adapter


@pytest.fixture
def pair(tmp_path):
    return make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)


@pytest.fixture
def fam(tmp_path, pair, copamerge_cli):
    ran = copamerge_cli("family", "make", *pair, "-o", tmp_path / "fam", "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    return tmp_path / "fam"


def test_make_shows_what_it_costs(tmp_path, pair, copamerge_cli):
    ran = copamerge_cli("family", "make", *pair, "-o", tmp_path / "fam", "--names", "x,y")

    assert ran.code == 0 and ran.err == ""
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["member", "x", "y"]
    assert "4 layers, core space, float32, base org/tiny-base" in lines[3]
    assert "masks + 16 B scalars; the 2 adapters take" in lines[4]
    assert lines[5] == f"wrote {tmp_path / 'fam'}, read back and compared"


def test_show_says_the_same_and_json_is_the_record(fam, pair, copamerge_cli, tmp_path):
    made = copamerge_cli("family", "make", *pair, "-o", tmp_path / "twin", "--json")

    shown = copamerge_cli("family", "show", fam, "--json")

    assert json.loads(shown.out) == json.loads((fam / "family.json").read_text())
    assert json.loads(made.out) == json.loads(shown.out)
    assert copamerge_cli("family", "show", fam).out.splitlines()[0].split()[0] == "member"


def test_take_writes_an_adapter(fam, copamerge_cli, tmp_path):
    ran = copamerge_cli("family", "take", fam, "b", "-o", tmp_path / "out")

    assert ran.code == 0 and ran.err == ""
    assert "b: 4 layers, rank 4, float32, norm" in ran.out
    assert "the rank holds all of the member" in ran.out
    assert len(open_adapter(str(tmp_path / "out")).layers) == 4
    cut = copamerge_cli("family", "take", fam, "b", "-o", tmp_path / "cut", "--rank", 1, "--json")
    report = json.loads(cut.out)
    assert report["rank"] == 1 and 0 < report["energy_kept_worst"] < 1
    said = copamerge_cli("family", "take", fam, "b", "-o", tmp_path / "again", "--rank", "1")
    assert f"energy kept {report['energy_kept']:.2%} in all" in said.out


@pytest.mark.parametrize(
    "words, told",
    [
        (["make", "A", "-o", "OUT", "--space", "cor"], "did you mean 'core'"),
        (["make", "A", "A", "-o", "OUT"], "two adapters have this name"),
        (["make", "A", "nowhere", "-o", "OUT"], "nowhere: no such file or folder"),
        (["make", "A", "-o", "OUT", "--names", "x,y"], "--names: 2 given for 1 adapters"),
        (["make", "A", "-o", "OUT", "--device", "tpu"], "expected auto, cpu or cuda"),
        (["make", "A", "-o", "A"], "already exists; choose another output"),
        (["make", "A", "-o", "OUT", "--alpha", "nan"], "adapters.0.alpha: expected a finite"),
        (["make", "A", "-o", "OUT", "--base-model", "org/else"], "--allow-different-bases"),
        (["show", "A"], "not a family (no family.json in it)"),
        (["take", "FAM", "c", "-o", "OUT"], "no member 'c'; there are: a, b"),
        (["take", "FAM", "a", "-o", "OUT", "--rank", "0"], "--rank: expected full, max"),
        (["take", "FAM", "a", "-o", "FAM"], "choose another output"),
        (["take", "nowhere", "a", "-o", "OUT"], "no such folder"),
    ],
)
def test_what_is_not_understood_is_told(fam, pair, copamerge_cli, tmp_path, untouched, words, told):
    untouched()
    places = {"A": pair[0], "FAM": fam, "OUT": tmp_path / "out", "nowhere": tmp_path / "nowhere"}

    ran = copamerge_cli("family", *(places.get(word, word) for word in words))

    assert ran.code == 2 and ran.out == ""
    assert ran.err.startswith("error: ") and told in ran.err and "Traceback" not in ran.err


def test_ctrl_c_leaves_nothing(pair, copamerge_cli, tmp_path, untouched, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    untouched()
    monkeypatch.setattr("copamerge.families.make.write_tensors", interrupt)

    ran = copamerge_cli("family", "make", *pair, "-o", tmp_path / "fam")

    assert ran.code == 130 and "nothing was written" in ran.err


# --- evaluate ------------------------------------------------------------------------------------


class Namer:
    """Knows every answer to the task that the adapter in its folder is called after."""

    versions: ClassVar = {"namer": "1"}

    @contextmanager
    def use(self, adapter):
        self.name = None if adapter is None else adapter.name
        yield ()

    def answer(self, samples, asking, batch):
        right = self.name == "vqa"
        return [sample.references[0] if right else "wrong" for sample in samples]


@pytest.fixture
def asked(tmp_path, copamerge_cli, monkeypatch):
    """`copamerge evaluate` with a stub for the base and for who answers."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "llava"}')
    monkeypatch.setattr(planning, "executor_for", lambda *_, **__: Local(Namer))
    monkeypatch.setattr("copamerge.cli.evaluate.needs", lambda *_: None)
    return lambda *words: copamerge_cli("evaluate", "--base", base, *words)


def test_each_task_is_asked_of_the_member_with_its_name(tmp_path, pair, copamerge_cli, asked):
    fam = tmp_path / "fam"
    copamerge_cli("family", "make", *pair, "-o", fam, "--names", "vqa,other")
    words = ("--family", fam, "--items", 3, "--tasks", "vqa,ocr")

    ran = asked(*words, "--json")

    content = json.loads(ran.out)
    assert ran.code == 0 and f"note: {fam}: not asked, being no tasks: other" in ran.err
    (model,) = content["run"]["models"]
    assert model["kind"] == "individual" and list(model["adapter"]) == ["vqa"]
    points = {x["task"]: x["points"] for x in content["results"]["rows"] if x["mode"] == "official"}
    assert points == {"vqa": 100.0, "ocr": None}
    lines = [line.split() for line in asked(*words).out.splitlines()]
    assert ["ocr", "-", "-", "-"] in lines


def test_a_killed_evaluation_of_a_family_goes_on(tmp_path, pair, copamerge_cli, asked):
    copamerge_cli("family", "make", *pair, "-o", tmp_path / "fam", "--names", "vqa,ocr")
    words = ("--family", tmp_path / "fam", "--items", 2, "--tasks", "vqa,ocr", "-q")

    first = asked(*words, "-o", tmp_path / "run")
    stamps = {x: x.stat().st_mtime_ns for x in (tmp_path / "run" / "answers").iterdir()}
    again = asked(*words, "-o", tmp_path / "run")

    assert first.code == again.code == 0 and len(stamps) == 2
    assert {x: x.stat().st_mtime_ns for x in stamps} == stamps


def test_a_family_without_a_task_is_told(tmp_path, fam, pair, asked):
    ran = asked("--family", fam, "--family", pair[0], "--family", fam, "--tasks", "vqq")

    assert ran.code == 2
    assert "no member is called as a task of the suite 'mini' is (science, classes" in ran.err
    assert "not a family" in ran.err and "did you mean 'vqa'" in ran.err
    assert "--family: one of them is given twice" in ran.err
