"""What a run would take before it is started: units, samples, GPU-hours, disk.

Seconds are those of answers that lie in the run's folder of answers, where it has some of this
base model and task; else they follow from the model's size by `GPU`, and are a guess to within a
factor of about two.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from copamerge.bench.setting import Setting
from copamerge.bench.specs import GRID, ModelSpec
from copamerge.bench.units import CHUNK, CONFIG, WEIGHTS, weights_bytes, weights_files
from copamerge.errors import CopamergeError, SuiteError
from copamerge.io.tensorfile import open_tensors
from copamerge.suites import Sample, Task

LETTERS_A_TOKEN = 4
"""Of English text: OpenAI's rule of thumb."""
ANSWER_BYTES = 120
"""Of a line of an answers file without the answer's own letters."""
LOOKED_AT = 20
"""Samples of a task whose lengths stand for all."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as far as answering time follows from it."""

    name: str
    operations: float
    """A second, in half precision, without sparsity."""
    bandwidth: float
    """Bytes a second."""
    used: float = 0.4
    """The share of both that generation is taken to reach."""
    step: float = 0.02
    """Seconds that a step of generation takes at least, however small the model: Python's part."""


GPU = Gpu("A100 80GB", 312e12, 2.039e12)
"""NVIDIA's data sheet of the A100."""


@dataclass(frozen=True)
class TaskCost:
    """What one task costs, over all models that are asked it."""

    task: str
    models: int
    samples: int
    """Of one model."""
    units: int
    """Of all models."""
    seconds: float
    """A sample's, on one GPU; where `measured` on the machine that answered before."""
    measured: bool

    @property
    def hours(self) -> float:
        return self.models * self.samples * self.seconds / 3600


@dataclass(frozen=True)
class Estimate:
    """What a run costs; answers that are there already are not taken off."""

    tasks: tuple[TaskCost, ...]
    models: int
    merges: int
    parameters: int
    """Of the base model."""
    batch: int
    merged_bytes: int
    """At most, unless a recipe asks for another rank or dtype: as much as a merge's inputs."""
    answers_bytes: int
    base_bytes: int
    """What every worker loads once."""

    @property
    def units(self) -> int:
        return sum(task.units for task in self.tasks)

    @property
    def samples(self) -> int:
        return sum(task.models * task.samples for task in self.tasks)

    @property
    def hours(self) -> float:
        return sum(task.hours for task in self.tasks)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "models": self.models,
            "merges": self.merges,
            "units": self.units,
            "samples": self.samples,
            "gpu_hours": self.hours,
            "gpu": GPU.name,
            "parameters": self.parameters,
            "batch": self.batch,
            "bytes": {
                "base": self.base_bytes,
                "merged": self.merged_bytes,
                "answers": self.answers_bytes,
            },
            "tasks": [
                {
                    "task": x.task,
                    "models": x.models,
                    "samples": x.samples,
                    "units": x.units,
                    "seconds_per_sample": x.seconds,
                    "measured": x.measured,
                    "gpu_hours": x.hours,
                }
                for x in self.tasks
            ],
        }


def estimate(setting: Setting, specs: Sequence[ModelSpec], batch: int) -> Estimate:
    """The cost of a run of these models; reads headers and a few samples, asks nobody.

    Raises:
        SuiteError: data that are not there.
    """
    parameters, base_bytes = model_size(setting.base)
    measured = _measured(setting)
    picture_tokens = _picture_tokens(setting.base)
    costs, letters = [], 0.0
    for task in setting.tasks:
        asked = sum(_asks(spec, task, setting) for spec in specs)
        samples = task.count(setting.split, setting.items)
        some = task.samples(setting.split, min(samples, LOOKED_AT), setting.seed)
        answer = sum(len(_reference(sample)) for sample in some) / len(some)
        letters += asked * samples * (ANSWER_BYTES + answer)
        seconds = measured.get(task.name)
        costs.append(
            TaskCost(
                task.name,
                asked,
                samples,
                asked * -(-samples // CHUNK),
                _seconds(task, some, parameters, picture_tokens, batch)
                if seconds is None
                else seconds,
                seconds is not None,
            )
        )
    merged = [spec for spec in specs if spec.is_made]
    return Estimate(
        tuple(costs),
        len(specs),
        len(merged),
        parameters,
        batch,
        sum(_merged_bytes(spec, setting) for spec in merged),
        round(letters),
        base_bytes,
    )


def model_size(folder: Path) -> tuple[int, int]:
    """(numbers, bytes) of a model's weights files, by their headers.

    Raises:
        SuiteError: there are none.
    """
    files = weights_files(folder)
    if not files:
        raise SuiteError(f"{folder}: no weights in it (*.safetensors); give the base's folder")
    size = weights_bytes(folder)
    if files[0].suffix == ".bin":
        return size // 2, size  # as half precision: a pickle does not tell without being read
    headers = [header for path in files for header in open_tensors(path).headers.values()]
    return sum(prod(header.shape) for header in headers), size


def _asks(spec: ModelSpec, task: Task, setting: Setting) -> bool:
    if task not in setting.tasks_of(spec):
        return False
    return not isinstance(spec.adapter, Mapping) or task.name in spec.adapter


def _reference(sample: Sample) -> str:
    return sample.references[0] if sample.references else ""


def _seconds(
    task: Task, samples: Sequence[Sample], parameters: int, picture_tokens: int, batch: int
) -> float:
    """Of one sample: reading the prompt costs operations, each new token the whole weights once."""
    pictures = picture_tokens * sum(len(x.images) for x in samples) / len(samples)
    prompt = sum(len(x.question) for x in samples) / len(samples) / LETTERS_A_TOKEN + pictures
    new = 0.0
    if task.asking.classes is None:
        lengths = [len(_reference(x)) / LETTERS_A_TOKEN + 1 for x in samples]
        new = min(float(task.asking.max_new_tokens), sum(lengths) / len(lengths))
    reading = 2 * parameters * max(prompt, 1.0) / (GPU.operations * GPU.used)
    writing = new * max(GPU.step, 2 * parameters / (GPU.bandwidth * GPU.used)) / batch
    return reading + writing


def _picture_tokens(base: Path) -> int:
    """How many tokens a picture is: as the config says, else by its patches."""
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    if isinstance(config.get("image_seq_length"), int):
        return int(config["image_seq_length"])
    vision = config.get("vision_config") or {}
    side, patch = vision.get("image_size"), vision.get("patch_size")
    return (side // patch) ** 2 if isinstance(side, int) and isinstance(patch, int) else 0


def _measured(setting: Setting) -> dict[str, float]:
    """Seconds a sample by task, of answers by this base model that lie in the folder."""
    found: dict[str, list[tuple[float, int]]] = {}
    for path in sorted(setting.answers.glob("[!.]*.jsonl")):
        try:
            with path.open(encoding="utf-8") as file:
                head = json.loads(file.readline())
            unit = head["unit"]
            if (unit["base_digest"], unit["suite"]) == (setting.base_digest, setting.suite.name):
                pair = (float(head["seconds"]), int(unit["count"]))
                found.setdefault(unit["task"], []).append(pair)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {
        task: sum(seconds for seconds, _ in pairs) / sum(count for _, count in pairs)
        for task, pairs in found.items()
    }


def _merged_bytes(spec: ModelSpec, setting: Setting) -> int:
    from copamerge.bench.preparing import inputs_of

    try:
        inputs = inputs_of(setting, spec).values()
    except CopamergeError:
        return 0
    files = [path / name for path in inputs for name in (CONFIG, *WEIGHTS)]
    size = sum(path.stat().st_size for path in files if path.is_file())
    rule = spec.scale_rule or setting.scale_rule
    # A scale rule keeps the merge before it, a search every multiple it tried.
    copies = {"published": 1, "norm_match": 2, "search": 2 + len(GRID)}
    return size * copies[rule]
