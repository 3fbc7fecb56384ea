"""The page: complete, self-contained, harmless whatever a run folder says."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_runs import experiment_run, make_run

from copamerge.bench.entries import Entry, merge_entry
from copamerge.reports import Run, open_run, write_report
from copamerge.reports.provenance import commands

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Checked(HTMLParser):
    """Tags that open and close, ids, links, and every attribute that could fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.scripts = 0
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "srcset", "action", "data"):
                self.fetched.append(value or "")
            elif name in ("href", "xlink:href"):
                (self.links if tag == "a" else self.fetched).append(value or "")
            elif name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(page: Path) -> Checked:
    found = Checked()
    found.feed(page.read_text(encoding="utf-8"))
    assert not found.open
    return found


@pytest.fixture(scope="session")
def report(
    table2: Run, table7: Run, tradeoff: Run, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("page") / "report"
    write_report([tradeoff, table7, table2], out, resamples=100)
    return out


def test_the_page_is_well_formed_and_asks_nobody_for_anything(report: Path) -> None:
    found = checked(report / "index.html")

    assert len(set(found.ids)) == len(found.ids)
    assert all(each.startswith("#") and each[1:] in found.ids for each in found.fetched)
    assert not found.handlers and found.scripts == 1
    text = (report / "index.html").read_text()
    assert "default-src 'none'" in text
    outside = set(re.findall(r"https?://[^\"' <>]+", text))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_every_link_leads_somewhere(report: Path) -> None:
    found = checked(report / "index.html")

    for link in found.links:
        if link.startswith("#"):
            assert link[1:] in found.ids
        else:
            assert (report / link).is_file(), link


def test_sections_come_in_the_papers_order(report: Path) -> None:
    ids = checked(report / "index.html").ids

    places = [ids.index(name) for name in ("table2", "tradeoff", "table7", "runs", "repeat")]
    assert places == sorted(places)


def test_the_page_says_what_was_run_and_how_to_repeat_it(report: Path) -> None:
    text = " ".join(checked(report / "index.html").text)

    for fact in ("120", "shared", "ab12ab12ab12", "copamerge 0.2.0, torch 2.13.0", "2026-11-22"):
        assert fact in text
    assert "copamerge bench mini --experiment table2 --items 120 --seed 0" in text
    assert "tests the method and the code path" in text
    assert "Which differences are differences" in text
    assert "4 of 250" not in text


def test_the_commands_name_what_is_not_the_default(tmp_path: Path) -> None:
    run = open_run(
        make_run(
            tmp_path / "a run",
            [merge_entry("copa"), merge_entry("ties")],
            items=5,
            seed=3,
            record={"split": "validation", "zoo": "/tmp/my zoo", "adapter_set": "own"},
        )
    )

    bench, report = commands([run], "out")

    assert bench == (
        "copamerge bench mini --methods copa,ties --items 5 --seed 3 --split validation "
        f"--adapters own --zoo '/tmp/my zoo' -o '{run.path}'"
    )
    assert report == f"copamerge report '{run.path}' -o out"


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload=x"


def test_foreign_text_is_shown_and_never_run(tmp_path: Path) -> None:
    path = make_run(
        tmp_path / "r",
        [Entry("zero-shot", "zero-shot", HOSTILE), merge_entry("copa"), merge_entry("ties")],
        items=10,
        record={
            "zoo": HOSTILE,
            "adapter_set": HOSTILE,
            "base_digest": HOSTILE,
            "created": HOSTILE,
            "versions": {HOSTILE: HOSTILE},
            "notes": [f"`{HOSTILE}`"],
        },
        models={
            "copa": {"warnings": [HOSTILE], "title": HOSTILE},
            "ties": {"method": HOSTILE, "failed": HOSTILE},
        },
    )
    write_report([open_run(path)], tmp_path / "out", resamples=100)

    found = checked(tmp_path / "out" / "index.html")
    assert found.scripts == 1 and not found.handlers
    assert not any("x" == each for each in found.fetched)
    assert HOSTILE in "".join(found.text)


def test_warnings_are_shown_once_with_the_model(tmp_path: Path) -> None:
    path = make_run(
        tmp_path / "r",
        [merge_entry("copa"), merge_entry("ties")],
        items=5,
        models={"ties": {"warnings": ["changes nothing", "changes nothing"]}},
    )
    write_report([open_run(path)], tmp_path / "out", resamples=100, figures=False)

    text = "".join(checked(tmp_path / "out" / "index.html").text)
    assert text.count("table2, TIES-Merging: changes nothing") == 1


def test_two_runs_of_one_experiment_have_sections_of_their_own(table7: Run, tmp_path: Path) -> None:
    other = open_run(experiment_run(tmp_path / "seed1", "table7", items=20, seed=1))
    write_report([table7, other], tmp_path / "out", resamples=100)

    ids = checked(tmp_path / "out" / "index.html").ids
    assert {"table7", "table7-2"} <= set(ids)
    assert (tmp_path / "out" / "tables" / "table7-2.csv").is_file()
