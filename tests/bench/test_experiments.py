"""The paper's tables and figures as lists of models: complete, valid, and made of a zoo."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from echo import Echo

from copamerge.bench.engine import run_bench
from copamerge.bench.entries import Entry
from copamerge.bench.executors import Local
from copamerge.bench.experiments import (
    COMPARED,
    COUNTS,
    CURVES,
    EXPERIMENTS,
    PAPER_METHODS,
    RANKS,
    experiment_named,
)
from copamerge.bench.placing import model_specs
from copamerge.bench.specs import ModelSpec, check_specs
from copamerge.bench.zoo import open_zoo, write_manifest
from copamerge.errors import SuiteError
from copamerge.methods import method_from, method_names
from copamerge.reports import open_run, write_report
from copamerge.suites import Suite, suite_named
from makers import make_adapter

MINI = suite_named("mini")
EVERY = [(name, entry) for name, each in EXPERIMENTS.items() for entry in each.models(MINI)]


def entries(name: str) -> tuple[Entry, ...]:
    return EXPERIMENTS[name].models(MINI)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_names_are_unique_and_can_be_folders(name: str) -> None:
    check_specs([ModelSpec(entry.name, entry.title) for entry in entries(name)])


@pytest.mark.parametrize("entry", [entry for _, entry in EVERY if entry.method is not None])
def test_every_merge_is_a_method_with_options_it_has(entry: Entry) -> None:
    assert method_from({"name": entry.method, **entry.options}).called == entry.method


@pytest.mark.parametrize(("name", "entry"), EVERY)
def test_tasks_and_adapters_are_the_suites(name: str, entry: Entry) -> None:
    MINI.pick(entry.tasks)
    seen = {task.name for task in MINI.seen}
    assert entry.adapters is None or set(entry.adapters) <= seen
    assert (entry.method is None) == (entry.kind != "merge")


def test_table_2_has_the_papers_rows_first_and_every_method_of_ours() -> None:
    rows = entries("table2")

    assert [row.kind for row in rows[:3]] == ["zero-shot", "individual", "mtl"]
    assert [row.method for row in rows[3:8]] == list(PAPER_METHODS)
    assert {row.method for row in rows[3:]} == set(method_names()) - {"swudi"}
    assert all(not row.options and row.multiple == 1.0 for row in rows)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("table2", "published"), ("table2-norm-match", "norm_match"), ("table2-search", "search")],
)
def test_in_a_table_nobody_has_another_scale_rule_than_the_others(name: str, rule: str) -> None:
    assert {entry.scale_rule for entry in entries(name) if entry.kind == "merge"} == {rule}


@pytest.mark.parametrize("name", ["figure2a", "figure4", "figure5", "figure6c"])
def test_figures_that_compare_methods_do_so_at_one_size(name: str) -> None:
    assert {e.scale_rule for e in entries(name) if e.kind == "merge"} == {"norm_match"}


def test_table_6_switches_parts_on_one_by_one_up_to_copa() -> None:
    one_size = entries("table6")[:4]
    options = [method_from({"name": "copa", **entry.options}).model_dump() for entry in one_size]

    assert [(o["density"], o["coefficients"], o["normalize"]) for o in options] == [
        (1.0, "none", False),
        (0.2, "none", False),
        (0.2, "inter", False),
        (0.2, "inter", True),
    ]


def test_table_7_goes_through_every_kind_of_coefficient() -> None:
    assert [
        method_from({"name": "copa", **entry.options}).model_dump()["coefficients"]
        for entry in entries("table7")
    ] == ["none", "A", "B", "AB", "inter"]


def test_figure_4_asks_the_merged_tasks_and_the_unseen_ones() -> None:
    seen = [task.name for task in MINI.seen]
    unseen = {task.name for task in MINI.unseen}

    for entry in entries("figure4"):
        assert entry.adapters == tuple(seen[: int(entry.x or 0)])
        assert set(entry.tasks or ()) == {*entry.adapters, *unseen}
    assert [entry.x for entry in entries("figure4")] == [k for k in COUNTS for _ in COMPARED]


def test_figure_5_takes_the_default_set_at_the_rank_it_has() -> None:
    sets = {entry.x: entry.adapter_set for entry in entries("figure5")}

    assert sets == {4: "rank4", 8: "rank8", 16: None, 32: "rank32", 64: "rank64"}
    assert set(sets) == set(RANKS)


def test_figure_6c_repeats_what_is_random_and_nothing_else() -> None:
    seeds: dict[str, list[int]] = {}
    for entry in entries("figure6c"):
        seeds.setdefault(f"{entry.method}{sorted(entry.options)}", []).append(entry.seed)

    assert [found for found in seeds.values() if len(found) > 1] == [[0, 1, 2, 3, 4]]


def test_the_trade_off_covers_every_method_with_a_scale() -> None:
    curves: dict[str | None, list[float]] = {}
    for entry in entries("tradeoff")[1:]:
        assert entry.multiple == entry.x
        curves.setdefault(entry.method, []).append(entry.multiple)

    assert set(curves) == set(CURVES)
    assert all(curve == sorted(curve) and 1.0 in curve for curve in curves.values())


def test_an_unknown_experiment_is_refused_with_a_suggestion() -> None:
    with pytest.raises(SuiteError, match=r"figure6d.*did you mean 'figure6"):
        experiment_named("figure6d")


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "zoo"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "config.json").write_text("{}")
    for i, task in enumerate(MINI.seen):
        make_adapter(folder / "shared" / task.name, seed=i)
    make_adapter(folder / "mtl", seed=99)
    write_manifest(folder)
    yield folder


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "figure5"])
def test_a_zoo_gives_every_model_what_it_is_made_of(zoo: Path, name: str, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "run"
    with model_specs(name, MINI, open_zoo(zoo), "shared", beside=out) as specs:
        check_specs(specs)
        assert [spec.name for spec in specs] == [entry.name for entry in entries(name)]
        for spec, entry in zip(specs, entries(name), strict=True):
            assert spec.x == entry.x
            if spec.kind == "merge":
                assert list(spec.inputs or {}) == [task.name for task in MINI.seen]
                assert all(
                    (path / "adapter_config.json").is_file() for path in spec.inputs.values()
                )
    # Nothing is made where nothing has to be: a dry run leaves no trace.
    changed = any(entry.spectrum for entry in entries(name))
    assert (tmp_path / "runs").exists() == changed
    assert not changed or not list((tmp_path / "runs").iterdir())


def test_changed_singular_values_are_gone_after_the_block_even_on_an_error(
    zoo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with (
        pytest.raises(RuntimeError),
        model_specs("figure2a", MINI, open_zoo(zoo), "shared", beside=out) as specs,
    ):
        individual = next(spec for spec in specs if spec.name == "individual-larger")
        assert isinstance(individual.adapter, dict)
        changed = individual.adapter["vqa"]
        assert json.loads((changed / "spectrum.json").read_text())["spectrum"]["keep"] == "larger"
        raise RuntimeError

    assert not changed.exists()


def test_a_zoo_without_a_multi_task_adapter_has_no_such_row(zoo: Path, tmp_path: Path) -> None:
    for file in (zoo / "mtl").iterdir():
        file.unlink()
    write_manifest(zoo)

    with model_specs("table2", MINI, open_zoo(zoo), "shared", beside=tmp_path / "run") as specs:
        assert "mtl" not in {spec.name for spec in specs}


def test_on_a_suite_without_seen_tasks_all_adapters_of_the_zoo_are_merged(
    zoo: Path, tmp_path: Path
) -> None:
    general = Suite("general", MINI.unseen, averaged=False)

    with model_specs("table3", general, open_zoo(zoo), "shared", beside=tmp_path / "run") as specs:
        assert [spec.kind for spec in specs[:2]] == ["zero-shot", "mtl"]
        assert all(spec.kind == "merge" for spec in specs[2:])
        assert set(specs[2].inputs or {}) == {task.name for task in MINI.seen}


def test_missing_ranks_are_named_with_the_command_that_trains_them(
    zoo: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(SuiteError, match=r"figure5 needs rank32, rank4.*copamerge train mini-ad"),
        model_specs("figure5", MINI, open_zoo(zoo), "shared", beside=tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize("name", ["table2", "table2-search", "table6", "figure2a", "figure4"])
def test_an_experiment_runs_and_is_reported(
    name: str, plain_zoo: Path, echo: Echo, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    run_bench(
        path,
        zoo=plain_zoo,
        experiment=name,
        items=4,
        items_validation=2,
        executor=Local(lambda: echo),
    )

    run = open_run(path)

    assert run.experiment == name
    assert [model.name for model in run.models] == [entry.name for entry in entries(name)]
    assert run.places == {entry.name: entry.x for entry in entries(name) if entry.x is not None}
    assert not [model.failed for model in run.models if model.failed]
    page = write_report([run], tmp_path / "report", resamples=100)
    assert page.is_file()
