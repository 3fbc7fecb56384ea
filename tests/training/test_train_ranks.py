"""Two processes train what one does: started by torchrun, talking through gloo, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.torch import load_file

from copamerge.bench.zoo import open_zoo
from copamerge.errors import SuiteError
from copamerge.training.suite.ranks import Ranks
from suites.mm_data import write_mm_mergebench

RECIPE = "rank: 2\nbatch: 4\nrate: 1.0e-2\ndropout: 0\n"
COMMAND = ("train", "--suite", "mm-mergebench", "--task", "scienceqa")

gloo = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this torch has no gloo",
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def launched(*words):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "OMP_NUM_THREADS": "1",
    }
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")
    return subprocess.run(
        [sys.executable, *launcher, "-m", "copamerge", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )


@gloo
@pytest.mark.slow
def test_two_processes_end_where_one_does(copamerge_cli, tiny_llava, tmp_path):
    data = write_mm_mergebench(tmp_path / "mm", train=18)  # two are held out
    path = data / "instructions" / "ScienceQA" / "train.json"
    records = json.loads(path.read_text())
    for record in records[::3]:  # answers of unlike length, so that a mean of means would differ
        record["conversations"][1]["value"] = "The answer is B."
    path.write_text(json.dumps(records))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    given = ("--data", data, "--base", tiny_llava, "--recipe", tmp_path / "recipe.yaml")
    two = launched(*COMMAND, *given, "-o", tmp_path / "two")
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("wrote ") == 1  # the first process speaks alone
    assert copamerge_cli(*COMMAND, *given, "-o", tmp_path / "one").code == 0
    adapters = [open_zoo(tmp_path / n).adapters("shared")["scienceqa"] for n in ("one", "two")]
    one, other = (load_file(path / "adapter_model.safetensors") for path in adapters)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=2e-5, msg=name)
    record = (adapters[1] / "train.json").read_text()
    assert '"world": 2' in record and '"repeated": 0' in record


def test_of_several_processes_the_first_alone_tells_a_mistake(
    copamerge_cli, tiny_llava, tmp_path, monkeypatch
):
    words = ("--data", tmp_path / "none", "--base", tiny_llava, "-o", tmp_path / "zoo")
    said = {}
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        said[rank] = copamerge_cli(*COMMAND, *words)
    assert (said["0"].code, said["1"].code) == (2, 2)
    assert said["0"].err.startswith("error: ")
    assert said["1"].err == ""


def test_alone_everything_is_said_and_found_at_home():
    here = Ranks()
    assert here.is_first
    assert here.said_by_first(lambda: 3) == 3
    assert here.of_all([1, 2]) == [1, 2]
    with pytest.raises(SuiteError, match="no"):
        here.said_by_first(lambda: (_ for _ in ()).throw(SuiteError("no")))
