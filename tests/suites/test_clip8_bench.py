"""The whole way on tiny sets: adapters of a tiny CLIP for all eight, merged, asked, scored."""

import json

import pytest
from clip8_data import write_clip8

from copamerge.suites import suite_named
from copamerge.suites.clip8 import TASKS, image_classes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    for library in ("datasets", "transformers", "peft", "accelerate"):
        pytest.importorskip(library, reason="trains and asks a CLIP model")
    import torch

    from copamerge.bench.engine import run_bench
    from copamerge.training.clip import ClipRecipe, PretrainRecipe, pretrain, train_clip

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("clip8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPAMERGE_CACHE", str(place / "cache"))
        root = write_clip8(place / "data")
        suite = suite_named("clip8", root)
        small = PretrainRecipe(
            side=16, patch=8, width=16, layers=1, heads=2, together=8, steps=1, batch=8
        )
        pretrain(suite, place / "base", small)
        short = ClipRecipe(rank=2, alpha=4, steps=2, batch=8, rate=1e-2, dropout=0)
        train_clip(suite, suite.tasks, place / "base", place / "zoo", short)
        yield run_bench(
            place / "run",
            suite="clip8",
            data=root,
            base=place / "base",
            zoo=place / "zoo",
            methods=["ties", "copa"],
        )
    torch.set_num_threads(before)


def test_every_model_has_points_on_every_set(run):
    rows = [row for row in run.results["rows"] if row["model"] != "mtl"]

    assert {row["model"] for row in rows} == {"zero-shot", "individual", "ties", "copa"}
    assert {row["task"] for row in rows} == set(TASKS)
    assert all(row["metric"] == "top1" and row["answers"] == row["items"] == 8 for row in rows)
    assert all(row["points"] is not None and row["unreadable"] == 0 for row in rows)


def test_merges_are_of_the_eight_adapters(run):
    (copa,) = [model for model in run.record["models"] if model["name"] == "copa"]

    assert copa["merges"] == list(TASKS)
    assert copa["failed"] is None and not copa["warnings"]


def test_an_answer_is_the_five_best_of_the_sets_own_classes(run):
    asked = set()
    for file in (run.path / "answers").rglob("*.jsonl"):
        first, *lines = map(json.loads, file.read_text().splitlines())
        task = first["unit"]["task"]
        asked.add(task)
        for line in lines:
            best = line["answer"].split("\n")
            assert len(set(best)) == len(best) == 5
            assert set(best) <= set(image_classes(task).classes.names)

    assert asked == set(TASKS)


def test_the_tables_columns_are_called_as_in_the_paper(run):
    titles = [column["title"] for column in run.record["columns"]]

    assert titles == "Cars DTD EuroSAT GTSRB MNIST RESISC45 SUN397 SVHN".split()
