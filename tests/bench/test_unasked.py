"""Pictures that do not open, models that run out of memory: the run goes on, or says how to."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from echo import Echo, plain_adapter

from copamerge.bench.engine import run_bench
from copamerge.bench.executors import Local
from copamerge.bench.metrics import METRICS, MODES
from copamerge.bench.score import score
from copamerge.bench.specs import ModelSpec
from copamerge.errors import CopamergeError
from copamerge.suites import SUITES, Place, Sample, Split, Suite, Task, suite_named
from copamerge.suites.pictures import PictureError


def _broken() -> Any:
    raise PictureError("image gone.jpg: not there; copy it from the data set")


def _sample(index: int, split: Split, seed: int) -> Sample:
    picture: Any = _broken if index in (1, 4) else np.zeros((2, 2, 3), np.uint8)
    kind = "odd" if index % 2 else "even"
    return Sample(f"s{index}", (picture,), "what", ("cat",), place=Place(kind))


def _suite() -> Suite:
    asked = replace(
        suite_named("mini").by_name["classes"],
        name="pets",
        title="Pets",
        metric="two_way_substring",
        sample=_sample,
        size=lambda split: 6,
        digest=lambda split: "pictures",
    )
    return Suite("pets", (asked,))


@pytest.fixture
def pets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(SUITES, "pets", lambda data: _suite())
    yield


def bench(tmp_path: Path, answerer: Any, **more: Any) -> Any:
    base = tmp_path / "base"
    base.mkdir(exist_ok=True)
    (base / "config.json").write_text("{}")
    specs = [ModelSpec("zero-shot", "Zero-Shot", kind="zero-shot")]
    executor = Local(lambda: answerer, batch=4)
    options = {"suite": "pets", "base": base, "executor": executor, **more}
    return run_bench(tmp_path / "run", specs, **options)


class Silent(Echo):
    """Says nothing: the official substring rule calls that right."""

    def answer(self, samples: Any, asking: Any, batch: int) -> list[str]:
        self.asked += [(None, sample.id) for sample in samples]
        return ["" for _ in samples]


def test_a_run_goes_on_past_pictures_that_do_not_open(tmp_path: Path, pets: None) -> None:
    silent = Silent()

    run = bench(tmp_path, silent)

    assert [id for _, id in silent.asked] == ["s0", "s2", "s3", "s5"]
    rows = {row["mode"]: row for row in run.results["rows"]}
    assert rows["official"]["points"] == pytest.approx(100 * 4 / 6)
    assert rows["corrected"]["points"] == 0
    for row in rows.values():
        assert (row["items"], row["answers"], row["empty"], row["unasked"]) == (6, 6, 4, 2)
    assert rows["official"]["categories"] == {
        "even": {"items": 3, "points": pytest.approx(100 * 2 / 3)},
        "odd": {"items": 3, "points": pytest.approx(100 * 2 / 3)},
    }
    notes = " ".join(run.record["notes"])
    assert "s1: image gone.jpg: not there" in notes and "s4" in notes
    assert "2 samples could not be asked and count as wrong" in notes


def test_what_could_not_be_asked_is_found_again(tmp_path: Path, pets: None) -> None:
    first = bench(tmp_path, Silent())
    (path,) = (tmp_path / "run" / "answers").glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert lines[1]["answer"] is None and "gone.jpg" in lines[1]["error"]
    assert lines[0] == {"id": "s0", "answer": ""}
    silent = Silent()

    again = bench(tmp_path, silent)

    assert not silent.asked
    assert again.results == first.results and again.record["notes"] == first.record["notes"]


@pytest.mark.parametrize("mode", MODES)
def test_an_unasked_sample_is_wrong_even_where_nothing_is_right(mode: Any) -> None:
    task = _suite().tasks[0]
    samples = [_sample(0, "test", 0), _sample(1, "test", 0)]

    scored = score(task, samples, ["s0", "s1"], ["cat", None])[mode]

    assert (scored.points, scored.unasked, scored.empty) == (50, 1, 0)
    assert METRICS["two_way_substring"].wrong(("cat",)) != ""


class Full(Echo):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def answer(self, samples: Any, asking: Any, batch: int) -> list[str]:
        raise self.error


def test_out_of_memory_suggests_a_smaller_batch(tmp_path: Path, pets: None) -> None:
    import torch

    full = Full(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(CopamergeError, match=r"with 3 samples at once; try --batch 2"):
        bench(tmp_path, full)
    with pytest.raises(RuntimeError, match="another"):
        bench(tmp_path, Full(RuntimeError("another")))


def test_a_single_sample_that_is_too_much_is_said(tmp_path: Path, pets: None) -> None:
    full = Local(lambda: Full(MemoryError()), batch=1)
    with pytest.raises(CopamergeError, match="a single one is too much for this machine"):
        bench(tmp_path, None, executor=full)


def test_all_of_a_task_is_asked_where_nobody_says_how_much(tmp_path: Path, pets: None) -> None:
    run = bench(tmp_path, Silent())
    assert run.record["items"] is None and run.results["rows"][0]["answers"] == 6

    less = bench(tmp_path / "less", Silent(), items=2) if (tmp_path / "less").mkdir() is None else 0
    assert less.results["rows"][0]["answers"] == 2


def test_a_suite_that_does_not_ship_needs_a_base(tmp_path: Path, pets: None) -> None:
    with pytest.raises(CopamergeError, match="no model for it comes with copamerge"):
        bench(tmp_path, Silent(), base=None)
    adapter = plain_adapter(tmp_path / "a")
    with pytest.raises(CopamergeError, match="give the folder of adapters by --zoo"):
        run_bench(tmp_path / "o", None, suite="pets", base=adapter)


def test_the_task_s_data_are_part_of_the_answers_name() -> None:
    from copamerge.bench.units import units

    task: Task = _suite().tasks[0]
    options: Any = {"base": "b", "adapter": None, "suite": "pets", "split": "test", "seed": 0}
    (one,) = units(task, 6, **options)
    (other,) = units(replace(task, digest=lambda split: "others"), 6, **options)
    assert one.data_digest == "pictures" and one.key != other.key
