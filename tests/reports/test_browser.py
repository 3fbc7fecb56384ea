"""Pages in a real browser: from disk, without a complaint, in every light and on every width."""

import json
import time
from pathlib import Path

import pytest
from browser import DARK, asked, browse, console, needs_browser, shot
from fake_merges import MODULES, fake_merge
from test_page import HOSTILE

from copamerge.reports import Run, write_report
from copamerge.reports.kinds import Asked, report_on

pytestmark = needs_browser
PHONE = 390
"""Pixels across the usual phone."""
TASKS = ("scienceqa", "imagenet", "vqav2", "rec", "ocrvqa", "flickr30k", "vizwiz", "iconqa")


@pytest.fixture(scope="module")
def runs(table2: Run, table7: Run, tradeoff: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs-page") / "report.html"
    return write_report([tradeoff, table7, table2], out, resamples=100)


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three merges, one of them with names that are long and hostile."""
    folder = tmp_path_factory.mktemp("merges-page")
    names = ("a" * 90, HOSTILE)
    made = [
        fake_merge(folder / "copa", names=names, energy_kept_worst=0.5, warnings=[HOSTILE * 3]),
        fake_merge(folder / "ties", names=names, method="ties", seed=1),
        fake_merge(folder / ("long-" * 30), names=names, method=HOSTILE, seed=2),
    ]
    return report_on(made, Asked(folder / "report.html"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five merges of eight adapters of LLaVA-1.5-7B's size."""
    folder = tmp_path_factory.mktemp("large-page")
    made = [
        fake_merge(folder / method, method=method, names=TASKS, blocks=32, seed=i)
        for i, method in enumerate(("copa", "ties", "dare", "mean", "tsv_m"))
    ]
    return report_on(made, Asked(folder / "report.html"))


@pytest.fixture(params=["runs", "merges", "large"])
def page(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def test_what_a_page_complains_of_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<script>console.log(nowhere)</script>")

    assert any("nowhere is not defined" in line for line in console(page))


def test_the_page_opens_from_disk_without_a_complaint(page: Path) -> None:
    assert console(page) == []
    assert console(page, DARK, "--window-size=500,900") == []


def test_nothing_is_wider_than_a_phone(page: Path) -> None:
    wide, inner = asked(
        page,
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth];",
        width=PHONE,
    )

    assert inner == PHONE and wide == PHONE


def test_the_page_is_light_by_day_and_dark_by_night(page: Path) -> None:
    light, dark = shot(page, "--window-size=1200,900"), shot(page, DARK, "--window-size=1200,900")

    assert light.getpixel((5, 5)) == 255 and dark.getpixel((5, 5)) < 40
    # More than a blank page: many shades.
    assert all(sum(map(bool, image.histogram())) > 20 for image in (light, dark))


def test_the_page_prints_all_that_is_folded(page: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "page.pdf"

    _, log = browse(page, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")

    assert "CONSOLE" not in log
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 20_000


def test_a_large_page_is_light_and_quick(large: Path) -> None:
    # 8 adapters x 224 layers, five methods: the issue's own limit.
    assert large.stat().st_size < 3_000_000

    began = time.perf_counter()
    cells, ready, redraw = asked(
        large,
        "const select = document.querySelector('#layers-0 select'); const t = performance.now();"
        "select.value = 2; select.dispatchEvent(new Event('change'));"
        "return [document.querySelectorAll('.heat-panel [data-i]').length, "
        "performance.getEntriesByType('navigation')[0].domInteractive, performance.now() - t];",
    )

    assert cells == 225 * (5 + 5 * 9)
    # 0.4 s and 5 ms on two idle cores; ten times as much on busy ones.
    assert ready < 4_000 and redraw < 500, (time.perf_counter() - began, ready, redraw)


def test_the_number_of_every_layer_is_the_one_in_the_record(large: Path) -> None:
    record = json.loads((large.parent / "copa" / "merge.json").read_text())

    said = asked(
        large,
        "const panel = document.querySelectorAll('#layers-0 .heat-panel')[3];"
        "const cells = [...panel.querySelectorAll('[data-i]')];"
        "const tips = [...document.querySelectorAll('.heat-tip')];"
        "return cells.map((cell) => { cell.dispatchEvent(new PointerEvent('pointermove', "
        "{bubbles: true, pointerType: 'mouse'})); const tip = tips.find((x) => !x.hidden);"
        "return [...tip.children].map((x) => x.textContent); });",
    )

    shown = {layer: (float(number.replace("−", "-")), panel) for number, _, layer, panel in said}
    assert len(shown) == 32 * len(MODULES) + 1
    for layer in record["layers"]:
        number, panel = shown[layer["layer"]]
        assert panel == "vqav2"
        assert number == pytest.approx(layer["cosines"][2], rel=1e-3)


def test_the_table_of_all_layers_sorts_and_filters(large: Path) -> None:
    count, first, numbers = asked(
        large,
        "const fold = document.querySelector('#merge-0 details'); fold.open = true;"
        "const box = fold.querySelector('.filter input'); box.value = 'layers.7. mlp';"
        "box.dispatchEvent(new Event('input'));"
        "const table = fold.querySelector('table');"
        "const column = [...table.tHead.rows[0].cells].findIndex("
        "(x) => x.textContent === 'Energy kept');"
        "table.tHead.rows[0].cells[column].querySelector('button').click();"
        "const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);"
        "return [fold.querySelector('output').textContent, rows[0].cells[0].textContent, "
        "rows.map((row) => Number(row.cells[column].dataset.sort))];",
    )

    record = json.loads((large.parent / "copa" / "merge.json").read_text())
    kept = {
        layer["layer"]: layer["energy_kept"]
        for layer in record["layers"]
        if "layers.7.mlp" in layer["layer"]
    }
    assert count == "3 of 225"
    assert numbers == sorted(kept.values(), reverse=True)
    assert kept[first] == max(kept.values())


def test_a_runs_table_sorts_with_missing_numbers_last(runs: Path) -> None:
    falling, rising = asked(
        runs,
        "const t = document.querySelector('#table2 table');"
        "const head = [...t.tHead.rows[0].cells].findIndex("
        "(c) => c.textContent.startsWith('Unseen mean'));"
        "return [0, 1].map(() => { t.tHead.rows[0].cells[head].querySelector('button').click();"
        "return [...t.tBodies[0].rows].map((r) => r.cells[head].dataset.sort ?? null); });",
    )

    assert falling[-1] is rising[-1] is None
    numbers = [float(each) for each in falling[:-1]]
    assert numbers == sorted(numbers, reverse=True)
    assert [float(each) for each in rising[:-1]] == sorted(numbers)


def test_hostile_names_run_nothing_and_stay_in_their_place(merges: Path) -> None:
    scripts, images, title = asked(
        merges,
        "return [document.querySelectorAll('script:not([type])').length, "
        "document.querySelectorAll('img').length, document.title];",
    )

    # The page's own script and the one that asks.
    assert scripts == 2 and images == 0
    assert title == "copamerge report: 3 merges"
