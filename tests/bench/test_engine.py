"""A whole run without a model: what is computed, what is found again, what is written."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from echo import MINI, Echo, plain_adapter
from huggingface_hub import ModelCard

from copamerge.bench import record, units
from copamerge.bench.engine import run_bench
from copamerge.bench.executors import Local
from copamerge.bench.record import Run
from copamerge.bench.rescale import layer_norms
from copamerge.bench.specs import GRID, ModelSpec
from copamerge.errors import OutputError, SuiteError
from copamerge.io import open_adapter
from copamerge.merging.card.rewrite import rewrite_card
from copamerge.reports.merge_scores import merge_scores

SEEN = [task.name for task in MINI.seen]


def bench(out: Path, zoo: Path, echo: Echo, **more: Any) -> Run:
    options: dict[str, Any] = {"items": 6, "methods": ["mean", "ties"], **more}
    return run_bench(out, zoo=zoo, executor=Local(lambda: echo), **options)


def row(run: Run, model: str, task: str, mode: str = "official") -> dict[str, Any]:
    (one,) = [
        x for x in run.results["rows"] if (x["model"], x["task"], x["mode"]) == (model, task, mode)
    ]
    return one  # type: ignore[no-any-return]


def mean(run: Run, model: str, group: str) -> Any:
    (one,) = [
        x["points"]
        for x in run.results["means"]
        if (x["model"], x["group"], x["mode"]) == (model, group, "official")
    ]
    return one


def model(run: Run, name: str) -> dict[str, Any]:
    (one,) = [x for x in run.record["models"] if x["name"] == name]
    return one  # type: ignore[no-any-return]


def test_a_run_leaves_what_its_readers_expect(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    out = tmp_path / "run"

    run = bench(out, plain_zoo, echo)

    assert json.loads((out / "run.json").read_text()) == run.record
    assert json.loads((out / "results.json").read_text()) == run.results
    names = [x["name"] for x in run.record["models"]]
    assert names == ["zero-shot", "individual", "mtl", "mean", "ties"]
    assert [x["kind"] for x in run.record["models"]] == [
        "zero-shot",
        "individual",
        "mtl",
        "merge",
        "merge",
    ]
    assert run.record["finished"] and run.record["suite"] == "mini"
    assert (out / model(run, "ties")["adapter"] / "adapter_model.safetensors").is_file()
    assert (plain_zoo / model(run, "mtl")["adapter"] / "adapter_config.json").is_file()
    assert set(model(run, "individual")["adapter"]) == set(SEEN)
    assert model(run, "ties")["method"] == "ties"
    assert model(run, "ties")["options"]["density"] == 0.2
    assert model(run, "ties")["merges"] == SEEN
    assert model(run, "ties")["merge_seconds"] > 0
    assert len(run.results["rows"]) == 5 * len(MINI.tasks) * 2
    for task in MINI.tasks:
        with np.load(out / "scores" / "ties" / f"{task.name}.npz") as stored:
            assert sorted(stored) == ["corrected", "official"]
            assert stored["official"].shape[0] == 6


def test_individual_is_each_adapter_on_its_own_task(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    run = bench(tmp_path / "run", plain_zoo, echo, methods=["mean"])

    asked = {(who, id.split("/")[0]) for who, id in echo.asked}
    for task in MINI.seen:
        assert (task.name, task.name) in asked
        assert row(run, "individual", task.name)["points"] is not None
    for task in MINI.unseen:
        assert all(who in (None, "mtl", "mean") for who, of in asked if of == task.name)
        missing = row(run, "individual", task.name)
        assert missing["points"] is None and missing["stderr"] is None
        assert "no adapter of its own" in missing["reason"]
    assert mean(run, "individual", "unseen") is None
    assert mean(run, "individual", "seen") is not None


def test_a_finished_run_asks_nothing_again(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    first = bench(tmp_path / "run", plain_zoo, echo)
    once = len(echo.asked)

    again = bench(tmp_path / "run", plain_zoo, echo)

    assert len(echo.asked) == once
    assert again.results == first.results
    left = [{**x, "merge_seconds": 0} for x in again.record["models"]]
    assert left == [{**x, "merge_seconds": 0} for x in first.record["models"]]


def test_the_model_is_not_even_loaded_when_everything_is_there(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    bench(tmp_path / "run", plain_zoo, echo)

    def never() -> Any:
        raise AssertionError("loaded")

    run_bench(
        tmp_path / "run",
        zoo=plain_zoo,
        items=6,
        methods=["mean", "ties"],
        executor=Local(never),
    )


def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, plain_zoo: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "CHUNK", 4)
    whole = bench(tmp_path / "whole", plain_zoo, Echo())
    echo.stop_after = 5  # after five adapters were put on
    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path / "run", plain_zoo, echo)
    answered = set(echo.asked)
    assert answered and not (tmp_path / "run" / "results.json").exists()
    assert not json.loads((tmp_path / "run" / "run.json").read_text())["finished"]

    second = Echo()
    run = bench(tmp_path / "run", plain_zoo, second)

    assert not answered & set(second.asked)
    everything = Echo()
    bench(tmp_path / "other", plain_zoo, everything)
    assert answered | set(second.asked) == set(everything.asked)
    assert run.results == whole.results


def test_each_adapter_is_put_on_once(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    bench(tmp_path / "run", plain_zoo, echo, methods=["mean"])

    assert sorted(map(str, echo.put_on)) == sorted(["None", "mtl", "mean", *SEEN])


def test_a_damaged_file_is_named_and_made_again(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    first = bench(tmp_path / "run", plain_zoo, echo)
    victim = sorted((tmp_path / "run" / "answers").iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:-20])
    echo.asked.clear()

    run = bench(tmp_path / "run", plain_zoo, echo)

    assert len(echo.asked) == 6
    assert len(run.record["notes"]) == 1 and str(victim) in run.record["notes"][0]
    assert run.results == first.results


def test_answers_of_another_run_are_refused(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    bench(tmp_path / "one", plain_zoo, echo)
    bench(tmp_path / "two", plain_zoo, echo, seed=1)
    mine = sorted((tmp_path / "one" / "answers").iterdir())[0]
    mine.write_bytes(sorted((tmp_path / "two" / "answers").iterdir())[0].read_bytes())

    with pytest.raises(SuiteError, match=r"answers of another run \(.*seed 1 instead of 0"):
        bench(tmp_path / "one", plain_zoo, echo)


def test_more_items_keep_the_answers_of_fewer(
    tmp_path: Path, plain_zoo: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "CHUNK", 3)
    bench(tmp_path / "run", plain_zoo, echo, items=3, methods=["mean"])
    before = set(echo.asked)
    echo.asked.clear()

    run = bench(tmp_path / "run", plain_zoo, echo, items=6, methods=["mean"])

    assert not before & set(echo.asked)
    assert row(run, "mean", "vqa")["items"] == 6


def test_a_method_that_fails_is_a_row_with_its_reason(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    specs = [
        ModelSpec("argsort", "Keeps none", method={"name": "ties", "density": 0.0}),
        ModelSpec("mean", "Mean", method="mean"),
        ModelSpec("nonsense", "Nonsense", method={"name": "ties", "densty": 0.1}),
    ]

    run = bench(tmp_path / "run", plain_zoo, echo, specs=specs, tasks=["vqa"])

    assert "did you mean 'density'" in model(run, "nonsense")["failed"]
    assert row(run, "nonsense", "vqa")["points"] is None
    assert row(run, "nonsense", "vqa")["reason"] == model(run, "nonsense")["failed"]
    assert mean(run, "nonsense", "seen") is None
    assert row(run, "mean", "vqa")["points"] is not None
    assert model(run, "mean")["failed"] is None


def test_an_adapter_that_does_not_fit_is_a_row_too(tmp_path: Path, plain_zoo: Path) -> None:
    from contextlib import contextmanager

    from copamerge.errors import AdapterError

    class Picky(Echo):
        @contextmanager
        def use(self, adapter: Path | None) -> Any:
            if adapter is not None and adapter.name == "mtl":
                raise AdapterError(["mtl: does not fit", "mtl: at all"])
            with super().use(adapter) as warned:
                yield warned

    run = bench(tmp_path / "run", plain_zoo, Picky(), methods=["mean"])

    assert model(run, "mtl")["failed"] == "mtl: does not fit\nmtl: at all"
    assert row(run, "mtl", "vqa")["points"] is None
    assert row(run, "mean", "vqa")["points"] is not None


def test_warnings_are_kept_with_the_answers(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    path = plain_adapter(tmp_path / "warned", 3)
    specs = [ModelSpec("one", "One", adapter=path)]

    first = bench(tmp_path / "run", plain_zoo, echo, specs=specs, tasks=["vqa"])
    again = bench(tmp_path / "run", plain_zoo, echo, specs=specs, tasks=["vqa"])

    assert model(first, "one")["warnings"] == model(again, "one")["warnings"] == ["warned"]


def test_a_merge_is_found_again_until_an_input_changes(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    inputs = {task: plain_zoo / "shared" / task for task in ("vqa", "ocr")}
    specs = [ModelSpec("ties", "TIES", method="ties", inputs=inputs)]
    weights = tmp_path / "run" / "merged" / "ties" / "adapter_model.safetensors"

    def merged() -> tuple[int, str]:
        run = bench(tmp_path / "run", plain_zoo, echo, specs=specs, tasks=["vqa"])
        return weights.stat().st_mtime_ns, model(run, "ties")["digest"]

    first = merged()
    assert merged() == first
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    mended = merged()
    assert mended[0] != first[0] and mended[1] == first[1]
    specs = [replace(specs[0], inputs={**inputs, "ocr": plain_zoo / "own" / "ocr"})]
    assert merged()[1] != first[1]


def norms(path: Path) -> dict[str, float]:
    return layer_norms(open_adapter(str(path)))


def test_the_card_of_a_merge_takes_its_points_from_the_run(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    run = bench(tmp_path / "run", plain_zoo, echo, methods=["ties"], tasks=["vqa", "ocr"])
    # The same merge elsewhere is the same adapter.
    merged = tmp_path / "elsewhere"
    shutil.copytree(run.path / model(run, "ties")["adapter"], merged)

    scores = merge_scores(merged, [run.path])

    assert {task.task: task.points for task in scores.suites[0].tasks} == {
        name: row(run, "ties", name)["points"] for name in ("vqa", "ocr")
    }
    rewrite_card(merged, scores)
    assert len(ModelCard((merged / "README.md").read_text()).data.eval_results) == 2


def test_norm_match_gives_every_layer_the_mean_norm_of_the_inputs(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    run = bench(tmp_path / "run", plain_zoo, echo, scale_rule="norm_match", tasks=["vqa"])

    wanted = [norms(plain_zoo / "shared" / task) for task in SEEN]
    for name in ("mean", "ties"):
        assert model(run, name)["scale_rule"] == "norm_match"
        for layer, norm in norms(tmp_path / "run" / "merged" / name).items():
            assert norm == pytest.approx(np.mean([x[layer] for x in wanted]), rel=1e-5)
    assert model(run, "mtl")["scale_rule"] is None


class Fond(Echo):
    """Right the more often, the nearer an adapter's norm is to what it likes."""

    def __init__(self, norm: float) -> None:
        super().__init__()
        self.norm, self.put = norm, 0.0

    def use(self, adapter: Path | None) -> Any:
        if adapter is not None:
            self.put = sum(x**2 for x in norms(adapter).values()) ** 0.5
        return super().use(adapter)

    def answer(self, samples: Sequence[Any], asking: Any, batch: int) -> list[str]:
        self.asked += [(self._name, sample.id) for sample in samples]
        off = abs(np.log(self.put / self.norm))
        right = round(len(samples) / (1 + off))
        return [x.references[0] if i < right else "wrong" for i, x in enumerate(samples)]


def test_search_chooses_on_validation_and_is_written_down(tmp_path: Path, plain_zoo: Path) -> None:
    published = bench(tmp_path / "plain", plain_zoo, Echo(), methods=["mean"], tasks=["vqa"])
    size = sum(x**2 for x in norms(published.path / "merged" / "mean").values()) ** 0.5
    fond = Fond(norm=0.5 * size)

    run = bench(
        tmp_path / "run",
        plain_zoo,
        fond,
        methods=["mean"],
        scale_rule="search",
        tasks=["vqa", "tables"],
        items_validation=40,
    )

    search = model(run, "mean")["search"]
    assert search["chosen"] == model(run, "mean")["multiple"] == 0.5
    assert [x["multiple"] for x in search["grid"]] == list(GRID)
    assert max(search["grid"], key=lambda x: x["points"])["multiple"] == 0.5
    assert (search["split"], search["items"], search["mode"]) == ("validation", 40, "official")
    assert search["tasks"] == ["vqa"]  # the unseen are not looked at
    looked = {id.split("/")[1] for who, id in fond.asked if who and ".x" in who}
    assert looked == {"validation"}
    assert sum(x**2 for x in norms(run.path / "merged" / "mean").values()) ** 0.5 == pytest.approx(
        0.5 * size, rel=1e-5
    )


def test_a_multiple_multiplies_the_merged_delta(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    specs = [
        ModelSpec("plain", "Plain", method="mean"),
        ModelSpec("twice", "Twice", method="mean", multiple=2.0),
        ModelSpec("half", "Half", method="ties", multiple=0.5, scale_rule="norm_match"),
        ModelSpec("whole", "Whole", method="ties", scale_rule="norm_match"),
    ]

    run = bench(tmp_path / "run", plain_zoo, echo, specs=specs, tasks=["vqa"])

    of = {name: norms(run.path / "merged" / name) for name in ("plain", "twice", "half", "whole")}
    assert of["twice"] == pytest.approx({k: 2 * v for k, v in of["plain"].items()}, rel=1e-5)
    assert of["half"] == pytest.approx({k: v / 2 for k, v in of["whole"].items()}, rel=1e-5)


def test_only_some_adapters_and_tasks(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    specs = [
        ModelSpec("two", "Two", method="mean", merges=("vqa", "ocr"), tasks=("vqa", "tables")),
        ModelSpec("none", "None", method="mean", merges=("vqa", "orc")),
    ]

    run = bench(tmp_path / "run", plain_zoo, echo, specs=specs)

    assert [x["task"] for x in run.results["rows"] if x["model"] == "two"] == [
        "vqa",
        "vqa",
        "tables",
        "tables",
    ]
    assert model(run, "two")["merges"] == ["vqa", "ocr"]
    assert "did you mean 'ocr'" in model(run, "none")["failed"]


def test_one_item_has_no_standard_error(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    run = bench(tmp_path / "run", plain_zoo, echo, items=1, methods=["mean"], tasks=["vqa"])

    assert row(run, "mean", "vqa")["stderr"] is None
    assert row(run, "mean", "vqa")["points"] is not None


def test_an_experiment_runs_by_its_name(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    run = bench(tmp_path / "run", plain_zoo, echo, experiment="figure2a", tasks=["vqa"], items=3)

    assert run.record["experiment"] == "figure2a"
    assert not [x for x in run.record["models"] if x["failed"]]
    assert row(run, "individual-larger", "vqa")["points"] is not None


@pytest.mark.parametrize(
    "more, error, says",
    [
        ({"suite": "mimi"}, SuiteError, "did you mean 'mini'"),
        ({"tasks": ["vqa", "orc"]}, SuiteError, "did you mean 'ocr'"),
        ({"methods": ["tis"], "tasks": ["vqq"], "items": 0}, SuiteError, "(?s)vqa.*ties.*items"),
        ({"methods": ["tis", "mena"], "tasks": ["vqq"]}, SuiteError, "did you mean 'ties'"),
        ({"adapter_set": "shraed"}, SuiteError, "did you mean 'shared'"),
        ({"scale_rule": "norm"}, SuiteError, "did you mean 'norm_match'"),
        ({"items": 0}, SuiteError, "at least 1"),
        ({"specs": []}, SuiteError, "no models"),
        ({"specs": [ModelSpec("../up", "Up")]}, SuiteError, "used for a folder"),
        ({"specs": [ModelSpec("a", "A"), ModelSpec("a", "B")]}, SuiteError, "occurs twice"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, plain_zoo: Path, echo: Echo, more: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        bench(tmp_path / "run", plain_zoo, echo, **more)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, plain_zoo: Path, echo: Echo
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")

    with pytest.raises(OutputError, match=r"no run\.json"):
        bench(tmp_path / "run", plain_zoo, echo)


def test_progress_never_goes_back_and_ends(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    told: dict[str, list[tuple[int, int]]] = {}

    bench(
        tmp_path / "run",
        plain_zoo,
        echo,
        tell=lambda label, done, total: told.setdefault(label, []).append((done, total)),
    )

    assert set(told) == {"merging", "answering", "scoring"}
    for steps in told.values():
        assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]


def test_two_runs_can_share_their_answers(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    bench(tmp_path / "one", plain_zoo, echo, answers=tmp_path / "answers")
    echo.asked.clear()

    bench(tmp_path / "two", plain_zoo, echo, answers=tmp_path / "answers")

    assert echo.asked == []


def test_answers_of_unlike_machines_are_noted(tmp_path: Path, plain_zoo: Path, echo: Echo) -> None:
    echo.versions = {"device": "cuda", "dtype": "bfloat16"}
    one = bench(tmp_path / "one", plain_zoo, echo, answers=tmp_path / "shared")
    echo.versions = {"device": "cpu", "dtype": "float32"}
    two = bench(
        tmp_path / "two", plain_zoo, echo, answers=tmp_path / "shared", methods=["mean", "copa"]
    )

    assert one.record["notes"] == []
    (note,) = two.record["notes"]
    assert note.startswith("answers of cpu float32 and cuda bfloat16 batch 100 are mixed")


def test_versions_never_raise() -> None:
    assert record.versions()["copamerge"]
