"""Who computes units: this process with a real model, and a real local Ray beside it."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from echo import MINI, Echo

from copamerge.bench import units
from copamerge.bench.answers import answers_file
from copamerge.bench.executors import Job, Local, answer_all, executor_for, ids_of
from copamerge.bench.raypool import Ray
from copamerge.bench.units import adapter_digest, base_digest
from copamerge.errors import CopamergeError


def jobs_of(
    base: str, adapters: Mapping[str, Path | None], *, count: int = 6, tasks: tuple[str, ...]
) -> list[Job]:
    """Every task for every adapter, the adapters taking turns."""
    return [
        Job(unit, path, "mini")
        for task in tasks
        for path in adapters.values()
        for unit in units.units(
            MINI.by_name[task],
            count,
            base=base,
            adapter=None if path is None else adapter_digest(path),
            suite="mini",
            split="test",
            seed=0,
        )
    ]


def test_importing_the_engine_costs_no_torch() -> None:
    code = (
        "import sys, copamerge.bench.engine, copamerge.bench.score, copamerge.bench.zoo;"
        "print([x for x in ('torch', 'transformers', 'peft', 'ray') if x in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_what_is_not_wanted_twice_is_not_done_twice(tmp_path: Path, echo: Echo) -> None:
    jobs = jobs_of("b", {"base": None}, tasks=("vqa", "vqa", "ocr"))

    done = answer_all(jobs, Local(lambda: echo), tmp_path)

    assert done.computed == len(echo.asked) == 12
    assert set(done.answers) == {job.unit.key for job in jobs}
    assert all(answers_file(tmp_path, job.unit).is_file() for job in jobs)


@pytest.mark.interop
def test_a_real_model_s_units_do_not_depend_on_the_batch(
    base: Path, adapters: Mapping[str, Path], tmp_path: Path
) -> None:
    jobs = jobs_of(base_digest(base), {"base": None, **adapters}, tasks=("vqa", "photo_caption"))

    one = answer_all(jobs, executor_for(base, batch=1), tmp_path / "1")
    many = answer_all(jobs, executor_for(base, batch=100), tmp_path / "100")

    assert {k: x.texts for k, x in one.answers.items()} == {
        k: x.texts for k, x in many.answers.items()
    }
    said = {x.texts for x in one.answers.values()}
    assert len(said) > 3


def test_missing_ray_is_said_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(CopamergeError, match=r"Ray is not installed.*copamerge\[ray\]"):
        executor_for(tmp_path, ray="local")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "auto"])
def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path: Path, address: str) -> None:
    pytest.importorskip("ray")
    jobs = jobs_of("b", {"base": None}, tasks=("vqa",))

    with pytest.raises(CopamergeError, match="no Ray cluster answers there"):
        list(executor_for(tmp_path, ray=address).run(jobs))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two processes on this machine."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install copamerge[ray]")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    yield ray
    ray.shutdown()


@pytest.mark.interop
class TestRay:
    def test_answers_are_those_of_one_process(
        self, base: Path, adapters: Mapping[str, Path], tmp_path: Path
    ) -> None:
        pytest.importorskip("ray")
        everyone = {"base": None, **adapters}
        jobs = jobs_of(base_digest(base), everyone, tasks=("vqa", "ocr", "icons"))
        told: list[tuple[int, int]] = []

        alone = answer_all(jobs, executor_for(base), tmp_path / "local")
        spread = answer_all(
            jobs, Ray(base, "local", actors=2), tmp_path / "ray", lambda n, of: told.append((n, of))
        )

        assert {k: x.texts for k, x in alone.answers.items()} == {
            k: x.texts for k, x in spread.answers.items()
        }
        assert told[0] == (0, 54) and told[-1] == (54, 54)

    def test_finished_units_are_not_sent(
        self, cluster: Any, base: Path, adapters: Mapping[str, Path], tmp_path: Path
    ) -> None:
        jobs = jobs_of(base_digest(base), {"base": None, **adapters}, tasks=("vqa", "ocr"))
        answer_all(jobs[:4], executor_for(base), tmp_path)

        done = answer_all(jobs, Ray(base, "local", actors=1), tmp_path)

        assert done.computed == 2 * 6
        assert len(done.answers) == 6
        assert answer_all(jobs, Ray(base, "local"), tmp_path).computed == 0

    def test_an_adapter_that_does_not_fit_fails_alone(
        self, cluster: Any, base: Path, adapters: Mapping[str, Path], tmp_path: Path
    ) -> None:
        from makers import make_adapter

        other = make_adapter(tmp_path / "other")
        jobs = jobs_of(base_digest(base), {"other": other, "a": adapters["a"]}, tasks=("vqa",))

        done = answer_all(jobs, Ray(base, "local"), tmp_path / "answers")

        (problems,) = done.failures.values()
        assert str(other) in problems[0] and "is not in the base" in problems[0]
        assert [list(job.adapter.parts)[-1] for job in jobs if job.unit.key in done.answers] == [
            "a"
        ]  # type: ignore[union-attr]

    def test_a_base_that_cannot_be_loaded_is_a_sentence(self, cluster: Any, tmp_path: Path) -> None:
        (tmp_path / "base").mkdir()
        jobs = jobs_of("b", {"base": None}, tasks=("vqa",))

        with pytest.raises(CopamergeError, match="not a model folder"):
            answer_all(jobs, Ray(tmp_path / "base", "local"), tmp_path / "answers")


def test_ids_are_those_of_the_samples() -> None:
    (job,) = jobs_of("b", {"base": None}, count=2, tasks=("vqa",))

    assert ids_of(job) == ("vqa/test/0/0", "vqa/test/0/1")
