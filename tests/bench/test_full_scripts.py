"""The scripts of tables 2 to 5, end to end: the real layouts and classes, made tiny."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from clip_model import make_clip
from copamerge.suites import suite_named
from suites.clip8_data import write_clip8_arrays
from suites.mm_data import write_mm_general, write_mm_mergebench

pytestmark = [pytest.mark.interop, pytest.mark.slow]

RUNS = Path(__file__).parents[2] / "runs"
QUICK = "--steps 1 --rank 2 --batch 4 --batch-per-device 4"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path with what the scripts call and without Java, so that METEOR is not waited for."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("bash", "env", "dirname"):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    command = folder / "copamerge"
    command.write_text(f"#!{sys.executable}\nfrom copamerge.cli import run\n\nrun()\n")
    command.chmod(0o755)
    return folder


def run(name: str, tools: Path, place: Path, given: Mapping[str, object]) -> str:
    """A script's output, from another folder than the repository's."""
    done = subprocess.run(
        [str(RUNS / name)],
        cwd=place,
        env={
            "PATH": str(tools),
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "OMP_NUM_THREADS": "1",
            **{key: str(value) for key, value in given.items()},
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("full_train.sh", None),
        ("full_table2.sh", "table2"),
        ("full_table3.sh", "table3"),
        ("full_table4.sh", "table4"),
    ],
)
def test_one_picture_that_does_not_open_stops_no_script(
    name: str, reported: str | None, tmp_path: Path
) -> None:
    """Exit code 2 with everything finished: what follows is done, and 2 comes at the end."""
    for tool in ("bash", "env", "dirname", "mkdir", "touch"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    command = tmp_path / "copamerge"
    command.write_text(
        """#!/usr/bin/env bash
echo "$*" >> "$LOG"
case "$1 $*" in
  train*) mkdir -p "$ZOO/mtl"; touch "$ZOO/manifest.json"; exit 2;;
  bench*) out="${@: -1}"; mkdir -p "$out"; touch "$out/results.json"; exit 2;;
esac
"""
    )
    command.chmod(0o755)
    given = {"DATA": "data", "BASE": "base", "ZOO": tmp_path / "zoo", "LOG": tmp_path / "log"}
    given |= {"OUT": tmp_path / "out", "PATH": tmp_path}

    done = subprocess.run(
        [str(RUNS / name)], cwd=tmp_path, env={k: str(v) for k, v in given.items()}
    )

    said = (tmp_path / "log").read_text()
    assert done.returncode == 2
    assert ("--mtl" in said) == (name in ("full_train.sh", "full_table4.sh"))
    assert reported is None or f"report {tmp_path}/out/{reported} " in said


def rows(out: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((out / "results.json").read_text())["rows"]
    return found


def test_tables_2_and_3_run_from_the_files_to_the_page(
    base: Path, tools: Path, tmp_path: Path
) -> None:
    write_mm_mergebench(tmp_path / "data")
    write_mm_general(tmp_path / "data")
    given = {"DATA": tmp_path / "data", "BASE": base, "ZOO": tmp_path / "zoo", "TRAIN": QUICK}
    given |= {"OUT": tmp_path / "out"}

    trained = run("full_train.sh", tools, tmp_path, given)
    assert "Nothing is wrong with 12 tasks" in trained and "mtl" in trained
    dry = run("full_table2.sh", tools, tmp_path, {**given, "BENCH": "--dry-run", "ITEMS": 2})
    assert "GPU-hours" in dry and not (tmp_path / "out").exists()
    run("full_table2.sh", tools, tmp_path, {**given, "ITEMS": 2})
    run("full_table3.sh", tools, tmp_path, given)

    two, three = tmp_path / "out" / "table2", tmp_path / "out" / "table3"
    assert {row["task"] for row in rows(two)} >= {"scienceqa", "vizwiz", "tabmwp"}
    assert {row["task"] for row in rows(three)} == {"pope", "mme", "mmbench"}
    merged = [x for x in json.loads((two / "run.json").read_text())["models"] if x["merges"]]
    assert all(len(x["merges"]) == 8 and not x["failed"] for x in merged)
    assert all(row["points"] is not None for row in rows(three))
    for name, number in (("table2", "83.74"), ("table3", "1476.9")):
        page = (tmp_path / "out" / f"report-{name}" / "index.html").read_text()
        assert number in page  # the paper's, beside ours
        assert not re.search(r'(src|href)="https?://', page)


@pytest.mark.parametrize("table", [4, 5])
def test_tables_4_and_5_run_from_the_files_to_the_page(
    table: int, tools: Path, tmp_path: Path
) -> None:
    write_clip8_arrays(tmp_path / "data")
    # With the classes' words as tokens, as their longest captions are short for it, too.
    make_clip(
        tmp_path / "clip",
        classes=[task.asking.classes for task in suite_named("clip8").tasks if task.asking.classes],
    )
    given = {"DATA": tmp_path / "data", "BASE": tmp_path / "clip", "ZOO": tmp_path / "zoo"}
    given |= {"OUT": tmp_path / "out", "TRAIN": "--steps 1 --rank 2 --batch 4", "ITEMS": 3}

    run(f"full_table{table}.sh", tools, tmp_path, given)

    out = tmp_path / "out" / f"table{table}"
    assert len({row["task"] for row in rows(out)}) == 8
    assert all(row["points"] is not None for row in rows(out))
    page = (tmp_path / "out" / f"report-table{table}" / "index.html").read_text()
    assert {4: "84.2", 5: "92.4"}[table] in page
    assert "RESISC45" in page and "under RESISC45" in page
