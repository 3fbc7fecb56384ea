"""Figures: the right numbers, the same bytes each time, readable without colour."""

import io
from pathlib import Path

import numpy as np
import pytest
from fake_runs import curved, experiment_run
from PIL import Image
from safetensors.torch import load_file, save_file

from copamerge.bench.experiments import EXPERIMENTS
from copamerge.errors import CopamergeError
from copamerge.reports import Run, figures, look, open_run
from copamerge.reports.figures import draw
from copamerge.reports.look import Drawn
from copamerge.reports.series import mean_sd, repeated, series
from copamerge.reports.spectra import multiples, spreads
from makers import LAYERS, make_adapter


@pytest.fixture(scope="session")
def all_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    root = tmp_path_factory.mktemp("figures")
    return {
        name: open_run(experiment_run(root / name, name, items=20, skill=curved))
        for name in EXPERIMENTS
        if name in figures.FROM_RUNS
    }


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("zoo")
    return [make_adapter(root / f"a{i}", r=4, seed=i) for i in range(2)]


def grey(drawn: Drawn) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(io.BytesIO(drawn.png)).convert("L"))


@pytest.mark.parametrize("name", figures.FROM_RUNS)
def test_every_figure_draws_the_same_bytes_twice(name: str, all_runs: dict[str, Run]) -> None:
    one, two = (draw(name, [all_runs[name]]) for _ in range(2))

    assert one == two
    assert one.svg.count("<svg") == 1 and "<dc:date>" not in one.svg
    assert one.png.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", figures.FROM_RUNS)
def test_every_figure_says_what_it_varies_and_what_the_paper_has(
    name: str, all_runs: dict[str, Run]
) -> None:
    caption = draw(name, [all_runs[name]]).caption

    assert EXPERIMENTS[name].about in caption
    assert ("The paper" in caption) == (name != "tradeoff")


def test_a_style_differs_from_every_other_without_colour() -> None:
    looks = [look.look(i) for i in range(12)]
    fills = [look.fill(i) for i in range(12)]

    assert len({look["marker"] for look in looks}) == 12
    assert len({fill["hatch"] for fill in fills}) == 12


def test_methods_of_one_figure_have_unlike_styles(all_runs: dict[str, Run]) -> None:
    for name in ("figure2a", "figure4", "figure5", "tradeoff"):
        styles = [one.style for one in series(all_runs[name])]
        assert len(set(styles)) == len(styles), name


def test_a_figure_is_not_blank_and_nothing_is_cut_off_at_its_edge(
    all_runs: dict[str, Run],
) -> None:
    for name in figures.FROM_RUNS:
        picture = grey(draw(name, [all_runs[name]]))
        assert (picture < 128).mean() > 0.003, name
        edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
        assert all((edge > 200).all() for edge in edges), name


def test_the_drawn_numbers_are_the_runs(all_runs: dict[str, Run]) -> None:
    run = all_runs["figure4"]
    copa = next(one for one in series(run) if one.label == "CoPA")

    x, y, errors = copa.line("seen")

    assert x == [2, 4, 6, 8]
    assert y == [run.mean(f"copa-{k}", "seen").points for k in (2, 4, 6, 8)]  # type: ignore[union-attr]
    assert all(error > 0 for error in errors)


def test_individual_models_have_no_bar_for_unseen_tasks(all_runs: dict[str, Run]) -> None:
    individual = next(one for one in series(all_runs["figure2a"]) if one.label == "Individual")

    assert individual.line("unseen") == ([], [], [])


def test_figure_6c_counts_runs_and_merge_seeds(tmp_path: Path, all_runs: dict[str, Run]) -> None:
    other = open_run(experiment_run(tmp_path / "r", "figure6c", items=20, seed=1))

    found = {one.label: one for one in repeated([all_runs["figure6c"], other])}

    assert len(found["DARE"].values["seen"]) == 10
    assert len(found["CoPA-Merging"].values["seen"]) == 2
    caption = draw("figure6c", [all_runs["figure6c"], other]).caption
    assert "2 runs, item seeds 0, 1, 1 zoo." in caption


def test_one_value_has_no_standard_deviation() -> None:
    assert mean_sd([3.0]) == (3.0, None)
    assert mean_sd([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))


def test_the_users_matplotlib_settings_are_left_alone(all_runs: dict[str, Run]) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 31.0}):
        one = draw("figure6b", [all_runs["figure6b"]])
        assert mpl.rcParams["font.size"] == 31.0
    assert one == draw("figure6b", [all_runs["figure6b"]])


def test_dollars_and_strange_scripts_in_titles_do_no_harm(tmp_path: Path) -> None:
    path = experiment_run(
        tmp_path / "r",
        "figure6b",
        items=5,
        models={
            "magnitude": {"x": r"$\frac{1", "title": "$x$"},
            "random": {"x": "合并"},
            "sign": {"x": "<b>&amp;"},
        },
    )

    drawn = draw("figure6b", [open_run(path)])

    assert "<b>" not in drawn.svg


def test_without_matplotlib_the_extra_is_named(
    all_runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)

    with pytest.raises(CopamergeError, match=r"copamerge\[report\]"):
        draw("figure6b", [all_runs["figure6b"]])


def test_the_multiples_are_ratios_of_singular_values(tmp_path: Path) -> None:
    wide = {"model.layers.0.self_attn.q_proj": (64, 48)}
    pruned, copa = multiples([make_adapter(tmp_path / "a", wide, r=4)])

    # Pruning takes from every singular value; S gives back, at density 0.2 more than was taken.
    assert pruned.mean.shape == (4,) and (pruned.mean < 1).all()
    assert (copa.mean > pruned.mean).all()
    assert (copa.low <= copa.mean).all() and (copa.mean <= copa.high).all()


def test_the_spread_of_the_entries_is_measured(adapters: list[Path]) -> None:
    found = {one.label: one for one in spreads(adapters, {})}

    assert set(found) == {"LoRA A", "LoRA B", "LoRA delta"}
    widths = np.diff(found["LoRA A"].edges)
    assert (found["LoRA A"].density * widths).sum() == pytest.approx(1.0, abs=0.01)
    assert found["LoRA A"].sd == pytest.approx(1.0, abs=0.2)
    assert found["LoRA B"].entries == 2 * sum(4 * d_out for d_out, _ in LAYERS.values())


def test_full_fine_tuning_is_drawn_where_the_zoo_has_it(
    adapters: list[Path], tmp_path: Path
) -> None:
    tensors = load_file(adapters[0] / "adapter_model.safetensors")
    for name, factor in (("base", 1.0), ("full", 1.01)):
        (tmp_path / name).mkdir()
        scaled = {key: factor * tensor for key, tensor in tensors.items()}
        save_file(scaled, tmp_path / name / "model.safetensors")

    found = spreads(adapters, {tmp_path / "full": tmp_path / "base"})

    assert found[-1].label == "full fine-tuning delta"
    assert found[-1].sd == pytest.approx(0.01, abs=0.004)
    assert "Full fine-tuning is not drawn" not in draw("figure2c", (), entries=found).caption
    without = draw("figure2c", (), entries=found[:-1])
    assert "Full fine-tuning is not drawn" in without.caption
    with pytest.raises(CopamergeError, match="cannot be read"):
        spreads(adapters, {tmp_path / "nowhere": tmp_path / "base"})


def test_figure_2b_has_both_panels_or_either(
    adapters: list[Path], all_runs: dict[str, Run]
) -> None:
    measured = multiples(adapters)

    widths = [
        grey(draw("figure2b", runs, measured=given)).shape[1]
        for runs, given in (
            ([all_runs["figure2b"]], measured),
            ([all_runs["figure2b"]], ()),
            ((), measured),
        )
    ]

    assert widths[0] > widths[1] == widths[2]
