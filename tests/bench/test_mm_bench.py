"""The paper's benchmark end to end: files in the exact layout, a tiny LLaVA, every score."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from echo import Echo

from copamerge.bench import prompting
from copamerge.bench.engine import run_bench
from copamerge.bench.executors import Local
from copamerge.bench.specs import ModelSpec
from copamerge.suites import Asking, Sample
from copamerge.suites.mm_mergebench import general, layout
from suites.mm_data import write_mm_general, write_mm_mergebench

ZERO = ModelSpec("zero-shot", "Zero-Shot", "zero-shot")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four questions a task, captions scored without Java, answers cut short."""
    monkeypatch.setattr(layout, "java_there", lambda: False)
    for name in ("CROP", "PAD", "PAD_LONG"):
        short = replace(getattr(layout, name), max_new_tokens=3)
        monkeypatch.setattr(layout, name, short)
    return write_mm_mergebench(tmp_path / "data")


def test_all_twelve_tasks_are_answered_and_scored_in_both_modes(
    root: Path, base: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    specs = [ZERO, ModelSpec("a", "A", "mtl", adapter=adapters["a"])]

    run = run_bench(
        tmp_path / "run", specs, suite="mm-mergebench", data=root, base=base, items=3, batch=3
    )

    rows = run.results["rows"]
    assert len(rows) == 2 * 12 * 2
    assert all(row["points"] is not None and row["items"] == 3 for row in rows)
    assert {row["unasked"] for row in rows} == {0}
    science = next(row for row in rows if row["task"] == "scienceqa")
    assert {name: one["items"] for name, one in science["categories"].items()} == {
        "image": 2,
        "text": 1,
    }
    assert {(mean["group"], mean["points"] is None) for mean in run.results["means"]} == {
        ("seen", False),
        ("unseen", False),
    }


def test_a_missing_picture_and_a_missing_question_count_as_wrong_and_are_named(
    root: Path, plain_zoo: Path, echo: Echo, tmp_path: Path
) -> None:
    (root / "datasets/VQAv2/images/0001.png").unlink()
    path = root / "instructions/ScienceQA/test.json"
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))

    run = run_bench(
        tmp_path / "run",
        [ZERO],
        suite="mm-mergebench",
        data=root,
        base=plain_zoo / "base",
        tasks=["scienceqa", "vqav2"],
        executor=Local(lambda: echo),
    )

    unasked = {row["task"]: row["unasked"] for row in run.results["rows"]}
    assert unasked == {"scienceqa": 1, "vqav2": 1}
    notes = "\n".join(run.record["notes"])
    assert "0001.png: not there" in notes and "no question '10'" in notes
    assert "2 samples could not be asked and count as wrong" in notes


def test_a_picture_that_was_put_right_is_asked_by_the_same_command(
    root: Path, plain_zoo: Path, echo: Echo, tmp_path: Path
) -> None:
    def unasked() -> tuple[int, int]:
        before = len(echo.asked)
        run = run_bench(
            tmp_path / "run",
            [ZERO],
            suite="mm-mergebench",
            data=root,
            base=plain_zoo / "base",
            tasks=["vqav2", "iconqa"],
            executor=Local(lambda: echo),
        )
        return sum(x["unasked"] for x in run.results["rows"]) // 2, len(echo.asked) - before

    first, second = (root / f"datasets/VQAv2/images/000{i}.png" for i in (1, 2))
    whole = first.read_bytes()
    first.unlink()
    second.write_bytes(b"no picture")

    assert unasked() == (2, 6)
    assert unasked() == (2, 0)
    first.write_bytes(whole)
    assert unasked() == (1, 3)
    second.write_bytes(whole)
    assert unasked() == (0, 4)
    assert unasked() == (0, 0)


def test_changed_files_are_answered_anew(
    root: Path, plain_zoo: Path, echo: Echo, tmp_path: Path
) -> None:
    def ask(data: Path) -> int:
        before = len(echo.asked)
        run_bench(
            tmp_path / "runs" / data.name,
            [ZERO],
            suite="mm-mergebench",
            data=data,
            base=plain_zoo / "base",
            tasks=["vqav2", "iconqa"],
            executor=Local(lambda: echo),
            answers=tmp_path / "answers",
        )
        return len(echo.asked) - before

    other = write_mm_mergebench(tmp_path / "other")

    assert ask(root) == 8
    assert ask(other) == 0  # the same files elsewhere
    third = write_mm_mergebench(tmp_path / "third")
    path = third / "instructions/IconQA/val.json"
    path.write_text(path.read_text().replace("dots", "stars"))
    assert ask(third) == 4


@pytest.mark.parametrize(("task", "seen"), [("vqav2", (48, 48)), ("iconqa", (48, 48))])
def test_pictures_that_are_no_squares_are_cropped_or_padded_by_task(
    root: Path, base: Path, task: str, seen: tuple[int, int]
) -> None:
    """Of a wide picture, the crop loses its sides, the pad keeps them between grey bars."""
    from transformers import AutoProcessor

    from copamerge.suites import suite_named

    one = suite_named("mm-mergebench", root).by_name[task]
    (wide,) = [x for x in one.samples("test", 4) if x.images[0].name == "0001.png"]  # type: ignore[union-attr]

    read = prompting.read_by(AutoProcessor.from_pretrained(base), [wide], one.asking)

    pixels = np.asarray(read["pixel_values"])[0]
    assert pixels.shape[1:] == seen
    bars = np.ptp(pixels[:, :4], axis=(1, 2)).max() < 0.2
    assert bars == (one.asking.frame == "pad")


def test_the_general_tasks_are_answered_and_scored_with_their_parts(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PAD", "PAD_LONG"):
        short = replace(getattr(general, name), max_new_tokens=3)
        monkeypatch.setattr(general, name, short)
    data = write_mm_general(tmp_path / "eval")

    run = run_bench(tmp_path / "run", [ZERO], suite="mm-general", data=data, base=base)

    rows = {row["task"]: row for row in run.results["rows"] if row["mode"] == "official"}
    assert [(row["items"], row["answers"]) for row in rows.values()] == [(12, 12), (4, 8), (3, 7)]
    assert all(row["points"] is not None and row["unasked"] == 0 for row in rows.values())
    assert {"existence", "artwork", "perception"} == set(rows["mme"]["parts"])
    assert set(rows["pope"]["categories"]) == {"random", "popular", "adversarial"}
    assert run.results["means"] == []


def test_a_perfect_model_gets_full_points_on_the_general_tasks(
    plain_zoo: Path, tmp_path: Path
) -> None:
    class Perfect(Echo):
        def answer(self, samples: Sequence[Sample], asking: Asking, batch: int) -> list[str]:
            return [sample.references[0] for sample in samples]

    data = write_mm_general(tmp_path / "eval")

    run = run_bench(
        tmp_path / "run",
        [ZERO],
        suite="mm-general",
        data=data,
        base=plain_zoo / "base",
        executor=Local(Perfect),
    )

    points = {(row["task"], row["mode"]): row["points"] for row in run.results["rows"]}
    assert points == {
        (task, mode): best
        # Two of MME's ten subtasks of perception are there, 200 points each.
        for task, best in (("pope", 100.0), ("mme", 400.0), ("mmbench", 100.0))
        for mode in ("official", "corrected")
    }
