"""The page on an analysis: every number in its place, foreign text harmless, in a real browser."""

import json
import re
from html import unescape
from pathlib import Path
from shlex import split
from typing import Any

import analysed
import pytest
from browser import DARK, asked, console, needs_browser, shot

from copamerge.analyzing import Analysis
from copamerge.analyzing.record import Advice, Notice
from copamerge.reports import numbers
from copamerge.reports.analysis_commands import analyze_command, merge_command
from copamerge.reports.analysis_figures import draw_analysis
from copamerge.reports.analysis_maps import MOST_PANELS, merge_maps, pair_maps
from copamerge.reports.analysis_page import analysis_html
from copamerge.reports.sketch import called
from makers import make_adapter


def text_of(record: Analysis, *, figures: bool = False) -> str:
    return analysis_html(record, draw_analysis(record) if figures else (), out=Path("analysis"))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysed.plain(tmp_path_factory.mktemp("four"), 4)


@pytest.fixture(scope="module")
def missing(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysed.missing(tmp_path_factory.mktemp("missing"))


@pytest.fixture(scope="module")
def page(four: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(text_of(four, figures=True), encoding="utf-8")
    return path


def maps(text: str, key: str) -> Any:
    found = re.search(rf'id="{key}-numbers">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


# --- what it says --------------------------------------------------------------------------------


def test_answers_come_with_commands_that_merge_these_adapters(four: Analysis) -> None:
    text = text_of(four)

    for said in (four.answers.fit, four.answers.related, four.answers.dominates, four.answers.lost):
        assert said in unescape(text)
    commands = [unescape(x) for x in re.findall(r'<code class="command"[^>]*>(.*?)</code>', text)]
    assert len(commands) == sum("-m " in one.command for one in four.answers.methods) > 1
    for command in commands:
        words = split(command)
        assert words[:2] == ["copamerge", "merge"]
        assert words[-4:] == [one.adapter for one in four.adapters]


def test_commands_carry_the_recipe(four: Analysis) -> None:
    recipe = {**four.recipe, "rank": "max", "seed": 3, "allow_different_bases": True}
    recipe["adapters"] = [{**one, "weight": 0.5} for one in four.recipe["adapters"]]
    changed = four.model_copy(update={"recipe": recipe, "within_degrees": 30.0})
    advice = Advice(command="-m copa", situation="", why="")

    again = split(analyze_command(changed, Path("my page")))
    merge = split(merge_command(changed, advice) or "")

    for words in (again, merge):
        assert words[words.index("--weights") + 1 :][:4] == ["0.5"] * 4
        assert words[words.index("--rank") + 1] == "max" and words[words.index("--seed") + 1] == "3"
        assert "--allow-different-bases" in words
    assert again[-2:] == ["-o", "my page"] and again[again.index("--within") + 1] == "30"
    assert again[again.index("--methods") + 1] == ",".join(analysed.METHODS)
    assert merge_command(four, Advice(command="--set balance=cap", situation="", why="")) is None


def test_the_command_that_repeats_it_is_one_that_the_program_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from copamerge.cli import analyze  # noqa: F401 - it registers itself
    from copamerge.cli._app import app, spread

    record = analysed.plain(tmp_path, 2, ("copa",))
    monkeypatch.chdir(tmp_path)

    words = split(analyze_command(record, Path("again")))[1:]
    done = CliRunner().invoke(app, [*spread(words), "--no-figures"])

    assert done.exit_code == 0, done.output
    written = Analysis.model_validate_json((tmp_path / "again/analysis.json").read_text())
    assert written.merges == record.merges and written.pairs == record.pairs


def test_warnings_stand_on_top_with_what_to_do(four: Analysis) -> None:
    merges = [
        one.model_copy(update={"notices": (Notice(text="ranks differ", do="take `ties`"),)})
        for one in four.merges
    ]
    broken = four.merges[2].model_copy(update={"failed": "it refuses", "traces": (), "rank": None})
    record = four.model_copy(
        update={
            "notices": (Notice(text="norms differ 11 x", do="cap them"),),
            "merges": (*merges[:2], broken),
        }
    )

    text = text_of(record)

    top = text[: text.index("<main>")]
    assert "3 warnings" in top
    assert "norms differ 11 x. <b>What to do:</b> cap them" in top
    assert "task_arithmetic, copa: ranks differ. <b>What to do:</b> take <code>ties</code>" in top
    assert "no merge: it refuses." in top


def test_maps_hold_the_numbers_of_the_record(four: Analysis) -> None:
    text = text_of(four)

    adapters, pairs, merges = (maps(text, f"of-{x}") for x in ("adapters", "pairs", "merges"))
    layer = next(x for x in four.layers if x.layer == "model.layers.1.self_attn.v_proj")
    at = 3  # the last of two blocks by two modules
    assert [x[0] for x in adapters["rows"]] == ["model.layers.0", "model.layers.1"]
    for i, panel in enumerate(adapters["panels"]):
        assert panel["title"] == f"task{i}"
        one = layer.adapters[i]
        assert one is not None
        assert panel["values"]["norm"][at] == pytest.approx(one.norm, rel=1e-3)
        assert panel["values"]["S"][at] == pytest.approx(one.S_mean, rel=1e-3)
    assert len(pairs["panels"]) == 6
    third = layer.pairs[2]
    assert pairs["panels"][2]["title"] == f"task{third.one} and task{third.other}"
    assert pairs["panels"][2]["values"]["cosine"][at] == pytest.approx(third.cosine, rel=1e-3)
    assert [x["group"] for x in merges["panels"]] == [m for m in analysed.METHODS for _ in range(4)]
    trace = (layer.merges[1] or ())[2]
    assert trace is not None
    values = merges["panels"][6]["values"]
    assert values["angle"][at] == pytest.approx(trace.angles[0], rel=1e-3)
    assert values["interference"][at] == pytest.approx(trace.trace.interference, rel=1e-3)


def test_nulls_are_dashes_that_say_why(missing: Analysis) -> None:
    text = text_of(missing)

    assert ">nan" not in text.lower() and ">None<" not in text
    assert '<td title="its delta is zero in every layer">–</td>' in text
    assert '<td title="one of the two deltas is zero in every layer that both have">–</td>' in text
    assert re.search(r'<td title="no merge: [^"]*">–</td>', text)
    found = maps(text, "of-adapters")
    assert "its delta is zero in this layer" in found["reasons"]
    assert "the adapter has no such layer" in found["reasons"]
    zero = found["panels"][1]["values"]
    # The norm of nothing is 0; shares, ranks and kurtoses of it are none.
    assert zero["norm"] == [0, 0, 0, 0]
    for key in ("share", "stable_rank", "effective_rank", "kurtosis_B"):
        assert all(isinstance(x, str) for x in zero[key]), key


def test_one_adapter_has_a_page_without_pairs(tmp_path: Path) -> None:
    text = text_of(analysed.plain(tmp_path, 1, ()), figures=True)

    assert "Inside 1 adapter<" in text
    assert 'id="pairs"' not in text and 'id="merges"' not in text and "<h2>Rank</h2>" in text
    assert "--methods" not in text


def test_an_adapter_of_nothing_has_a_page(tmp_path: Path) -> None:
    text = text_of(analysed.nothing(tmp_path), figures=True)

    assert "the deltas cancel in every layer, or are all zero" in text


def test_foreign_names_are_escaped(tmp_path: Path) -> None:
    text = text_of(analysed.hostile(tmp_path), figures=True)

    assert "<img" not in text and "\u202e" not in text
    assert text.count("<script>") == 1
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_many_pairs_and_merges_are_shown_as_means(tmp_path: Path) -> None:
    record = analysed.plain(tmp_path, 9, ("mean", "copa", "tsv_m", "task_arithmetic"))
    names = called(record)

    pairs, merges = pair_maps(record, names), merge_maps(record, names)

    assert len(record.pairs) == 36 > MOST_PANELS
    assert [x.title for x in pairs.panels] == [f"task{i} and the others, mean" for i in range(9)]
    layer = record.layers[0]
    mine = [x.cosine for x in layer.pairs if 0 in (x.one, x.other)]
    shown = pairs.panels[0].values["cosine"][layer.layer]
    assert shown == pytest.approx(sum(x or 0.0 for x in mine) / 8)
    assert [x.title for x in merges.panels] == list(names.merges)


def test_every_number_says_its_range_chance_and_source() -> None:
    found = [one for _, group in numbers.ALL for one in group]

    assert len({one.key for one in found}) == len(found)
    for one in found:
        assert one.means.endswith(".") and one.range and one.chance and one.source
        assert one.means in one.explains and one.chance in one.explains


def test_headings_of_tables_say_what_they_mean(four: Analysis) -> None:
    heads = re.findall(r'<th scope="col"([^>]*)><button', text_of(four))

    assert sum("title=" in head for head in heads) > 30


@pytest.mark.slow
def test_eight_adapters_of_a_7b_model_have_a_light_page(tmp_path: Path) -> None:
    layers = {
        f"model.layers.{i}.{module}": (8, 6)
        for i in range(32)
        for module in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    paths = [make_adapter(tmp_path / f"task{i}", layers, seed=i) for i in range(8)]
    record = analysed.record_of(paths)

    text = text_of(record, figures=True)

    assert len(record.layers) == 224 and len(record.pairs) == 28 and len(record.merges) == 3
    assert len(text.encode()) < 3_000_000


# --- in a browser --------------------------------------------------------------------------------


@needs_browser
def test_the_page_logs_nothing_and_asks_nobody(page: Path) -> None:
    assert console(page) == []


@needs_browser
def test_pages_of_missing_numbers_and_foreign_names_log_nothing(tmp_path: Path) -> None:
    for name, record in (
        ("missing", analysed.missing(tmp_path / "m")),
        ("hostile", analysed.hostile(tmp_path / "h")),
    ):
        path = tmp_path / f"{name}.html"
        path.write_text(text_of(record, figures=True), encoding="utf-8")
        assert console(path) == []
        assert asked(path, "return document.querySelectorAll('img').length") == 0


@needs_browser
def test_adapters_sort_by_norm(page: Path, four: Analysis) -> None:
    names = asked(
        page,
        "const table = document.querySelector('#adapters table');"
        "[...table.tHead.querySelectorAll('th')].find((x) => x.textContent.startsWith('Norm'))"
        ".querySelector('button').click();"
        "return [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);",
    )

    order = sorted(range(4), key=lambda i: -four.adapters[i].norm)
    assert names == [f"task{i}" for i in order]


@needs_browser
def test_pointing_at_a_layer_of_a_merge_says_its_number(page: Path, four: Analysis) -> None:
    said = asked(
        page,
        "const heat = document.getElementById('of-merges'); const said = [];"
        "const select = heat.querySelector('select');"
        "const cell = heat.querySelectorAll('.heat-panel')[5].querySelectorAll('[data-i]')[2];"
        "const tip = () => [...document.querySelectorAll('.heat-tip')].find((x) => !x.hidden);"
        "const fill = cell.getAttribute('fill');"
        "select.value = [...select.options].find((x) => x.text.startsWith('Gain')).value;"
        "select.dispatchEvent(new Event('change'));"
        "cell.dispatchEvent("
        "new PointerEvent('pointermove', {bubbles: true, pointerType: 'mouse'}));"
        "return [[...tip().children].map((x) => x.textContent), fill, cell.getAttribute('fill')];",
    )

    (number, measure, layer, who), before, after = said
    trace = (four.layers[2].merges[1] or ())[1]
    assert trace is not None and trace.trace.gain is not None
    assert float(number) == pytest.approx(trace.trace.gain, rel=1e-3)
    assert (measure, layer, who) == ("Gain", four.layers[2].layer, "copa, task1")
    assert before != after


@needs_browser
@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_needs_no_scrolling_to_the_side(page: Path, width: int) -> None:
    wide, inner = asked(
        page, "return [document.documentElement.scrollWidth, innerWidth];", width=width
    )

    assert inner == width and wide <= width


@needs_browser
def test_it_is_dark_where_one_likes_it_dark(page: Path) -> None:
    light, dark = shot(page), shot(page, DARK)

    assert light.getpixel((2, 2)) > 240
    assert dark.getpixel((2, 2)) < 60


@needs_browser
def test_folds_are_open_in_print(page: Path) -> None:
    before, after = asked(
        page,
        "const shut = () => document.querySelectorAll('details:not([open])').length;"
        "const said = [shut()]; dispatchEvent(new Event('beforeprint')); said.push(shut());"
        "return said;",
    )

    assert before >= 4 and after == 0
