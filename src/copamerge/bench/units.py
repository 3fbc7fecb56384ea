"""The unit of work: some samples of one task, answered by one model in one way."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from copamerge.errors import AdapterError, SuiteError
from copamerge.suites import Asking, Split, Task

CHUNK = 200
"""Samples of a unit: what a killed run loses at most, and what 1000 items share with 200."""
CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""PEFT's files, in the order in which PEFT looks for them."""
MODEL_FILES = (".json", ".safetensors", ".bin", ".jinja", ".model", ".txt")
"""What a base model's answers depend on: configs, weights, tokenizer, chat template."""


@dataclass(frozen=True)
class Unit:
    """What an answers file answers; its name is the hash of this."""

    base_digest: str
    adapter_digest: str | None
    """None: the base model alone."""
    suite: str
    task: str
    split: Split
    seed: int
    start: int
    count: int
    asking: Asking
    """Answers are greedy; the batch size does not change them."""
    data_digest: str | None = None
    """Of what the samples are read from; None: made by code."""

    @property
    def key(self) -> str:
        """The first 24 hex digits of the SHA-256 of the canonical JSON of all fields."""
        return hashlib.sha256(canonical(self.record()).encode()).hexdigest()[:24]

    def record(self) -> dict[str, Any]:
        """All fields; the labels a picture may have by their hash, as they may be thousands."""
        content = asdict(self)
        if self.asking.classes is not None:
            content["asking"]["classes"] = sha256(canonical(asdict(self.asking.classes)).encode())
        return content


def units(
    task: Task,
    count: int,
    *,
    base: str,
    adapter: str | None,
    suite: str,
    split: Split,
    seed: int,
) -> Iterator[Unit]:
    """The first `count` samples of a task in pieces of CHUNK, the last one shorter."""
    for start in range(0, count, CHUNK):
        yield Unit(
            base_digest=base,
            adapter_digest=adapter,
            suite=suite,
            task=task.name,
            split=split,
            seed=seed,
            start=start,
            count=min(CHUNK, count - start),
            asking=task.asking,
            data_digest=task.digest(split) if task.digest else None,
        )


def canonical(content: Any) -> str:
    """JSON in which equal contents are equal texts."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def adapter_digest(folder: Path) -> str:
    """SHA-256 over an adapter folder's config (however it is spaced) and its weights files.

    Raises:
        AdapterError: not a PEFT adapter folder.
    """
    from copamerge.io.llava import EXTRAS

    config = folder / CONFIG
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not config.is_file():
        raise AdapterError(
            f"{folder}: not a PEFT adapter folder ({CONFIG} and {WEIGHTS[0]} are looked for); "
            "give the folder that `copamerge merge` or PEFT wrote"
        )
    try:
        options = canonical(json.loads(config.read_text(encoding="utf-8")))
    except ValueError as error:
        raise AdapterError(f"{config}: not valid JSON ({error}); copy the adapter again") from None
    beside = {name: file_sha256(folder / name) for name in EXTRAS if (folder / name).is_file()}
    return _combined({CONFIG: sha256(options.encode()), "weights": file_sha256(weights), **beside})


def base_digest(folder: Path) -> str:
    """SHA-256 over a base model's configs, weights and tokenizer files.

    Raises:
        SuiteError: not a model folder.
    """
    if not (folder / "config.json").is_file():
        raise SuiteError(
            f"{folder}: not a model folder (no config.json in it); give the folder of a base "
            "model that transformers saved"
        )
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in MODEL_FILES)
    return _combined({path.name: file_sha256(path) for path in files})


def weights_files(folder: Path) -> list[Path]:
    """A model's weights: safetensors where there are some, else what torch saved."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def weights_bytes(folder: Path) -> int:
    """Of a model on disk."""
    return sum(path.stat().st_size for path in weights_files(folder))


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _combined(parts: dict[str, str]) -> str:
    return sha256(canonical(parts).encode())
