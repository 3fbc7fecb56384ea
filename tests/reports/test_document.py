"""What every page shares: names that stay harmless, tables that sort and filter, warnings."""

from pathlib import Path

import pytest
from browser import asked, console, needs_browser

from copamerge.reports.document import (
    bullets,
    document,
    flat,
    fold,
    name_cell,
    number_cell,
    sortable,
    word_cell,
)
from copamerge.reports.warned import Warned, warned_html

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'\u202egpj\ud800"


def test_what_turns_or_hides_text_is_shown_by_its_code() -> None:
    page = document(HOSTILE, [flat(HOSTILE), bullets([HOSTILE]), fold(HOSTILE, "")])

    assert "\u202e" not in page and page.count("\\u202e") == 4
    assert page.count("<script>") == 1 and "<img" not in page
    page.encode("utf-8")  # half a character would not do


def test_scripts_of_other_languages_stay_as_they_are() -> None:
    assert "日本語 العربية 👩‍🔬" in document("x", [flat("日本語 العربية 👩‍🔬")])


def test_warnings_say_what_to_do_and_none_are_said() -> None:
    one = Warned(f"{HOSTILE} has `4` layers.", "Merge them again:", "copamerge merge a <b>")

    text = warned_html([one, one, Warned("Another.")])

    assert '<h2 id="warnings-title">2 warnings</h2>' in text
    assert "<code>4</code>" in text and ">copamerge merge a &lt;b&gt;</code>" in text
    assert "<script" not in text
    assert "1 warning<" in warned_html([one])
    assert warned_html([]) == '<p class="unwarned" id="warnings">No warnings.</p>'


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """40 rows: numbers that rise, every seventh missing; words, one of them missing."""
    rows = []
    for i in range(40):
        number = number_cell(None, "", "not measured") if i % 7 == 0 else number_cell(i - 20, "x")
        word = word_cell("–" if i == 3 else f"layer {i}")
        rows.append(f"<tr>{name_cell(f'model.layers.{i}')}{number}{word}</tr>")
    short = sortable(["a"], [f"<tr>{name_cell('b')}</tr>"], "short")
    path = tmp_path / "page.html"
    body = [sortable(["Layer", "Number", "Word"], rows, "long"), short]
    path.write_text(document("tables", body), encoding="utf-8")
    return path


READ = (
    "const table = document.querySelector('table'); const at = (column) => "
    "[...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[column]);"
)


@needs_browser
def test_numbers_sort_as_numbers_and_words_as_words_with_missing_ones_last(page: Path) -> None:
    falling, rising, words, wordsback = asked(
        page,
        READ + "const said = []; for (const column of [1, 1, 2, 2]) {"
        "table.tHead.rows[0].cells[column].querySelector('button').click();"
        "said.push(at(column).map((x) => column === 1 ? x.dataset.sort ?? null : x.textContent));}"
        "return said;",
    )

    numbers = [i - 20 for i in range(40) if i % 7]
    assert [float(x) for x in falling if x is not None] == numbers[::-1]
    assert [float(x) for x in rising if x is not None] == numbers
    assert falling[-6:] == rising[-6:] == [None] * 6
    assert words[:4] == ["layer 0", "layer 1", "layer 2", "layer 4"]
    assert words[-1] == wordsback[-1] == "–" and wordsback[0] == "layer 39"


@needs_browser
def test_headings_are_reached_and_sorted_by_the_keyboard(page: Path) -> None:
    said = asked(
        page,
        "const button = document.querySelectorAll('thead button')[1]; button.focus();"
        "document.activeElement.click();"
        "return [document.activeElement === button, button.tabIndex, "
        "button.closest('th').getAttribute('aria-sort')];",
    )

    assert said == [True, 0, "descending"]


@needs_browser
def test_a_long_table_has_a_filter_and_a_short_one_none(page: Path) -> None:
    boxes, before, after, names, none = asked(
        page,
        READ + "const boxes = document.querySelectorAll('.filter input'); const [box] = boxes;"
        "const count = document.querySelector('.filter output'); const said = [boxes.length];"
        "const type = (text) => { box.value = text; box.dispatchEvent(new Event('input')); };"
        "said.push(count.textContent); type('LAYERS.1 layer'); said.push(count.textContent);"
        "said.push(at(0).map((x) => x.textContent)); type('nowhere');"
        "said.push(count.textContent); return said;",
    )

    assert boxes == 1 and before == "40 of 40" and after == "11 of 40" and none == "0 of 40"
    assert names == ["model.layers.1", *(f"model.layers.1{i}" for i in range(10))]


@needs_browser
def test_the_page_logs_nothing(page: Path) -> None:
    assert console(page) == []
