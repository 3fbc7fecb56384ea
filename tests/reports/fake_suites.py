"""Runs of suites other than the mini one, with made-up scores, from the names in run.json alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fake_runs import make_run

from copamerge.bench.entries import REFERENCES, Entry, merge_entry

METHODS = ("task_arithmetic", "dare", "ties", "pcb", "copa")


@dataclass(frozen=True)
class FakeTask:
    name: str
    title: str
    seen: bool
    metric: str = "exact_upper"


# Metrics that this version has under every name, so that the numbers per item are known here.
MERGEBENCH = (
    FakeTask("scienceqa", "ScienceQA", True),
    FakeTask("imagenet", "ImageNet", True, "two_way_substring"),
    FakeTask("vqav2", "VQAv2", True),
    FakeTask("grounding", "Grounding", True),
    FakeTask("ocrvqa", "OCR-VQA", True),
    FakeTask("vizwiz", "VizWiz-caption", True, "caption6"),
    FakeTask("flickr30k", "Flickr30k", True, "caption6"),
    FakeTask("iconqa", "IconQA", True),
    FakeTask("aokvqa", "A-OKVQA", False),
    FakeTask("imagenet_r", "ImageNet-R", False, "two_way_substring"),
    FakeTask("screen2words", "Screen2Words", False, "caption6"),
    FakeTask("tabmwp", "TabMWP", False),
)
GENERAL = (
    FakeTask("pope", "POPE", False),
    FakeTask("mme", "MME", False, "a_sum_nobody_knows"),
    FakeTask("mmbench", "MMBench", False),
)
CLIP8 = tuple(
    FakeTask(name, title, True)
    for name, title in (
        ("cars", "Cars"),
        ("dtd", "DTD"),
        ("eurosat", "EuroSAT"),
        ("gtsrb", "GTSRB"),
        ("mnist", "MNIST"),
        ("resisc45", "RESISC45"),
        ("sun397", "SUN397"),
        ("svhn", "SVHN"),
    )
)
OWN = (FakeTask("birds", "Birds | <b>mine</b>", True), FakeTask("stones", "Stones", True))
PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene")


def suite_run(
    path: Path,
    suite: str,
    tasks: Sequence[FakeTask],
    entries: Sequence[Entry] | None = None,
    **more: Any,
) -> Path:
    """A finished run of a suite on a zoo somewhere; `record` changes what run.json says."""
    seen = any(task.seen for task in tasks)
    if entries is None:
        references = [e for e in REFERENCES if seen or e.kind != "individual"]
        entries = [*references, *map(merge_entry, METHODS)]
    record = {
        "suite": suite,
        "data": "/data/theirs",
        "zoo": "/zoos/theirs",
        "base": "/models/theirs",
        "items": None,
        "columns": [vars(task) | {"task": task.name} for task in tasks],
        "averaged": True,
        **more.pop("record", {}),
    }
    return make_run(path, entries, tasks=tasks, record=record, **more)


def made_of(row: dict[str, Any]) -> None:
    """Parts, categories and counts as `copamerge bench` writes them."""
    if row["points"] is None:
        row["reason"] = "no adapter of its own was trained on this task"
        return
    row |= {"answers": row["items"], "empty": 0, "unasked": 0}
    if row["task"] == "mme":
        row["answers"] = 2 * row["items"]
        row["parts"] = {"perception": row["points"], "cognition": 290.5}
        row["parts"] |= {name: 180.0 - i for i, name in enumerate(PERCEPTION)}
    if row["task"] == "pope":
        row["parts"] = {"random F1": 88.1, "random yes ratio": 0.47}
    if row["task"] == "mmbench":
        row["categories"] = {f"kind {i}": {"items": 20, "points": 60.0 + i / 10} for i in range(40)}
    if row["metric"] == "caption6":
        row["parts"] = {"BLEU-1": 60.4, "CIDEr": 512.3}
    if row["task"] == "imagenet" and row["model"] == "ties":
        row |= {"empty": 17, "unasked": 2}


def general_run(path: Path, **more: Any) -> Path:
    """POPE, MME, MMBench: unlike units, so no means; nobody was trained on them."""
    record = {"averaged": False} | more.pop("record", {})
    return suite_run(path, "mm-general", GENERAL, record=record, alter=made_of, **more)
