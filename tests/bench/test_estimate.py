"""What a run would take, against sums by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from echo import Echo, plain_adapter

from copamerge.bench.engine import run_bench
from copamerge.bench.estimate import GPU, estimate, model_size
from copamerge.bench.executors import Local
from copamerge.bench.planning import Wanted, planned
from copamerge.errors import SuiteError


def cost(zoo: Path, out: Path, **more: Any) -> Any:
    options: dict[str, Any] = {"zoo": zoo, "methods": ["mean", "ties"], "items": 250, **more}
    with planned(out, None, Wanted(**options)) as run:
        return estimate(run.setting, run.specs, run.batch)


@pytest.fixture
def sized_zoo(plain_zoo: Path) -> Path:
    """With a base whose weights count 7,000 numbers."""
    import torch
    from safetensors.torch import save_file

    from copamerge.bench.zoo import write_manifest

    save_file({"a": torch.zeros(50, 100), "b": torch.zeros(2000)}, plain_zoo / "base/m.safetensors")
    write_manifest(plain_zoo)
    return plain_zoo


def test_units_samples_and_disk_are_counted(sized_zoo: Path, tmp_path: Path) -> None:
    found = cost(sized_zoo, tmp_path / "run")

    # 8 seen tasks are asked of 5 models, 4 unseen ones not of `individual`; 2 units each.
    assert found.units == (8 * 5 + 4 * 4) * 2
    assert found.samples == (8 * 5 + 4 * 4) * 250
    assert (found.models, found.merges, found.parameters, found.batch) == (5, 2, 7000, 100)
    inputs = [path.stat().st_size for path in (sized_zoo / "shared").rglob("*") if path.is_file()]
    assert found.merged_bytes == 2 * sum(inputs)
    assert not (tmp_path / "run").exists()
    assert json.loads(json.dumps(found.record()))["units"] == found.units


def test_a_small_model_costs_a_step_for_each_token(sized_zoo: Path, tmp_path: Path) -> None:
    found = cost(sized_zoo, tmp_path / "run", tasks=["science"], batch=10)

    (task,) = found.tasks
    # The answer is a letter: a quarter of a token, and the end.
    assert task.seconds == pytest.approx(1.25 * GPU.step / 10, rel=0.01)
    assert not task.measured
    assert found.hours == pytest.approx(5 * 250 * task.seconds / 3600)


def test_answers_that_are_there_are_measured_by(sized_zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options: dict[str, Any] = {"zoo": sized_zoo, "methods": ["mean"], "items": 20}
    run_bench(out, executor=Local(Echo), tasks=["vqa"], **options)
    seconds = []
    for path in (out / "answers").glob("*.jsonl"):
        seconds.append(json.loads(path.read_text().splitlines()[0])["seconds"])

    found = cost(sized_zoo, out, tasks=["vqa", "ocr"])

    vqa, ocr = found.tasks
    assert vqa.measured and not ocr.measured
    assert vqa.seconds == pytest.approx(sum(seconds) / (20 * len(seconds)))


def test_a_search_keeps_every_multiple(sized_zoo: Path, tmp_path: Path) -> None:
    plain = cost(sized_zoo, tmp_path / "run").merged_bytes

    assert cost(sized_zoo, tmp_path / "run", scale_rule="norm_match").merged_bytes == 2 * plain
    assert cost(sized_zoo, tmp_path / "run", scale_rule="search").merged_bytes == 8 * plain


def test_a_base_without_weights_is_said(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no weights in it"):
        model_size(plain_adapter(tmp_path / "a") / "none")
