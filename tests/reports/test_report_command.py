"""`copamerge report`: a whole folder or nothing, and clear words where it cannot be."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysed
import pytest
from fake_runs import experiment_run, make_run

from copamerge.errors import CopamergeError, OutputError
from copamerge.reports import Run, open_run, place, write_report
from copamerge.reports import write as writing
from copamerge.reports.analysis import write_analysis
from makers import make_adapter, tree

Cli = Callable[..., Any]


@pytest.fixture
def run(table7: Run) -> Path:
    return table7.path


def test_the_report_is_written_and_said_where(
    copamerge_cli: Cli, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "report"

    ran = copamerge_cli("report", run, "-o", out)

    assert ran.code == 0, ran.err
    assert ran.out == f"wrote {out}: open {out / 'index.html'}\n"
    # No figures: the run names no zoo, and a table is not drawn.
    assert {path.name for path in out.iterdir()} == place.WRITTEN - {
        *("figures", "layers.csv", "analysis.json")
    }
    assert {path.name for path in (out / "tables").iterdir()} == {"table7.md", "table7.csv"}


def test_the_same_runs_give_the_same_bytes(table7: Run, tradeoff: Run, tmp_path: Path) -> None:
    out = tmp_path / "report"
    write_report([table7, tradeoff], out, resamples=100)
    before = tree(out)

    write_report([table7, tradeoff], out, resamples=100, overwrite=True)

    assert tree(out) == before


def test_reading_changes_no_run(table7: Run, tmp_path: Path) -> None:
    before = tree(table7.path)

    write_report([table7], tmp_path / "report", resamples=100)

    assert tree(table7.path) == before


def test_an_earlier_report_is_replaced_only_when_asked(
    copamerge_cli: Cli, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    assert copamerge_cli("report", run, "-o", out, "-q").out == ""
    (out / "index.html").write_text("old")

    refused = copamerge_cli("report", run, "-o", out)
    assert refused.code == 2 and "already exists; add --overwrite" in refused.err
    assert (out / "index.html").read_text() == "old"

    assert copamerge_cli("report", run, "-o", out, "--overwrite").code == 0
    assert (out / "index.html").read_text() != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("inside", "fact"),
    [
        (("photo.jpg",), "is not a report"),
        (("report.json", "notes.txt"), "holds notes.txt beside an earlier report"),
        (("report.json", "run.json"), "is not a report"),
    ],
)
def test_a_folder_with_other_things_is_never_replaced(
    copamerge_cli: Cli, run: Path, tmp_path: Path, inside: tuple[str, ...], fact: str
) -> None:
    out = tmp_path / "report"
    out.mkdir()
    for name in inside:
        (out / name).write_text("mine")
    before = tree(out)

    ran = copamerge_cli("report", run, "-o", out, "--overwrite")

    assert ran.code == 2 and fact in ran.err
    assert tree(out) == before


def test_an_empty_folder_may_be_filled(copamerge_cli: Cli, run: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()

    assert copamerge_cli("report", run, "-o", tmp_path / "report").code == 0


def test_a_run_is_not_overwritten_by_its_report(
    copamerge_cli: Cli, run: Path, tmp_path: Path
) -> None:
    before = tree(run)

    assert copamerge_cli("report", run, "-o", run, "--overwrite").code == 2
    assert tree(run) == before


@pytest.mark.parametrize("earlier", [False, True])
def test_a_report_that_fails_leaves_things_as_they_were(
    table7: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    out = tmp_path / "report"
    if earlier:
        write_report([table7], out, resamples=100)
    before = tree(tmp_path)

    def broken(page: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "html", broken)

    with pytest.raises(KeyboardInterrupt):
        write_report([table7], out, resamples=100, overwrite=True)
    assert tree(tmp_path) == before


def test_an_interruption_is_said(
    copamerge_cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("copamerge.reports.kinds.report_on", interrupted)

    ran = copamerge_cli("report", run, "-o", tmp_path / "report")
    assert ran.code == 130 and "nothing was written" in ran.err


def test_not_a_run_says_what_is_wanted(copamerge_cli: Cli, tmp_path: Path) -> None:
    ran = copamerge_cli("report", tmp_path, "-o", tmp_path / "report")

    assert ran.code == 2
    assert ran.err == (
        f"error: {tmp_path}: nothing to report on (no run.json, merge.json or analysis.json in "
        "it); give a folder that `copamerge bench`, `copamerge merge` or `copamerge analyze` wrote "
        "(-o)\n"
    )
    assert not (tmp_path / "report").exists()


def test_an_interrupted_run_says_how_to_go_on(copamerge_cli: Cli, tmp_path: Path) -> None:
    path = experiment_run(tmp_path / "r", "table7", items=5)
    (path / "results.json").unlink()

    ran = copamerge_cli("report", path, "-o", tmp_path / "report")

    assert ran.code == 2
    assert "up to 60 of 60 units are missing; run the command that made it again" in ran.err


def test_without_matplotlib_the_extra_is_named_and_tables_still_work(
    copamerge_cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copamerge.cli._extras.find_spec", lambda name: None)

    refused = copamerge_cli("report", run, "-o", tmp_path / "report")
    assert refused.code == 2 and "copamerge[report]" in refused.err

    assert copamerge_cli("report", run, "-o", tmp_path / "report", "--no-figures").code == 0
    assert not (tmp_path / "report" / "figures").exists()


def test_runs_of_unlike_suites_are_refused(table7: Run, tmp_path: Path) -> None:
    path = experiment_run(tmp_path / "r", "table7", items=5, record={"suite": "theirs"})

    with pytest.raises(CopamergeError, match=r"runs of 2 suites \(mini, theirs\)"):
        write_report([table7, open_run(path)], tmp_path / "report")


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CopamergeError, match="no runs"):
        write_report([], tmp_path / "report")


def test_figures_of_the_adapters_come_from_the_runs_zoo(tmp_path: Path) -> None:
    for i in range(2):
        make_adapter(tmp_path / "zoo" / "shared" / f"t{i}", r=4, seed=i)
    path = experiment_run(tmp_path / "r", "table7", items=5, record={"zoo": str(tmp_path / "zoo")})

    write_report([open_run(path)], tmp_path / "report", resamples=100)

    names = {file.name for file in (tmp_path / "report" / "figures").iterdir()}
    assert names == {"figure2b.svg", "figure2b.png", "figure2c.svg", "figure2c.png"}


def test_a_zoo_that_is_gone_or_broken_is_a_remark(tmp_path: Path) -> None:
    bad = tmp_path / "zoo" / "shared" / "t"
    bad.mkdir(parents=True)
    (bad / "adapter_config.json").write_text("{}")
    for zoo, remark in ((None, "no run names a zoo"), (str(tmp_path / "zoo"), "no adapter_model")):
        path = experiment_run(tmp_path / f"r{zoo is None}", "table7", items=5, record={"zoo": zoo})
        out = tmp_path / f"report{zoo is None}"
        write_report([open_run(path)], out, resamples=100)
        (said,) = json.loads((out / "report.json").read_text())["remarks"]
        assert remark in said


def test_progress_ends_at_the_end(table7: Run, tradeoff: Run, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    write_report(
        [table7, tradeoff],
        tmp_path / "report",
        resamples=100,
        progress=lambda done, total: seen.append((done, total)),
    )

    assert len({total for _, total in seen}) == 1
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_programs_find_the_verdicts_in_the_record(table2: Run, tmp_path: Path) -> None:
    write_report([table2], tmp_path / "report", resamples=100, figures=False)

    (section,) = json.loads((tmp_path / "report" / "report.json").read_text())["sections"]

    copa = [v for v in section["verdicts"] if v["against"] == "copa" and v["group"] == "seen"]
    assert {v["model"] for v in copa} == {m.name for m in table2.models} - {"copa"}
    assert all(v["p"] <= v["p_corrected"] for v in copa)


def test_modes_that_differ_are_both_shown(tmp_path: Path) -> None:
    path = experiment_run(tmp_path / "r", "table7", items=5)
    content = json.loads((path / "results.json").read_text())
    for row in content["rows"]:
        if row["mode"] == "corrected" and row["task"] == "science":
            row["points"] += 1
    (path / "results.json").write_text(json.dumps(content))

    write_report([open_run(path)], tmp_path / "report", resamples=100, figures=False)

    assert "### Corrected scores" in (tmp_path / "report" / "tables.md").read_text()
    assert "Corrected scores" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission_is_said(run: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(OutputError, match="no permission"):
        write_report([open_run(run)], tmp_path / "report")


def test_every_script_runs_an_experiment_that_there_is() -> None:
    import re

    from copamerge.bench.experiments import EXPERIMENTS

    folder = Path(__file__).parents[2] / "runs"
    scripts = sorted([*folder.glob("mini_*.sh"), *folder.glob("full_*.sh")])
    named = set()
    for script in scripts:
        text = script.read_text()
        assert text.startswith("#!/usr/bin/env bash\n# ") and "set -euo pipefail" in text
        assert os.access(script, os.X_OK)
        named |= set(re.findall(r"--experiment ([a-z0-9-]+)", text))
    assert named == set(EXPERIMENTS)


def test_a_report_of_a_single_model_has_nothing_to_compare(tmp_path: Path) -> None:
    from copamerge.bench.entries import Entry

    path = make_run(tmp_path / "r", [Entry("mine", "adapter", "Mine")], items=5)

    write_report([open_run(path)], tmp_path / "report", resamples=100)

    assert "Which differences" not in (tmp_path / "report" / "tables.md").read_text()


@pytest.fixture
def merge(copamerge_cli: Cli, tmp_path: Path) -> Path:
    adapters = [make_adapter(tmp_path / f"a{i}", seed=i) for i in range(2)]
    assert copamerge_cli("merge", *adapters, "-o", tmp_path / "merged", "-q").code == 0
    return tmp_path / "merged"


def test_a_page_alone_is_one_file_without_links_to_others(
    copamerge_cli: Cli, tradeoff: Run, table7: Run, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "report.html"

    ran = copamerge_cli("report", table7.path, tradeoff.path, "-o", out)

    assert ran.code == 0, ran.err
    assert ran.out == f"wrote {out}: open it in a browser\n"
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    text = out.read_text(encoding="utf-8")
    assert "<svg" in text and 'href="figures' not in text and 'href="tables' not in text


def test_a_page_alone_is_replaced_only_when_asked_and_only_if_it_is_ours(
    copamerge_cli: Cli, merge: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    assert copamerge_cli("report", merge, "-o", out).code == 0
    before = out.read_bytes()

    refused = copamerge_cli("report", merge, "-o", out)
    assert refused.code == 2 and "already exists; add --overwrite" in refused.err
    assert copamerge_cli("report", merge, "-o", out, "--overwrite").code == 0
    assert out.read_bytes() == before

    for content in (b"mine", b"", b"\xff\xfe", b"<title>copamerge</title>" * 999):
        out.write_bytes(content)
        for words in ((), ("--overwrite",)):
            ran = copamerge_cli("report", merge, "-o", out, *words)
            assert ran.code == 2 and "is not a page of copamerge" in ran.err
            assert out.read_bytes() == content


def test_a_link_is_not_followed(copamerge_cli: Cli, merge: Path, tmp_path: Path) -> None:
    target, out = tmp_path / "target.html", tmp_path / "report.html"
    assert copamerge_cli("report", merge, "-o", target, "-q").code == 0
    out.symlink_to(target)

    ran = copamerge_cli("report", merge, "-o", out, "--overwrite")

    assert ran.code == 2 and "not a plain file" in ran.err


def test_a_page_alone_that_fails_leaves_nothing(
    merge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from copamerge.reports.kinds import Asked, report_on

    before = tree(tmp_path)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)

    with pytest.raises(OutputError, match="No space left"):
        report_on([merge], Asked(tmp_path / "new" / "report.html"))
    assert tree(tmp_path) == before


def test_folders_of_unlike_kinds_are_named(
    copamerge_cli: Cli, run: Path, merge: Path, tmp_path: Path
) -> None:
    ran = copamerge_cli("report", run, merge, "-o", tmp_path / "report.html")

    assert ran.code == 2
    assert ran.err == (
        f"error: a report is on one kind of folder: {run} was written by `copamerge bench`; "
        f"{merge} was written by `copamerge merge`; make a report of each\n"
    )
    assert not (tmp_path / "report.html").exists()


def test_everything_that_is_wrong_is_said_at_once(
    copamerge_cli: Cli, merge: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    folders = [tmp_path / "nowhere", tmp_path / "file", tmp_path, merge, merge]

    ran = copamerge_cli("report", *folders, "-o", tmp_path / "report.html")

    assert ran.code == 2
    lines = ran.err.splitlines()
    for line, fact in zip(
        lines,
        ("nowhere: does not exist", "file: is a file", "its folders merged are", "given twice"),
        strict=True,
    ):
        assert line.startswith("error: ") and fact in line
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not what this version of copamerge writes"),
        ("{}", "beside these: 16 more problems"),
        ('{"norm": NaN}', "NaN is no number"),
    ],
)
def test_a_broken_record_is_a_sentence(
    copamerge_cli: Cli, merge: Path, tmp_path: Path, content: str, fact: str
) -> None:
    (merge / "merge.json").write_text(content)

    ran = copamerge_cli("report", merge, "-o", tmp_path / "report.html")

    assert ran.code == 2 and fact in ran.err and ran.err.count("error: ") == 1
    assert not (tmp_path / "report.html").exists()


def test_a_record_of_another_version_says_what_it_lacks(
    copamerge_cli: Cli, merge: Path, tmp_path: Path
) -> None:
    content = json.loads((merge / "merge.json").read_text())
    content["later"] = "is nobody's business"
    (merge / "merge.json").write_text(json.dumps(content))
    assert copamerge_cli("report", merge, "-o", tmp_path / "later.html").code == 0

    del content["layers"][1]["rounding"]
    content["run"]["copamerge"] = "0.0.1"
    (merge / "merge.json").write_text(json.dumps(content))
    ran = copamerge_cli("report", merge, "-o", tmp_path / "report.html")

    assert ran.code == 2
    assert "written by copamerge 0.0.1" in ran.err
    assert "layers.1.rounding (field required)" in ran.err
    assert f"copamerge merge -c {merge / 'merge.json'} -o FOLDER" in ran.err


def test_a_record_that_does_not_add_up_is_refused(
    copamerge_cli: Cli, merge: Path, tmp_path: Path
) -> None:
    content = json.loads((merge / "merge.json").read_text())
    content["layers"][0]["adapters"] = [0, 7]
    (merge / "merge.json").write_text(json.dumps(content))

    ran = copamerge_cli("report", merge, "-o", tmp_path / "report.html")

    assert ran.code == 2 and "does not go with the 2 inputs" in ran.err


def test_an_analysis_becomes_one_page(copamerge_cli: Cli, tmp_path: Path) -> None:
    record = analysed.plain(tmp_path / "adapters", 2, ("mean",))
    written = tmp_path / "analysis"
    write_analysis(record, written, figures=False)
    page, folder = tmp_path / "page.html", tmp_path / "report"

    alone = copamerge_cli("report", written, "-o", page)
    beside = copamerge_cli("report", written, "-o", folder, "--no-figures")

    assert alone.code == beside.code == 0, alone.err + beside.err
    text = page.read_text(encoding="utf-8")
    assert "Inside 2 adapters" in text and "<svg" in text
    assert "href=" not in re.sub(r'(xlink:)?href="#[^"]*"', "", text)
    assert (folder / "index.html").read_bytes() == (written / "index.html").read_bytes()
    assert (folder / "analysis.json").read_bytes() == (written / "analysis.json").read_bytes()
    again = copamerge_cli("report", written, "-o", folder, "--no-figures", "--overwrite")
    assert again.code == 0, again.err


def test_a_report_is_on_one_analysis(copamerge_cli: Cli, tmp_path: Path) -> None:
    record = analysed.plain(tmp_path / "adapters", 1, ())
    for name in ("one", "other"):
        write_analysis(record, tmp_path / name, figures=False)

    ran = copamerge_cli("report", tmp_path / "one", tmp_path / "other", "-o", tmp_path / "x.html")

    assert ran.code == 2 and "a report is on one analysis" in ran.err
    assert not (tmp_path / "x.html").exists()
