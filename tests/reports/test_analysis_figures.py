"""Figures of an analysis: the same bytes each time, what is missing said and never drawn as 0."""

import io
from pathlib import Path

import analysed
import numpy as np
import pytest
from analysed import HOSTILE
from PIL import Image

from copamerge.analyzing import Analysis
from copamerge.reports.analysis_figures import FIGURES, draw_analysis
from copamerge.reports.document import inline_svg
from copamerge.reports.drawn_copa import typical_S
from copamerge.reports.look import Drawn, looks
from copamerge.reports.sketch import MOST, along, called

ALL = [
    *("spectra", "energy", "pairs", "kept", "directions", "directions-by-adapter"),
    *("copa", "entries"),
]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysed.plain(tmp_path_factory.mktemp("three"), 3)


@pytest.fixture(scope="module")
def missing(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysed.missing(tmp_path_factory.mktemp("missing"))


def by_name(drawn: tuple[Drawn, ...]) -> dict[str, Drawn]:
    return {one.name: one for one in drawn}


def test_every_figure_draws_the_same_bytes_twice(three: Analysis) -> None:
    one, two = draw_analysis(three), draw_analysis(three)

    assert one == two
    assert [each.name for each in one] == ALL
    for each in one:
        assert each.svg.count("<svg") == 1 and "<dc:date>" not in each.svg
        assert each.png.startswith(b"\x89PNG") and each.caption.endswith(".")
        # The page allows no pictures from elsewhere, not even from inside itself.
        assert "<image" not in each.svg and "data:" not in each.svg


@pytest.mark.parametrize(
    ("n", "methods", "left_out"),
    [
        (1, (), {"pairs", "kept", "directions", "directions-by-adapter"}),
        (1, ("copa",), {"pairs", "directions-by-adapter"}),
        (2, analysed.METHODS, set()),
        (3, (), {"kept", "directions", "directions-by-adapter"}),
        pytest.param(8, (*analysed.METHODS, "mean", "ties"), set(), marks=pytest.mark.slow),
        pytest.param(MOST + 2, ("mean",), {"directions-by-adapter"}, marks=pytest.mark.slow),
    ],
)
def test_any_number_of_adapters_and_merges_has_its_figures(
    tmp_path: Path, n: int, methods: tuple[str, ...], left_out: set[str]
) -> None:
    drawn = draw_analysis(analysed.plain(tmp_path, n, methods))

    assert [one.name for one in drawn] == [name for name in ALL if name not in left_out]
    for one in drawn:
        with Image.open(io.BytesIO(one.png)) as picture:
            ink = np.asarray(picture.convert("L")) < 200
        assert ink.mean() > 0.003, one.name


@pytest.mark.slow
def test_many_adapters_are_alike_with_their_median(tmp_path: Path) -> None:
    record = analysed.plain(tmp_path, MOST + 1, ())
    drawn = by_name(draw_analysis(record))

    assert f"All {MOST + 1} adapters are thin lines" in drawn["spectra"].caption


def test_what_is_missing_is_left_out_and_said(missing: Analysis) -> None:
    drawn = by_name(draw_analysis(missing))

    zero = "zero (its delta is zero in every layer)"
    for name in ("spectra", "energy", "copa", "kept"):
        assert f"Not drawn: {zero}" in drawn[name].caption, name
    assert "zero and rank3 (one of the two deltas is zero" in drawn["pairs"].caption
    assert "Rows of A are compared only where ranks are equal." in drawn["pairs"].caption
    assert "factor_linear" in drawn["directions"].caption
    assert "Where ranks differ" in drawn["directions"].caption


def test_lines_of_missing_adapters_have_no_points_at_all(missing: Analysis) -> None:
    with looks():
        sketches = [sketch for draw in FIGURES if (sketch := draw(missing)) is not None]

    lines = {
        sketch.name: [line for ax in sketch.figure.axes for line in ax.lines] for sketch in sketches
    }
    labels = {name: [str(line.get_label()) for line in found] for name, found in lines.items()}
    assert [x for x in labels["spectra"] if not x.startswith("_")][:2] == ["whole", "rank3"]
    for name in ("spectra", "energy", "kept", "directions"):
        assert "zero" not in labels[name]
    preserved = [line for line in lines["kept"] if line.get_label() == "task_arithmetic"]
    assert all(len(line.get_xdata()) == 2 for line in preserved)


def test_nothing_but_zero_draws_nothing(tmp_path: Path) -> None:
    names = [one.name for one in draw_analysis(analysed.nothing(tmp_path))]

    # A's entries are still there.
    assert names == ["entries"]


def test_foreign_names_are_harmless_and_told_apart(tmp_path: Path) -> None:
    record = analysed.hostile(tmp_path)
    names = called(record)

    drawn = draw_analysis(record)

    assert len(set(names.adapters)) == 2 and all("\u202e" not in x for x in names.adapters)
    assert all("<img" not in inline_svg(one) for one in drawn)
    assert HOSTILE.split("$")[0][:4] in record.adapters[0].adapter


def test_lines_go_through_few_places_of_many() -> None:
    assert along(5) == [0, 1, 2, 3, 4]
    found = along(128)
    assert found[:4] == [0, 1, 2, 3] and found[-1] == 127 and len(found) <= 28
    assert found == sorted(set(found))


def test_the_usual_S_is_that_of_drawn_entries() -> None:
    # 200,000 entries: the ratio of sums is known to three digits.
    rng = np.random.default_rng(0)
    for entries, expected in zip(
        (rng.uniform(-1, 1, 200_000), rng.normal(size=200_000)), typical_S(0.2), strict=True
    ):
        size = np.sort(np.abs(entries))[::-1]
        assert size.sum() / size[: len(size) // 5].sum() == pytest.approx(expected, rel=3e-3)
    assert typical_S(1.0) == (1.0, 1.0)
