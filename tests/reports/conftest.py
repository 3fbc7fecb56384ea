"""Runs that several tests read; made once, as reading changes nothing."""

from pathlib import Path

import pytest
from fake_runs import curved, experiment_run

from copamerge.reports import Run, open_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def table2(folder: Path) -> Run:
    return open_run(experiment_run(folder / "table2", "table2", items=120))


@pytest.fixture(scope="session")
def table6(folder: Path) -> Run:
    return open_run(experiment_run(folder / "table6", "table6"))


@pytest.fixture(scope="session")
def table7(folder: Path) -> Run:
    return open_run(experiment_run(folder / "table7", "table7"))


@pytest.fixture(scope="session")
def tradeoff(folder: Path) -> Run:
    return open_run(experiment_run(folder / "tradeoff", "tradeoff", items=40, skill=curved))
