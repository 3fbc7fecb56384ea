"""One PEFT adapter folder: tensors written as they come, then read again and compared."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from copamerge.core.adapter import Kind
from copamerge.errors import OutputError
from copamerge.io.config import matched_name
from copamerge.io.names import PREFIX
from copamerge.io.tensorfile import DTYPES, Header, open_tensors

CODES = {dtype: code for code, dtype in DTYPES.items()}


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
    what is in flight. Every tensor is read back from the file as soon as it is written and
    compared with the one that was meant; `verify` does the same for the header. Tensors may
    arrive from several threads, in any order.
    """

    def __init__(
        self, path: Path, shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
    ) -> None:
        self._path = path
        self._shapes = dict(shapes)
        self._pending = set(shapes)
        self._header, self._offsets, size = _layout(self._shapes)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            self._put(self._header, 0)
            os.truncate(self._file, len(self._header) + size)
        except OSError:
            os.close(self._file)
            raise

    def write(self, name: str, tensor: Tensor) -> None:
        """Store a tensor of the announced shape and dtype, and read it back.

        Raises:
            OutputError: what the file holds is not what was written.
        """
        shape, dtype = self._shapes[name]
        assert tensor.shape == shape and tensor.dtype == dtype, (name, tensor.shape, shape)
        meant = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        start = len(self._header) + self._offsets[name]
        self._put(meant.data, start)
        there = np.empty_like(meant)
        done = 0
        while done < len(meant):
            size = os.preadv(self._file, [memoryview(there.data)[done:]], start + done)
            if not size:
                break
            done += size
        if done < len(meant) or not _same(meant, there):
            raise OutputError(
                f"{self._path}: tensor {name!r} reads back differently from what was written; "
                "the disk or its file system is at fault"
            )
        self._pending.discard(name)

    def _put(self, data: bytes | memoryview, start: int) -> None:
        done = 0
        while done < len(data):  # the system may take less than it is given
            done += os.pwrite(self._file, memoryview(data)[done:], start + done)

    def close(self) -> None:
        """Flush to disk; may be called again."""
        if self._file >= 0:
            descriptor, self._file = self._file, -1
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def verify(self) -> None:
        """Open the closed file as any reader would and compare its header with what was meant.

        Raises:
            OutputError: the safetensors library sees other names, shapes or types.
        """
        assert not self._pending, f"announced but never written: {sorted(self._pending)[:3]}"
        with self._path.open("rb") as file:
            header = file.read(len(self._header))
        meant = {name: Header(*shape) for name, shape in self._shapes.items()}
        if header != self._header or dict(open_tensors(self._path).headers) != meant:
            raise OutputError(
                f"{self._path}: the header reads back differently from what was written"
            )


def _same(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> bool:
    whole = len(one) // 8 * 8  # eight bytes at a time, then the rest
    return bool(
        np.array_equal(one[:whole].view(np.uint64), other[:whole].view(np.uint64))
        and np.array_equal(one[whole:], other[whole:])
    )


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
    # A layer's own name has a base_layer in it too where a module inside a wrapped one is wrapped.
    wrapped = {layer.replace(".base_layer.", "."): layer for layer in layers}
    return PREFIX + (f"{wrapped[parent]}.base_layer.{leaf}" if parent in wrapped else name)


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
        "target_modules": sorted({matched_name(layer.name) for layer in layers}),
        "task_type": task_type,
        "use_dora": False,
        "use_rslora": False,
    }
