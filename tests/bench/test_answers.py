"""Units and their files: names, whole files, and files that are something else."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from copamerge.bench.answers import (
    Answers,
    DamagedAnswersError,
    answers_file,
    read_answers,
    write_answers,
)
from copamerge.bench.units import (
    Unit,
    adapter_digest,
    base_digest,
    units,
)
from copamerge.errors import AdapterError, OutputError, SuiteError
from copamerge.suites import Asking, Classes, suite_named

UNIT = Unit("base", None, "mini", "vqa", "test", 0, 0, 3, Asking(16))
IDS = ("vqa/test/0/0", "vqa/test/0/1", "vqa/test/0/2")
SAID = Answers(IDS, ("red", "", 'two\nlines "quoted" \u2028 é'), 0.5, {"torch": "2"}, ("careful",))


def test_a_key_is_the_hash_of_the_canonical_record() -> None:
    text = (
        '{"adapter_digest":null,"asking":{"classes":null,"frame":"processor","max_new_tokens":16,'
        '"template":"chat"},"base_digest":"base","count":3,"data_digest":null,"seed":0,'
        '"split":"test","start":0,"suite":"mini","task":"vqa"}'
    )

    # Also the output of sha256sum for this text: a name must never change by itself.
    assert UNIT.key == hashlib.sha256(text.encode()).hexdigest()[:24] == "2a9032363fb927594b7ad01f"


@pytest.mark.parametrize(
    "change",
    [
        {"base_digest": "other"},
        {"adapter_digest": "a"},
        {"suite": "big"},
        {"task": "ocr"},
        {"split": "validation"},
        {"seed": 1},
        {"start": 3},
        {"count": 2},
        {"asking": Asking(17)},
        {"asking": Asking(16, "vicuna_v1")},
        {"asking": Asking(16, frame="pad")},
        {"asking": Asking(16, classes=Classes(("cat",)))},
        {"data_digest": "d"},
    ],
)
def test_whatever_changes_an_answer_changes_the_key(change: dict[str, object]) -> None:
    assert replace(UNIT, **change).key != UNIT.key  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 199, 200, 201, 1000])
def test_pieces_cover_the_samples_once(count: int) -> None:
    task = suite_named("mini").by_name["vqa"]

    pieces = list(units(task, count, base="b", adapter=None, suite="mini", split="test", seed=0))

    covered = [i for piece in pieces for i in range(piece.start, piece.start + piece.count)]
    assert covered == list(range(count))
    assert {piece.asking.max_new_tokens for piece in pieces} == {task.asking.max_new_tokens}


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    path = write_answers(tmp_path / "answers", UNIT, SAID)

    assert path == answers_file(tmp_path / "answers", UNIT)
    assert read_answers(path, UNIT, IDS) == SAID
    lines = path.read_text().split("\n")
    assert json.loads(lines[0])["unit"]["task"] == "vqa"
    assert json.loads(lines[1]) == {"id": "vqa/test/0/0", "answer": "red"}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_cut_anywhere_is_damaged(tmp_path: Path) -> None:
    path = write_answers(tmp_path, UNIT, SAID)
    whole = path.read_bytes()

    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(DamagedAnswersError, match="cut off or changed"):
            read_answers(path, UNIT, IDS)


def test_a_file_that_was_edited_is_damaged(tmp_path: Path) -> None:
    path = write_answers(tmp_path, UNIT, SAID)
    path.write_text(path.read_text().replace('"red"', '"blue"'))

    with pytest.raises(DamagedAnswersError, match=str(path)):
        read_answers(path, UNIT, IDS)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]\n", b"null\n", b'{"unit": 1}\n'])
def test_other_files_are_damaged_too(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)

    with pytest.raises(DamagedAnswersError):
        read_answers(path, UNIT, IDS)


def test_answers_to_something_else_are_refused(tmp_path: Path) -> None:
    path = write_answers(tmp_path, UNIT, SAID)

    with pytest.raises(SuiteError, match=r"another run \(seed 0 instead of 1\).*Remove the file"):
        read_answers(path, replace(UNIT, seed=1), IDS)
    with pytest.raises(SuiteError, match="answer 2 is to 'vqa/test/0/1', the sample is 'other'"):
        read_answers(path, UNIT, (IDS[0], "other", IDS[2]))
    with pytest.raises(SuiteError, match="3 answers to 2 samples"):
        read_answers(path, UNIT, IDS[:2])
    with pytest.raises(SuiteError, match="no such answers file"):
        read_answers(tmp_path / "none", UNIT, IDS)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(OutputError, match="No space left"):
        write_answers(tmp_path, UNIT, SAID)
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_s_digest_is_of_what_it_says(tmp_path: Path) -> None:
    from makers import make_adapter

    one = make_adapter(tmp_path / "one", seed=1)
    digest = adapter_digest(one)
    config = one / "adapter_config.json"

    config.write_text(json.dumps(json.loads(config.read_text())))  # spaced otherwise
    assert adapter_digest(one) == digest
    (one / "README.md").write_text("words")
    assert adapter_digest(one) == digest
    assert adapter_digest(make_adapter(tmp_path / "two", seed=2)) != digest
    assert adapter_digest(make_adapter(tmp_path / "three", seed=1, alpha=5)) != digest
    config.write_text("{")
    with pytest.raises(AdapterError, match="not valid JSON"):
        adapter_digest(one)
    config.unlink()
    with pytest.raises(AdapterError, match="not a PEFT adapter folder"):
        adapter_digest(one)


def test_a_base_s_digest_is_of_weights_and_words(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"):
        (tmp_path / name).write_text(name)
    digests = [base_digest(tmp_path)]

    (tmp_path / "README.md").write_text("words")
    assert base_digest(tmp_path) == digests[0]
    for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"):
        (tmp_path / name).write_text("changed")
        digests.append(base_digest(tmp_path))
    assert len(set(digests)) == 5
    (tmp_path / "config.json").unlink()
    with pytest.raises(SuiteError, match="not a model folder"):
        base_digest(tmp_path)
