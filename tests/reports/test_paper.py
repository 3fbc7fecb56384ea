"""The paper's numbers are as printed, and stand beside the tasks that mirror them."""

from pathlib import Path

import pytest

from copamerge.reports.paper import TABLE_2, TABLE_6, TABLE_7, TASKS
from copamerge.suites import suite_named

SEED = Path(__file__).parents[3] / "shared" / "seeds" / "002_6cc127d55be90302.txt"


@pytest.fixture(scope="module")
def printed() -> list[str]:
    if not SEED.is_file():
        pytest.skip("the paper's text is not beside this checkout")
    return SEED.read_text(encoding="utf-8").splitlines()


def after(lines: list[str], start: str) -> list[str]:
    return lines[next(i for i, line in enumerate(lines) if line.startswith(start)) :][:12]


def test_table_2_is_the_papers(printed: list[str]) -> None:
    lines = after(printed, "Table 2:")
    for row in TABLE_2.values():
        line = next(
            each
            for each in lines
            if each.removeprefix("Traditional ").startswith(row.title.removeprefix("Traditional "))
        )
        words = line.replace(" (+3.4)", "").replace(" (+4.5)", "").split()
        numbers = [float(word) for word in words if word[0].isdigit()]
        means = [row.seen] if row.unseen is None else [row.seen, row.unseen]
        wanted = [*row.tasks[:8], means[0], *row.tasks[8:], *means[1:]]
        assert numbers == wanted, row.title


def test_table_6_is_the_papers(printed: list[str]) -> None:
    rows = after(printed, "Table 6:")[2:5]
    for line, row in zip(rows, TABLE_6.values(), strict=True):
        numbers = [float(word) for word in line.split() if word[0].isdigit()]
        assert numbers == [*row.tasks, row.seen]


def test_table_7_is_the_papers(printed: list[str]) -> None:
    rows = after(printed, "Table 7:")[2:7]
    for line, row in zip(rows, TABLE_7.values(), strict=True):
        numbers = [float(word) for word in line.split() if word[0].isdigit()]
        assert numbers == [row.seen, row.unseen]


def test_what_the_figures_captions_say_of_the_paper_is_in_its_text(printed: list[str]) -> None:
    text = " ".join(" ".join(printed).split())

    for quote in (
        "(3.4% in 16 and 3.3% in 128)",
        "(2.3% and 4.0% respectively)",
        "3.4% better performance (57.3% v.s. 53.9%) with significantly smaller variance (1.2%)",
        "improves 1.2% average performance while reducing 0.2% on standard deviation",
        "observe almost no decrease",
    ):
        assert quote in text


def test_the_columns_mirror_the_papers_in_its_order() -> None:
    suite = suite_named("mini")

    assert TASKS == tuple(task.name for task in suite.tasks)
    assert [len(row.tasks) for row in TABLE_2.values()] == [12, 8, 12, 12, 12, 12, 12, 12]


@pytest.mark.parametrize("row", [*TABLE_2.values(), *TABLE_6.values()], ids=lambda row: row.title)
def test_printed_means_are_means_but_for_copas(row: object) -> None:
    # CoPA's seen mean is printed as 57.33; its eight numbers have the mean 57.41.
    seen = sum(row.tasks[:8]) / 8  # type: ignore[attr-defined]
    assert seen == pytest.approx(row.seen, abs=0.1)  # type: ignore[attr-defined]


def test_numbers_keep_the_decimals_of_their_table() -> None:
    assert TABLE_2["zero-shot"].printed(43.4) == "43.40"
    assert TABLE_7["none"].printed(54.1) == "54.1"
    assert TABLE_2["individual"].points("knowledge") is None
    assert TABLE_2["copa"].points("tables") == 17.62
    assert TABLE_2["copa"].points("somebody else's task") is None
