"""The paper's numbers are as printed, and stand beside the tasks that mirror them."""

from pathlib import Path

import pytest

from copamerge.reports.paper import (
    CAVEATS,
    MERGEBENCH,
    PRINTED_8,
    SWAPPED,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TABLE_6,
    TABLE_7,
    TABLES,
    TASKS,
    PaperRow,
    PaperTable,
    paper_table,
)
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


def off(printed: PaperTable) -> set[tuple[str, str, str]]:
    return {
        (row.title, f"{mean:.{row.decimals}f}", f"{numbers:.{row.decimals + 1}f}")
        for row, mean, numbers in printed.unlike_means
    }


def test_printed_means_are_means_but_for_these_rows() -> None:
    # By hand from the printed numbers; CoPA's seen mean is the one that no cutting explains.
    assert off(TABLES["mini"]["table2"]) == off(TABLES["mm-mergebench"]["table2"])
    assert off(TABLES["mini"]["table2"]) == {
        ("Traditional MTL", "63.62", "63.626"),
        ("CoPA-Merging", "57.33", "57.406"),
    }
    assert off(TABLES["mini"]["table6"]) == {("Prune&Scale, Norm", "57.33", "57.406")}
    assert off(TABLES["clip8"]["table4"]) == {
        ("Zero-Shot", "48.0", "48.06"),
        ("Individual", "84.2", "84.29"),
    }
    assert off(TABLES["clip8"]["table5"]) == {
        ("Zero-Shot", "64.4", "64.49"),
        ("Ties-merging", "68.9", "68.98"),
    }


def test_the_page_on_tables_names_every_such_row() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")

    for tables in TABLES.values():
        for printed in tables.values():
            for _, mean, _ in off(printed):
                assert mean in text


@pytest.mark.parametrize("suite", TABLES)
def test_all_other_printed_means_are_their_numbers_to_rounding(suite: str) -> None:
    for printed in TABLES[suite].values():
        unlike = {(row.title, mean) for row, mean, _ in printed.unlike_means}
        for row in printed.rows.values():
            for mean, numbers in ((row.seen, row.tasks[:8]), (row.unseen, row.tasks[8:])):
                if mean is not None and numbers and (row.title, mean) not in unlike:
                    half = 0.5 * 10**-row.decimals
                    assert sum(numbers) / len(numbers) == pytest.approx(mean, abs=half + 1e-9)


def test_numbers_keep_the_decimals_of_their_table() -> None:
    two = TABLES["mini"]["table2"]

    assert TABLE_2["zero-shot"].printed(43.4) == "43.40"
    assert TABLE_7["none"].printed(54.1) == "54.1"
    assert TABLE_3["mtl"].printed(62.9) == "62.9" and TABLE_4["dare"].printed(51.0) == "51.0"
    assert two.points(TABLE_2["individual"], "knowledge") is None
    assert two.points(TABLE_2["copa"], "tables") == 17.62
    assert two.points(TABLE_2["copa"], "somebody else's task") is None


def test_table_3_is_the_papers(printed: list[str]) -> None:
    lines = after(printed, "Table 3:")[2:9]
    assert any("86,7" in line for line in lines)
    for line, row in zip(lines, TABLE_3.values(), strict=True):
        assert line.startswith(row.title)
        numbers = [float(word) for word in line.replace(",", ".").split() if word[0].isdigit()]
        assert numbers == list(row.tasks) and row.seen is row.unseen is None


@pytest.mark.parametrize(("name", "rows"), [("Table 4:", TABLE_4), ("Table 5:", TABLE_5)])
def test_tables_4_and_5_are_the_papers(
    printed: list[str], name: str, rows: dict[str, PaperRow]
) -> None:
    lines = after(printed, name)[1:8]
    assert tuple(word.lower() for word in lines[0].split()[1:9]) == PRINTED_8
    for line, row in zip(lines[1:], rows.values(), strict=True):
        assert line.startswith(row.title)
        words = [word for word in line.split() if "(" not in word and ")" not in word][-9:]
        assert [float(word) for word in words] == [*row.tasks, row.seen]


@pytest.mark.parametrize("name", ["table4", "table5"])
def test_swapped_columns_stand_under_their_own_names(name: str) -> None:
    made = TABLES["clip8"][name]

    assert set(made.seen) == set(PRINTED_8)
    for row in made.rows.values():
        for printed_as, number in zip(PRINTED_8, row.tasks, strict=True):
            assert made.points(row, SWAPPED.get(printed_as, printed_as)) == number
        # The mean does not care for names.
        mine = [made.points(row, task) for task in PRINTED_8]
        assert sum(mine) == pytest.approx(sum(row.tasks))  # type: ignore[arg-type]
    assert all("stand under their own names" in made.marks[task] for task in SWAPPED)
    assert ("cars" in made.marks) == (name == "table5")


def test_the_evidence_for_the_swap_fits_zero_shot_clip() -> None:
    # FusionBench's zero-shot ViT-B/32: each number is nearest to its own under the right names.
    known = {"sun397": 63.2, "resisc45": 60.7, "eurosat": 46.0, "dtd": 43.9}
    made = TABLES["clip8"]["table4"]

    for task, number in known.items():
        assert made.points(TABLE_4["zero-shot"], task) == pytest.approx(number, abs=1.0)
    # EuroSAT is easy for a tuned model, SUN397's 397 classes are not.
    for table in TABLES["clip8"].values():
        assert table.points(table.rows["individual"], "eurosat") > 98  # type: ignore[operator]
        assert table.points(table.rows["individual"], "sun397") < 81  # type: ignore[operator]


def test_tables_are_found_by_suite_and_experiment() -> None:
    assert paper_table("mm-mergebench", "table2") is not None
    assert paper_table("clip8", "table2") is None and paper_table("theirs", "table2") is None
    assert TABLES["mm-mergebench"]["table2"].seen == MERGEBENCH[0]
    assert len(MERGEBENCH[0]) == 8 and len(MERGEBENCH[1]) == 4
    assert set(TABLES) == set(CAVEATS)
    assert "tasks made by code" in CAVEATS["mini"]
    assert not any("made by code" in CAVEATS[suite] for suite in CAVEATS if suite != "mini")


def test_normalised_accuracy_of_the_paper_is_the_mean_of_its_shares() -> None:
    made = TABLES["clip8"]["table4"]
    ours, own = TABLE_4["copa"].tasks, TABLE_4["individual"].tasks

    wanted = sum(100 * a / b for a, b in zip(ours, own, strict=True)) / 8

    assert made.normalised(TABLE_4["copa"], made.seen) == pytest.approx(wanted)
    assert made.normalised(TABLE_4["copa"], ["dtd"]) == pytest.approx(100 * 44.7 / 58.4)
    assert made.normalised(TABLE_4["copa"], ["dtd", "nothing"]) is None
    assert made.normalised(TABLE_4["copa"], []) is None
    assert TABLES["mm-general"]["table3"].normalised(TABLE_3["copa"], ["pope"]) is None
