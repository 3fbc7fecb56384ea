"""Maps by layer and matrices of pairs: every number in its place, none where there is none."""

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from browser import asked, console, needs_browser

from copamerge.reports.document import document
from copamerge.reports.heat import Heat, Panel, heat_html, short_labels
from copamerge.reports.matrix import Matrix, matrix_html
from copamerge.reports.scale import DIVERGING, SEQUENTIAL, Measure, colour, ink_on, rgb

MODULES = ("attn.q_proj", "mlp.up_proj")
LAYERS = tuple(f"model.layers.{i}.{module}" for i in range(3) for module in MODULES)
NORM = Measure("norm", "Norm", "From 0 up.", log=True)
COSINE = Measure("cosine", "Cosine", "0 by chance.", scale="diverging", low=-1, high=1)
NAME = "</script><script>alert(1)</script>\u202egpj.exe\"'"


def content(heat: Heat) -> dict[str, Any]:
    found = re.search(r'type="application/json" id="\w+-numbers">(.*?)</script>', heat_html(heat))
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_every_layer_stands_in_its_block_and_module() -> None:
    values = {layer: float(i + 1) for i, layer in enumerate(LAYERS)}
    heat = Heat("h", (*LAYERS, "lm_head"), (NORM,), (Panel("a", {"norm": values}),))

    found = content(heat)

    assert found["rows"] == [[f"model.layers.{i}", str(i)] for i in range(3)]
    assert found["columns"] == [["attn.q_proj", "q_proj"], ["mlp.up_proj", "up_proj"]]
    assert found["outside"] == [["lm_head", "lm_head"]]
    assert found["panels"][0]["values"]["norm"] == [1, 2, 3, 4, 5, 6, "0"]
    assert found["reasons"] == ["there is no such layer in it"]


def test_what_has_no_number_says_why_and_is_never_zero() -> None:
    values: dict[str, float | str] = {
        LAYERS[0]: 0.0,
        LAYERS[1]: "its delta is zero",
        LAYERS[2]: float("nan"),
    }
    values |= {LAYERS[3]: 0.5, LAYERS[4]: 0.5}
    heat = Heat("h", LAYERS[:5], (COSINE,), (Panel("a", {"cosine": values}),))

    found = content(heat)

    # The last is where no panel has a layer.
    assert found["panels"][0]["values"]["cosine"] == [0, "0", "1", 0.5, 0.5, None]
    assert found["reasons"] == ["its delta is zero", "it is not a finite number"]


def test_a_measure_that_a_panel_lacks_is_left_out_of_it() -> None:
    heat = Heat("h", LAYERS, (NORM, COSINE), (Panel("a", {"norm": {LAYERS[0]: 1.0}}),))

    assert set(content(heat)["panels"][0]["values"]) == {"norm"}


def test_numbers_are_short_and_the_scale_is_of_all_panels() -> None:
    panels = tuple(
        Panel(str(x), {"norm": dict.fromkeys(LAYERS, x)}) for x in (1 / 3, 1e-5 / 3, 0.0)
    )

    found = content(Heat("h", LAYERS, (NORM,), panels))

    assert found["panels"][0]["values"]["norm"][0] == 0.3333
    assert found["panels"][1]["values"]["norm"][0] == 3.333e-06
    measure = found["measures"][0]
    assert (measure["low"], measure["high"]) == (pytest.approx(1e-5 / 3), pytest.approx(1 / 3))


def test_foreign_names_neither_end_the_numbers_nor_turn_around() -> None:
    heat = Heat("h", (NAME,), (NORM,), (Panel(NAME, {"norm": {NAME: NAME}}, group=NAME),))

    text = heat_html(heat)

    assert text.count("</script>") == 1 and "<script>" not in text and "\u202e" not in text
    shown = NAME.replace("\u202e", "\\u202e")
    assert content(heat)["panels"][0]["title"] == shown
    assert content(heat)["reasons"] == [shown]


@pytest.mark.parametrize(
    ("names", "words", "short"),
    [
        (["a.layers.0", "a.layers.10"], False, ["0", "10"]),
        (["self_attn.q_proj", "mlp.q_proj", "k"], False, ["self.q_pr", "mlp.q_pr", "k"]),
        (["lm_head", "mm_projector.0"], True, ["lm_head", "mm_projector.0"]),
        (["one"], False, ["one"]),
        (["a." + "x" * 40], False, ["xxxx"]),
        ([], False, []),
        (["text.enc.layers.0", "vision.enc.layers.0"], False, ["text", "vision"]),
        (
            ["text.encoder.layers.0", "vision.encoder.layers.0", "vision.encoder.layers.1"],
            False,
            ["tex.enc.lay.0", "vis.enc.lay.0", "vis.enc.lay.1"],
        ),
        (
            [f"down_blocks.{i}.attentions.{j}.transformer_blocks.0" for i in "01" for j in "01"],
            False,
            ["0.attentions.0", "0.attentions.1", "1.attentions.0", "1.attentions.1"],
        ),
    ],
)
def test_labels_are_as_short_as_they_may_be(
    names: list[str], words: bool, short: list[str]
) -> None:
    assert short_labels(names, words=words) == short


def lightness(hexed: str) -> float:
    return sum(w * x for w, x in zip((0.299, 0.587, 0.114), rgb(hexed), strict=True))


def test_colours_keep_their_order_in_grey() -> None:
    grey = [lightness(each) for each in SEQUENTIAL]
    assert all(one < other for one, other in pairwise(grey))
    falling, rising = DIVERGING[5:], DIVERGING[:6]
    assert all(lightness(a) > lightness(b) for a, b in pairwise(falling))
    assert all(lightness(a) < lightness(b) for a, b in pairwise(rising))


def test_a_scale_ends_where_it_should() -> None:
    measure = COSINE.fitted([0.1, -0.2])
    assert [measure.place(x) for x in (-1, 0, 1, 7)] == [0, 0.5, 1, 1]
    open_ended = Measure("x", "x", "", scale="diverging", middle=1).fitted([0.5, 3])
    assert (open_ended.low, open_ended.high) == (-1, 3)
    log = NORM.fitted([0.01, 1, 0])
    assert [log.place(x) for x in (0, 0.01, 0.1, 1)] == pytest.approx([0, 0, 0.5, 1])
    ratio = Measure("x", "x", "", scale="diverging", middle=1, log=True).fitted([0.1, 2])
    assert (ratio.low, ratio.high) == (pytest.approx(0.1), pytest.approx(10))
    # Nothing to show, and a number that no power of ten reaches: no end is infinite.
    for values in ([], [5e-324, 1.0]):
        ends = Measure("x", "x", "", scale="diverging", middle=1, log=True).fitted(values)
        assert 0 < (ends.low or 0) <= 1 <= (ends.high or 0) < float("inf")
    for odd in (NORM.fitted([]), NORM.fitted([0.0]), NORM.fitted([2.0]), COSINE.fitted([])):
        assert 0 <= odd.place(0.0) <= 1


def test_ink_reads_on_every_colour() -> None:
    assert ink_on("#ffffff") == "#000000" and ink_on("#440154") == "#ffffff"
    assert colour(SEQUENTIAL, 0) == SEQUENTIAL[0] and colour(SEQUENTIAL, 1) == SEQUENTIAL[-1]


def test_a_matrix_prints_its_numbers_and_says_why_some_are_missing() -> None:
    matrix = Matrix(COSINE, ("one", NAME), ((None, -0.5), ("a delta is zero", float("nan"))))

    text = matrix_html(matrix)

    assert ">−0.50</td>" in text and 'title="−0.5"' in text and "<td></td>" in text
    assert 'class="gone" title="a delta is zero">–' in text
    assert 'title="it is not a finite number">–' in text
    assert "<script" not in text


def made(tmp_path: Any, heat: Heat) -> Any:
    page = tmp_path / "page.html"
    page.write_text(document("maps", [heat_html(heat)], ("page", "heat")), encoding="utf-8")
    return page


@pytest.fixture
def heat() -> Heat:
    layers = (*LAYERS, "lm_head")
    norms = {layer: 10.0**i for i, layer in enumerate(layers)}
    cosines = dict.fromkeys(LAYERS[1:], -0.25)
    one = Panel(NAME, {"norm": norms, "cosine": {LAYERS[0]: "its delta is zero", **cosines}})
    return Heat("h", layers, (NORM, COSINE), (one, Panel("other", {"norm": norms}, group="more")))


POINT = (
    "const cells = [...document.querySelectorAll('.heat-panel')[0].querySelectorAll('[data-i]')];"
    "const tip = document.querySelector('.heat-tip');"
    "const parts = () => tip.hidden ? null : [...tip.children].map((x) => x.textContent);"
    "const over = (i, kind) => cells[i].dispatchEvent("
    "new PointerEvent(kind, {bubbles: true, pointerType: 'mouse'}));"
    "const press = (key) => document.activeElement.dispatchEvent("
    "new KeyboardEvent('keydown', {key, bubbles: true}));"
)


@needs_browser
def test_pointing_at_a_layer_says_its_number(heat: Heat, tmp_path: Any) -> None:
    page = made(tmp_path, heat)

    first, last, left, tapped, away = asked(
        page,
        POINT + "const said = [parts()]; over(1, 'pointermove'); said[0] = parts();"
        "over(6, 'pointermove'); said.push(parts());"
        "document.querySelector('.heat').dispatchEvent(new PointerEvent('pointerleave'));"
        "said.push(parts()); over(2, 'click'); said.push(parts());"
        "document.body.click(); said.push(parts()); return said;",
    )

    shown = NAME.replace("\u202e", "\\u202e")
    assert first == ["10", "Norm", "model.layers.0.mlp.up_proj", shown]
    assert last == ["1.000e+6", "Norm", "lm_head", shown]
    assert left is None and away is None
    assert tapped[2] == "model.layers.1.attn.q_proj"
    assert console(page) == []


@needs_browser
def test_another_measure_draws_other_colours_and_leaves_out_panels_without_it(
    heat: Heat, tmp_path: Any
) -> None:
    before, after, hidden, group, none, number = asked(
        made(tmp_path, heat),
        POINT + "const fills = () => cells.map((x) => x.getAttribute('fill'));"
        "const said = [fills()]; const select = document.querySelector('select');"
        "select.value = 1; select.dispatchEvent(new Event('change')); said.push(fills());"
        "said.push([...document.querySelectorAll('.heat-panel')].map((x) => x.hidden));"
        "said.push([...document.querySelectorAll('.heat-group')].map((x) => x.hidden));"
        "over(0, 'pointermove'); said.push(parts()[0]);"
        "over(1, 'pointermove'); said.push(parts()[0]); return said;",
    )

    assert before[0] == "rgb(68,1,84)" and before[6] == "rgb(253,231,37)"  # viridis' two ends
    assert after[0] == "url(#h-hatch)" and after[1].startswith("rgb(")
    assert hidden == [False, True] == group
    assert none == "no value: its delta is zero"
    assert number == "\u22120.25"


@needs_browser
def test_arrow_keys_go_from_layer_to_layer(heat: Heat, tmp_path: Any) -> None:
    said = asked(
        made(tmp_path, heat),
        POINT + "document.querySelector('.heat-panel svg').focus(); const said = [];"
        "for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowDown', 'ArrowDown', "
        "'ArrowUp', 'Escape']) { press(key); said.push(parts()); } return said;",
    )

    layers = [each and each[2] for each in said]
    # Focus shows the first one already where the keyboard brought it.
    assert layers[0] in LAYERS[:2]
    assert layers[4] == "lm_head" and layers[5] == LAYERS[5] and layers[6] is None
