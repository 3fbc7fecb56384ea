"""What the bridges do around a harness, with one that is no library, and what they ask a model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from echo import plain_adapter

from copamerge.bench.bridges import running
from copamerge.bench.bridges.lmms_eval import answers
from copamerge.bench.bridges.running import Asked, Row, plain, rows_of, run_harness
from copamerge.errors import AdapterError, CopamergeError, OutputError, SuiteError
from copamerge.suites import Asking, Sample


class Manager:
    def match_tasks(self, names: list[str]) -> list[str]:
        return [name for name in names if name in ("sums", "colors")]


class Fake:
    """A harness that tells what is on the model."""

    name = package = "fake"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None

    def version(self) -> str:
        return "1"

    def known(self, asked: Asked) -> tuple[Any, Sequence[str]]:
        return Manager(), ["sums", "colors"]

    def evaluate(
        self, generator: Any, asked: Asked, manager: Any, *, samples: bool
    ) -> Mapping[str, Any]:
        if self.error:
            raise self.error
        self.asked.append(generator.on)
        numbers = {"acc,none": np.float64(len(generator.on)), "acc_stderr,none": float("nan")}
        return {
            "results": {task: {"alias": task, **numbers, "plot,none": [1]} for task in asked.tasks},
            "samples": {"sums": [1]} if samples else None,
            "configs": {"sums": {"f": print}},
        }


class FakeGenerator:
    versions: Mapping[str, str] = {"fake": "1"}

    def __init__(self, folder: Path) -> None:
        self.on = ""

    @contextmanager
    def use(self, adapter: Path | None) -> Iterator[Sequence[str]]:
        if adapter is not None and adapter.name == "odd":
            raise AdapterError("odd: does not fit")
        self.on = "base" if adapter is None else adapter.name
        yield ("warned",) if self.on == "merged" else ()


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(running, "load_base", FakeGenerator)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    return tmp_path / "base"


def models(folder: Path, *names: str) -> dict[str, Path | None]:
    return {name: plain_adapter(folder / name, i) for i, name in enumerate(names)}


def test_every_model_is_asked_once_and_its_numbers_are_kept(base: Path, tmp_path: Path) -> None:
    harness, out = Fake(), tmp_path / "out"
    asked = Asked(("sums", "colors"), limit=3)
    wanted = {"zero-shot": None, **models(tmp_path, "merged")}

    found = run_harness(out, harness, base, wanted, asked)
    again = run_harness(out, harness, base, wanted, asked)

    assert harness.asked == ["base", "merged"] and again == found
    assert [(row.model, row.task, row.value) for row in found.rows] == [
        ("zero-shot", "sums", 4.0),
        ("zero-shot", "colors", 4.0),
        ("merged", "sums", 6.0),
        ("merged", "colors", 6.0),
    ]
    assert all(row.stderr is None for row in found.rows)
    assert found.warnings == {"zero-shot": (), "merged": ("warned",)}
    assert "merged, sums: plot is no number" in found.notes[2]
    content = json.loads((out / "merged.json").read_text())
    assert content["results"]["configs"] == {"sums": {"f": "<builtin_function_or_method>"}}
    assert content["asked"]["limit"] == 3 and not (out / "merged.samples.json").exists()


def test_what_was_asked_otherwise_is_asked_again(base: Path, tmp_path: Path) -> None:
    harness, out = Fake(), tmp_path / "out"
    run_harness(out, harness, base, {"zero-shot": None}, Asked(("sums",)))
    (out / "zero-shot.json").write_text("{cut off")

    run_harness(out, harness, base, {"zero-shot": None}, Asked(("sums",)))
    run_harness(out, harness, base, {"zero-shot": None}, Asked(("sums",), shots=2))
    run_harness(out, harness, base, {"zero-shot": None}, Asked(("sums",), shots=2), samples=True)

    assert len(harness.asked) == 4
    assert json.loads((out / "zero-shot.samples.json").read_text()) == {"sums": [1]}


def test_a_model_that_cannot_be_asked_is_named_and_the_others_are_asked(
    base: Path, tmp_path: Path
) -> None:
    harness = Fake()

    wanted = models(tmp_path, "odd", "merged")
    found = run_harness(tmp_path / "out", harness, base, wanted, Asked(("sums",)))

    assert found.failed == {"odd": ("odd: does not fit",)} and harness.asked == ["merged"]
    table = json.loads((tmp_path / "out" / "harness.json").read_text())
    assert table["models"] == ["merged", "odd"] and table["failed"] == {"odd": "odd: does not fit"}


def test_all_that_is_wrong_is_said_before_a_model_is_loaded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "load_base", lambda _: pytest.fail("loaded"))
    asked = Asked(("sum", "zzz"), limit=0, shots=-1, batch=0)

    with pytest.raises(SuiteError) as caught:
        run_harness(tmp_path / "out", Fake(), base, {"zero-shot": None}, asked)

    assert len(caught.value.problems) == 5 and not (tmp_path / "out").exists()
    assert caught.value.problems[0].endswith("; did you mean 'sums'?")
    assert caught.value.problems[1].endswith("has none of that name among 2")


def test_a_folder_of_something_else_is_left_alone(base: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds files but no harness\.json"):
        run_harness(base, Fake(), base, {"zero-shot": None}, Asked(("sums",)))


def test_data_that_cannot_be_reached_are_a_sentence(base: Path, tmp_path: Path) -> None:
    harness = Fake()
    harness.error = ConnectionError("no route\nmore")

    with pytest.raises(CopamergeError, match="fake: its data cannot be read: no route; connect"):
        run_harness(tmp_path / "out", harness, base, {"zero-shot": None}, Asked(("sums",)))


def test_numbers_are_told_from_their_errors_and_from_what_is_none() -> None:
    rows, others = rows_of(
        "m",
        "t",
        {
            "alias": "t",
            "acc,none": 0.5,
            "acc_stderr,none": 0.1,
            "acc_stderr_clt,none": 0.1,
            "f1,strict": 0.25,
            "f1_stderr,strict": "N/A",
            "table,none": {"a": 1},
            "sample_len": 5,
        },
    )

    assert rows == [
        Row("m", "t", "acc", "none", 0.5, 0.1),
        Row("m", "t", "f1", "strict", 0.25, None),
    ]
    assert others == ["table"]


def test_what_is_no_data_becomes_text_and_no_number_null() -> None:
    given = {1: (np.float32(0.5), float("nan"), np.int64(2)), "f": print, "p": Path("a")}

    assert plain(given) == {"1": [0.5, None, 2], "f": "<builtin_function_or_method>", "p": "a"}


# --- what lmms-eval's requests become ----------------------------------------------------------


class Request(NamedTuple):
    args: tuple[Any, ...]


class Says:
    """Answers with what it is asked."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], Asking]] = []

    def answer(self, samples: Sequence[Sample], asking: Asking, batch: int) -> list[str]:
        self.batches.append(([sample.id for sample in samples], asking))
        return [f"{sample.question}/{len(sample.images)}\n\nmore" for sample in samples]


def picture(value: int = 0) -> Any:
    return pytest.importorskip("PIL.Image").fromarray(np.full((2, 3), value, np.uint8))


def asked(
    *documents: list[Any], text: str = "q{}", **options: Any
) -> tuple[Says, dict[str, Any], list[Request]]:
    requests = [
        Request((text.format(i), dict(options), lambda document: document, i, "looks", "test"))
        for i in range(len(documents))
    ]
    return Says(), {"looks": {"test": list(documents)}}, requests


def test_samples_with_and_without_pictures_are_asked_in_batches_and_in_order() -> None:
    says, documents, requests = asked([picture()], [], [picture(), picture(1)], max_new_tokens=3)

    said = answers(says, Asked(("looks",), batch=2), documents, requests)  # type: ignore[arg-type]

    assert said == [f"q{i}/{n}\n\nmore" for i, n in enumerate((1, 0, 2))]
    assert [ids for ids, _ in says.batches] == [
        ["looks/test/0", "looks/test/1"],
        ["looks/test/2"],
    ]
    assert {asking for _, asking in says.batches} == {Asking(3)}


def test_answers_end_where_the_task_says_and_lengths_are_kept_apart() -> None:
    says, documents, requests = asked([], [], until=["\n\n", "/"], temperature=0)
    requests[0].args[1]["max_new_tokens"] = 5

    said = answers(says, Asked(("looks",), 9, batch=9), documents, requests)  # type: ignore[arg-type]

    assert said == ["q0", "q1"]
    assert [asking.max_new_tokens for _, asking in says.batches] == [5, 1024]


@pytest.mark.parametrize(
    "options, fact",
    [
        ({"do_sample": True, "temperature": 0.7}, "temperature: 0.7: answers are greedy here"),
        ({"num_beams": 4}, "num_beams: 4: answers are greedy here"),
        ({"max_agentic_steps": 3}, "max_agentic_steps: 3: not an option that the bridge knows"),
    ],
)
def test_what_a_task_wants_and_the_bridge_does_not_do_is_refused(
    options: dict[str, Any], fact: str
) -> None:
    says, documents, requests = asked([], [], **options)

    with pytest.raises(SuiteError) as caught:
        answers(says, Asked(("looks",)), documents, requests)  # type: ignore[arg-type]

    assert fact in str(caught.value) and len(caught.value.problems) == len(options)
    assert not says.batches


def test_videos_and_pictures_placed_in_the_text_are_refused() -> None:
    says, documents, requests = asked(["film.mp4"])
    with pytest.raises(SuiteError, match=r"sample 'looks/test/0': comes with str"):
        answers(says, Asked(("looks",)), documents, requests)  # type: ignore[arg-type]

    says, documents, requests = asked([picture()], text="<image> what is it?")
    with pytest.raises(SuiteError, match=r"places its pictures by <image>"):
        answers(says, Asked(("looks",)), documents, requests)  # type: ignore[arg-type]


@pytest.mark.parametrize("command, module", [("lm-eval", "lm_eval"), ("lmms-eval", "lmms_eval")])
def test_a_harness_that_is_not_installed_is_named_with_its_extra(
    copamerge_cli: Any, tmp_path: Path, command: str, module: str
) -> None:
    if find_spec(module) is not None:
        pytest.skip(f"{module} is installed")

    ran = copamerge_cli(command, "--base", "b", "--tasks", "t", "-o", tmp_path / "out")

    assert ran.code == 2 and f"{module} is not installed" in ran.err
    assert f"pip install 'copamerge[{command}]'" in ran.err
