"""The page on merged folders: everything a merge says of itself, and what to do about it."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_page import HOSTILE, checked

from copamerge.reports.kinds import Asked, report_on
from copamerge.reports.merge_advice import warned_of
from copamerge.reports.merge_section import recipe_yaml
from copamerge.reports.merges import open_merges
from makers import LAYERS, make_adapter, tree

Cli = Callable[..., Any]
LONG = {f"model.layers.{i}.mlp.up_proj": (6, 5) for i in range(3)}


def adapters(folder: Path, *scales: float) -> list[Path]:
    """Adapters of `LAYERS` and `LONG`, the first without `LONG`, their deltas so many times 1."""
    made = []
    for i, scale in enumerate(scales):
        layers = LAYERS if i == 0 else {**LAYERS, **LONG}
        made.append(make_adapter(folder / f"task{i}", layers, seed=i, alpha=4 * scale))
    return made


@pytest.fixture
def merged(copamerge_cli: Cli, tmp_path: Path) -> Callable[..., Path]:
    """Merges adapters of the given sizes by a command with the given words."""
    count = 0

    def merge(*words: str, sizes: tuple[float, ...] = (1, 1, 1)) -> Path:
        nonlocal count
        count += 1
        out = tmp_path / f"merge{count}"
        folder = tmp_path / f"adapters-{'-'.join(map(str, sizes))}"
        ran = copamerge_cli("merge", *adapters(folder, *sizes), "-o", out, *words)
        assert ran.code == 0, ran.err
        return out

    return merge


def page_of(tmp_path: Path, *merges: Path) -> Path:
    return report_on(merges, Asked(tmp_path / "page.html"))


def text_of(page: Path) -> str:
    return " ".join(" ".join(checked(page).text).split())


def changed(merge: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = merge / "merge.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_the_page_says_what_was_merged_how_and_what_was_lost(
    merged: Callable[..., Path], tmp_path: Path
) -> None:
    merge = merged("-m", "ties", "--set", "density=0.4", "--rank", "2")
    report = json.loads((merge / "merge.json").read_text())

    text = text_of(page_of(tmp_path, merge))

    for one in report["inputs"]:
        assert Path(one["adapter"]).name in text
        assert all(digest in text for digest in one["sha256"].values())
        assert f"{one['cosine']:.4g}".replace("-", "−") in text
        assert f"{one['delta_norm']:.4g}" in text
    assert "density 0.4" in text and "scope tensor" in text
    assert f"{100 * report['energy_kept']:.2f} % of the method's answer in all" in text
    assert report["worst_layer"] in text
    assert "3 layers without task0: model.layers.0.mlp.up_proj and so on." in text
    assert f"copamerge merge -c {merge / 'merge.json'} -o again" in text
    assert "copamerge 0.1.0, torch " in text
    for layer in report["layers"]:
        assert layer["layer"] in text


def test_a_page_alone_links_to_nothing_and_asks_nobody(
    merged: Callable[..., Path], tmp_path: Path
) -> None:
    page = page_of(tmp_path, merged(), merged("-m", "mean"))

    found = checked(page)

    assert found.links and all(each.startswith("#") for each in found.links)
    assert all(each[1:] in found.ids for each in found.links)
    assert not found.fetched and not found.handlers
    assert len(set(found.ids)) == len(found.ids)
    assert [path.name for path in tmp_path.glob("page*")] == ["page.html"]


def test_several_merges_are_compared_first_on_one_scale(
    merged: Callable[..., Path], tmp_path: Path
) -> None:
    page = page_of(tmp_path, merged(), merged("-m", "mean"), merged("-m", "ties"))

    found = checked(page)

    order = ["warnings", "comparison", "merge-0", "merge-1", "merge-2", "repeat"]
    places = [found.ids.index(name) for name in order]
    assert places == sorted(places)
    assert "The same 3 adapters in each: task0, task1, task2." in text_of(page)
    assert "Cosine to task2" in text_of(page)


def test_merges_of_unlike_adapters_are_said_not_to_compare(
    merged: Callable[..., Path], tmp_path: Path
) -> None:
    page = page_of(tmp_path, merged(), merged(sizes=(1, 2)))

    assert "not of the same adapters, so their numbers do not compare" in text_of(page)


def said(merge: Path) -> list[tuple[str, str]]:
    return [(one.text, one.command) for one in warned_of(open_merges([merge])[0])]


def test_norms_that_differ_much_are_warned_of_with_a_command_that_works(
    merged: Callable[..., Path], copamerge_cli: Cli, tmp_path: Path
) -> None:
    merge = merged("-m", "ties", "--set", "density=0.4", sizes=(100, 1, 1))

    (text, command), *_ = [each for each in said(merge) if "in norm" in each[0]]

    assert text.startswith("The deltas differ ") and "task0" in text
    assert "--set density=0.4 --set balance=cap" in command
    words = command.replace("-o again", f"-o {tmp_path / 'again'}").split()[1:]
    assert copamerge_cli(*words).code == 0


def test_a_merge_that_is_far_too_large_is_warned_of(
    merged: Callable[..., Path], copamerge_cli: Cli, tmp_path: Path
) -> None:
    merge = merged("-m", "task_arithmetic", "--set", "scale=8")

    (text, command), *_ = [each for each in said(merge) if "too strong" in each[0]]

    assert "times as large" in text
    words = command.replace("-o again", f"-o {tmp_path / 'again'}").split()[1:]
    assert copamerge_cli(*words).code == 0
    assert not [each for each in said(tmp_path / "again") if "too strong" in each[0]]


def test_a_rank_that_cuts_is_warned_of(merged: Callable[..., Path]) -> None:
    texts = [text for text, _ in said(merged("-m", "mean", "--rank", "1"))]

    assert any(text.startswith("Rank 1 keeps ") for text in texts)


def test_an_adapter_that_is_hardly_in_is_warned_of(merged: Callable[..., Path]) -> None:
    texts = [text for text, _ in said(merged("-m", "mean", sizes=(1000, 1, 1)))]

    assert any(text.startswith("task1 is hardly in it: ") for text in texts)


def test_what_the_merge_itself_warned_of_comes_first(merged: Callable[..., Path]) -> None:
    merge = merged("-m", "robustmerge")

    own = json.loads((merge / "merge.json").read_text())["warnings"]
    assert own and [text.rstrip(".") for text, _ in said(merge)][: len(own)] == own


def test_no_warnings_are_said(merged: Callable[..., Path], tmp_path: Path) -> None:
    merge = merged("-m", "mean")
    changed(merge, lambda content: content.update(warnings=[]))

    assert said(merge) == []
    assert "No warnings." in text_of(page_of(tmp_path, merge))


def test_foreign_text_is_shown_and_never_run(merged: Callable[..., Path], tmp_path: Path) -> None:
    merge = merged()

    def hostile(content: dict[str, Any]) -> None:
        for one in content["inputs"]:
            one.update(adapter=HOSTILE, base_model=HOSTILE, revision=HOSTILE, weight=[HOSTILE])
            one["sha256"] = {HOSTILE: HOSTILE}
            one["dtypes"] = [HOSTILE]
        for layer in content["layers"][:3]:
            layer.update(layer=HOSTILE + layer["layer"], kind=HOSTILE)
        content.update(base_model=HOSTILE, dtype=HOSTILE, worst_layer=HOSTILE)
        content.update(warnings=[f"`{HOSTILE}`\u202e"], layers_silent=[HOSTILE])
        content["method"] |= {"name": HOSTILE, HOSTILE: HOSTILE}
        content["recipe"] |= {HOSTILE: HOSTILE, "base_model": HOSTILE}
        content["survey"] = {HOSTILE: 1.0}
        content["run"] |= {"device": HOSTILE, "copamerge": HOSTILE}
        content["saved"] = [{"tensor": HOSTILE, "policy": HOSTILE, "adapters": [0], "spread": None}]

    changed(merge, hostile)
    other = merged("-m", "mean")
    page = page_of(tmp_path, merge, other)

    found = checked(page)
    # Three maps' numbers and the script itself.
    assert found.scripts == 4 and not found.handlers and not found.fetched
    assert all(each.startswith("#") for each in found.links)
    assert "\u202e" not in page.read_text(encoding="utf-8")
    assert HOSTILE in "".join(found.text)


def test_numbers_that_are_missing_say_why(merged: Callable[..., Path], tmp_path: Path) -> None:
    merge = merged()

    def without(content: dict[str, Any]) -> None:
        layer = content["layers"][0]
        layer.update(energy_kept=None, rounding=None, cosines=[None] * len(layer["cosines"]))
        content["inputs"][0].update(delta_norm=None, cosine=None)

    changed(merge, without)

    page = page_of(tmp_path, merge).read_text(encoding="utf-8")

    for reason in ("the answer is zero", "its factors are zero", "a delta is zero here"):
        assert f'title="{reason}">–' in page and f'"{reason}"' in page


def test_a_folder_has_every_layer_as_csv(merged: Callable[..., Path], tmp_path: Path) -> None:
    merges = [merged(), merged("-m", "mean")]

    page = report_on(merges, Asked(tmp_path / "report"))

    assert {each.name for each in page.parent.iterdir()} == {
        "index.html",
        "layers.csv",
        "report.json",
    }
    for link in checked(page).links:
        assert link.startswith("#") or (page.parent / link).is_file()
    rows = list(csv.DictReader(io.StringIO((page.parent / "layers.csv").read_text())))
    assert len(rows) == 2 * (len(LAYERS) + len(LONG))
    lacking = [row for row in rows if row["layer"] in LONG]
    assert all(row["cosine 0"] == row["norm 0"] == "" and row["cosine 1"] for row in lacking)
    record = json.loads((page.parent / "report.json").read_text())
    assert record["merges"] == list(map(str, merges))


def test_the_same_merges_give_the_same_bytes(merged: Callable[..., Path], tmp_path: Path) -> None:
    merges = [merged(), merged("-m", "mean")]
    out = tmp_path / "page.html"
    first = report_on(merges, Asked(out)).read_bytes()

    before = [tree(merge) for merge in merges]
    assert report_on(merges, Asked(out), overwrite=True).read_bytes() == first
    assert [tree(merge) for merge in merges] == before


def test_the_recipe_on_the_page_is_one(merged: Callable[..., Path]) -> None:
    import yaml

    from copamerge.recipe import recipe_from

    (merge,) = open_merges([merged("-m", "ties", "--set", "density=0.4")])

    recipe = recipe_from(yaml.safe_load(recipe_yaml(merge.report.recipe)))

    assert recipe.model_dump(mode="json") == merge.report.recipe
