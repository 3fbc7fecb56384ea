"""`copamerge report` on an analysis: its page anew, from the record alone."""

import json
import shutil

import pytest

from makers import make_adapter


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from copamerge import analyze
    from copamerge.recipe import recipe_from
    from copamerge.reports.analysis import write_analysis

    folder = tmp_path_factory.mktemp("made")
    paths = [make_adapter(folder / name, seed=i) for i, name in enumerate("ab")]
    found = analyze(recipe_from({"adapters": [{"adapter": str(path)} for path in paths]}))
    write_analysis(found, folder / "analysis", figures=False)
    for path in paths:
        shutil.rmtree(path)  # the adapters are not needed any more
    return folder / "analysis"


def test_one_page_holds_everything(copamerge_cli, made, tmp_path):
    pytest.importorskip("matplotlib")
    ran = copamerge_cli("report", made, "-o", tmp_path / "report.html")

    assert ran.code == 0, ran.err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and 'href="figures/' not in page and 'href="tables/' not in page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_is_the_analysis_again(copamerge_cli, made, tmp_path):
    words = ("report", made, "-o", tmp_path / "out", "--no-figures")
    ran = copamerge_cli(*words)

    assert ran.code == 0, ran.err
    for path in made.rglob("*.*"):
        assert (tmp_path / "out" / path.relative_to(made)).read_bytes() == path.read_bytes()
    assert copamerge_cli(*words, "--overwrite").code == 0


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "cannot be read"),
        ("[]", "format None"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1}', "analyze again"),
    ],
)
def test_a_damaged_record_is_a_sentence(copamerge_cli, tmp_path, text, said):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "analysis.json").write_text(text)

    ran = copamerge_cli("report", tmp_path / "x", "-o", tmp_path / "report.html")

    assert ran.code == 2 and said in ran.err and len(ran.err.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


def test_two_analyses_are_refused(copamerge_cli, made, tmp_path):
    shutil.copytree(made, tmp_path / "again")

    ran = copamerge_cli("report", made, tmp_path / "again", "-o", tmp_path / "report.html")

    assert ran.code == 2 and "a report is on one analysis" in ran.err


@pytest.mark.parametrize(
    "damage",
    [
        lambda x: x.update(adapters=[]),
        lambda x: x["adapters"].pop(),
        lambda x: x["layers"][0].update(adapters=[]),
        lambda x: x["layers"][0]["merges"][0].pop(),
        lambda x: x["layers"][0]["pairs"][0].update(cosine_A=float("nan")),
        lambda x: x["layers"][0]["pairs"][0].update(other=7),
        lambda x: x["adapters"][0].update(norm=float("inf")),
        lambda x: x.update(layers=[]),
    ],
)
def test_a_record_that_was_changed_by_hand_is_a_sentence(copamerge_cli, made, tmp_path, damage):
    content = json.loads((made / "analysis.json").read_text())
    damage(content)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "analysis.json").write_text(json.dumps(content))

    ran = copamerge_cli("report", tmp_path / "x", "-o", tmp_path / "r.html", "--no-figures")

    assert ran.code == 2 and "analyze again" in ran.err and "Traceback" not in ran.err
    assert not (tmp_path / "r.html").exists()
