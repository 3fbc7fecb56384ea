"""One PEFT adapter folder: tensors written as they come, then read again and compared."""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from copamerge.core.adapter import Kind
from copamerge.errors import OutputError

PREFIX = "base_model.model."
CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}


@dataclass(frozen=True)
class LayerShape:
    """What one layer of the output will look like, known before it is computed."""

    name: str
    kind: Kind
    d_in: int
    d_out: int
    rank: int
    kernel: tuple[int, ...] = ()
    has_bias: bool = False

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """PEFT's tensor names and shapes for this layer: A, B, then the bias if it has one."""
        stem = PREFIX + self.name
        if self.kind is Kind.EMBEDDING:
            return {
                f"{stem}.lora_embedding_A": (self.rank, self.d_in),
                f"{stem}.lora_embedding_B": (self.d_out, self.rank),
            }
        ones = (1,) * (len(self.kernel) - 1)
        shapes = {
            f"{stem}.lora_A.weight": (self.rank, *(self.kernel or (self.d_in,))),
            f"{stem}.lora_B.weight": (self.d_out, self.rank, *ones),
        }
        if self.has_bias:
            shapes[f"{stem}.lora_B.bias"] = (self.d_out,)
        return shapes

    def stored(self, A: Tensor, B: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Factors as PEFT stores them, zero-padded to this layer's rank."""
        padded = [
            torch.nn.functional.pad(A, (0, 0, 0, self.rank - A.shape[0])),
            torch.nn.functional.pad(B, (0, self.rank - B.shape[1])),
        ]
        parts = padded if A.shape[0] < self.rank else [A, B]
        if bias is not None:
            parts = [*parts, bias]
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.tensors().items(), parts, strict=True)
        }


class AdapterWriter:
    """A safetensors file whose shapes are known and whose tensors arrive one by one.

    The file is as large as its result from the start and no tensor is kept: memory stays at
    what is in flight. `verify` reads it back through the safetensors library and compares every
    tensor's checksum with that of the tensor that was meant.
    """

    def __init__(
        self, path: Path, shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
    ) -> None:
        self._path = path
        self._meant: dict[str, int] = {}
        self._shapes = dict(shapes)
        header, self._offsets, size = _layout(self._shapes)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        os.pwrite(self._file, header, 0)
        self._start = len(header)
        os.truncate(self._file, self._start + size)

    def write(self, name: str, tensor: Tensor) -> None:
        """Store a tensor of the announced shape, in the announced dtype."""
        shape, dtype = self._shapes[name]
        assert tensor.shape == shape and tensor.dtype == dtype, (name, tensor.shape, shape)
        data = _bytes(tensor)
        self._meant[name] = zlib.crc32(data)
        offset = self._start + self._offsets[name]
        while data:
            done = os.pwrite(self._file, data, offset)
            data, offset = data[done:], offset + done

    def close(self) -> None:
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "AdapterWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif self._file >= 0:
            os.close(self._file)
            self._file = -1

    def verify(self) -> None:
        """Read the closed file again and compare it with what was meant.

        Raises:
            OutputError: a tensor is missing or is not what was written.
        """
        missing = self._shapes.keys() - self._meant.keys()
        assert not missing, f"announced but never written: {sorted(missing)[:3]}"
        names = list(self._meant)
        with ThreadPoolExecutor(2) as pool:
            wrong = [name for part in pool.map(self._differences, (names[::2], names[1::2])) for name in part]
        if wrong:
            raise OutputError(
                f"{self._path}: {len(wrong)} tensors read back differently from what was written "
                f"(first: {sorted(wrong)[0]!r}); the disk or its file system is at fault"
            )

    def _differences(self, names: Sequence[str]) -> list[str]:
        wrong = []
        chunk = 64  # a new map now and then, so that pages already compared are given back
        for start in range(0, len(names), chunk):
            with safe_open(self._path, framework="pt") as file:
                there = set(file.keys())
                for name in names[start : start + chunk]:
                    shape, dtype = self._shapes[name]
                    if name not in there:
                        wrong.append(name)
                        continue
                    tensor = file.get_tensor(name)
                    same = tensor.shape == shape and tensor.dtype == dtype
                    if not same or zlib.crc32(_bytes(tensor)) != self._meant[name]:
                        wrong.append(name)
        return wrong


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return memoryview(flat.numpy())


def _layout(
    shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
) -> tuple[bytes, dict[str, int], int]:
    """Header bytes, offset of every tensor and length of the data, in safetensors' own order."""
    # Wider types first, then by name: as the library does, so that every tensor is aligned.
    order = sorted(shapes, key=lambda name: (-shapes[name][1].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offsets: dict[str, int] = {}
    end = 0
    for name in order:
        shape, dtype = shapes[name]
        size = dtype.itemsize
        for side in shape:
            size *= side
        offsets[name] = end
        header[name] = {
            "dtype": CODES[dtype],
            "shape": list(shape),
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offsets, end


def saved_name(name: str, layers: Mapping[str, object] | set[str]) -> str:
    """PEFT's name of a full tensor: inside a module that LoRA wraps, it is the `base_layer`'s."""
    parent, _, leaf = name.rpartition(".")
    return PREFIX + (f"{parent}.base_layer.{leaf}" if parent in layers else name)


def peft_config(
    *,
    layers: Sequence[LayerShape],
    rank: int,
    base_model: str | None,
    revision: str | None,
    task_type: str | None,
    fan_in_fan_out: bool,
    bias: str,
    modules_to_save: Sequence[str],
    shared: Mapping[str, Any],
) -> dict[str, Any]:
    """adapter_config.json of a merged adapter: scaling 1, every target spelled out, no patterns."""
    return {
        **shared,
        "alpha_pattern": {},
        "base_model_name_or_path": base_model,
        "bias": bias,
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_bias": any(layer.has_bias for layer in layers),
        "lora_dropout": 0.0,
        "modules_to_save": list(modules_to_save) or None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "revision": revision,
        "target_modules": sorted(layer.name for layer in layers),
        "task_type": task_type,
        "use_dora": False,
        "use_rslora": False,
    }

