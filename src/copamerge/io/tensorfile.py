"""Tensors by name in one file: headers first, data when asked for."""

import json
import pickle
import re
import struct
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from copamerge.errors import AdapterError

LFS_MAGIC = b"version https://git-lfs.github.com/spec/"
TORCH_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of a zip archive and of a pickle: what torch.save writes, now and formerly."""
RECYCLE_AFTER = 16 * 2**20
"""Bytes read through one memory map before it is closed and opened again."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Header:
    """Shape and type of a tensor, known without reading it."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorFile(ABC):
    """Named tensors in a file. `read` gives them on the CPU, in the dtype of the file."""

    path: Path
    headers: Mapping[str, Header]

    @abstractmethod
    def read(self, name: str) -> Tensor: ...


def open_tensors(path: Path) -> TensorFile:
    """Open a `.safetensors` or a PyTorch file; nothing in it is ever executed.

    Raises:
        AdapterError: not a tensor file, damaged, a Git LFS pointer, or a pickle that needs code.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise AdapterError(f"{path}: cannot be read: {error.strerror}") from None
    if head.startswith(LFS_MAGIC):
        raise AdapterError(
            f"{path}: a Git LFS pointer of {path.stat().st_size} bytes, not the weights; "
            "run `git lfs pull` in that repository or download the file itself"
        )
    if not head:
        raise AdapterError(f"{path}: the file is empty; download it again")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise AdapterError(
            f"{path}: a web page, not weights; download the file itself (a private or gated one "
            "needs a login)"
        )
    # The length that a safetensors file begins with may be any bytes, a pickle's first ones too.
    is_safetensors = head[8:9] == b"{"
    is_torch = head.startswith(TORCH_MAGIC) and not is_safetensors
    if path.suffix == ".safetensors":
        if is_torch:
            raise AdapterError(
                f"{path}: is a PyTorch file by its content; rename it to {path.stem}.bin"
            )
        return SafetensorsFile(path)
    if is_safetensors:
        raise AdapterError(
            f"{path}: is a safetensors file by its content; rename it to {path.stem}.safetensors"
        )
    if not is_torch:
        raise AdapterError(
            f"{path}: not a PyTorch file (neither a zip archive nor a pickle); download it again"
        )
    return TorchFile(path)


class SafetensorsFile(TensorFile):
    """A memory map that is renewed now and then, so that pages already used are given back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._used = 0
        try:
            self._file: Any
            self._file = safe_open(path, framework="pt")
            headers = {}
            for name in self._file.keys():
                part = self._file.get_slice(name)
                headers[name] = Header(
                    tuple(part.get_shape()), _dtype(path, name, part.get_dtype())
                )
        except SafetensorError as error:
            raise AdapterError(f"{path}: {_damage(path, str(error))}") from None
        except OSError as error:
            raise AdapterError(f"{path}: cannot be read: {error.strerror or error}") from None
        self.headers = headers

    def read(self, name: str) -> Tensor:
        try:
            if self._used > RECYCLE_AFTER:
                self._file = safe_open(self.path, framework="pt")
                self._used = 0
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise AdapterError(
                f"{self.path}: changed while it was being read ({str(error)[:100]})"
            ) from None
        self._used += tensor.nbytes
        return tensor


class TorchFile(TensorFile):
    """A `.bin` file, read by torch's restricted unpickler: tensors and plain containers only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        major, minor = (int(part) for part in torch.__version__.split(".")[:2])
        if (major, minor) < (2, 6):
            # CVE-2025-32434: before torch 2.6 even weights_only=True could run code.
            raise AdapterError(
                f"{path}: PyTorch files are not read with torch {torch.__version__}, whose "
                "unpickler can be made to run code (CVE-2025-32434); "
                "install torch 2.6 or later, or convert the file to safetensors"
            )
        try:
            with warnings.catch_warnings():
                # Of pickles torch did not write it warns, with a path of its own; we say what is
                # wrong with them. Not thread-safe: files are opened one by one, while planning.
                warnings.simplefilter("ignore")
                content = torch.load(
                    path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
                )
        except pickle.UnpicklingError as error:
            reason = _why_refused(str(error))
            raise AdapterError(
                f"{path}: loading this pickle would run code or build unknown objects "
                f"({reason}); refused. If you trust its author, load it where that "
                "does no harm and save its tensors as safetensors"
            ) from None
        except Exception as error:  # damaged bytes fail inside torch in every possible way
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise AdapterError(
                f"{path}: truncated or not a PyTorch file ({path.stat().st_size:,} bytes; "
                f"{_first_sentence(reason)}); download it again"
            ) from None
        if not isinstance(content, dict):
            raise AdapterError(
                f"{path}: holds a {type(content).__name__}, not tensors by name; "
                "save the adapter's state dict"
            )
        if problems := _odd_entries(path, content):
            raise AdapterError(problems)
        self._content: dict[str, Tensor] = content
        self.headers = {
            name: Header(tuple(tensor.shape), tensor.dtype)
            for name, tensor in self._content.items()
        }

    def read(self, name: str) -> Tensor:
        return self._content[name]


def _odd_entries(path: Path, content: dict[Any, Any]) -> list[str]:
    """What a state dict should not hold."""
    problems = []
    names = [name for name in content if not _is_text(name)]
    if names:
        problems.append(f"{path}: name {names[0]!r} is not a text; save the adapter's state dict")
    if odd := [repr(name) for name, value in content.items() if not isinstance(value, Tensor)]:
        more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
        problems.append(
            f"{path}: {', '.join(odd[:5])}{more} {'is' if len(odd) == 1 else 'are'} not a tensor; "
            "expected a state dict of tensors"
        )
    size = path.stat().st_size
    for name, value in content.items():
        if not isinstance(value, Tensor):
            continue
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            kind = "quantised" if value.is_quantized else str(value.layout).removeprefix("torch.")
            problems.append(
                f"{path}: tensor {name!r} is {'meta' if value.is_meta else kind}; "
                "only plain tensors are read: save it as one"
            )
        elif value.numel() * value.element_size() > size:
            problems.append(
                f"{path}: tensor {name!r} claims {value.numel() * value.element_size():,} bytes, "
                f"more than the whole file ({size:,}); save it with `.contiguous()`"
            )
    return problems


def _is_text(name: object) -> bool:
    try:
        return isinstance(name, str) and bool(name.encode())
    except UnicodeEncodeError:
        return False


def _why_refused(message: str) -> str:
    """What torch's restricted unpickler met, without its advice to switch it off."""
    if found := re.search(r"GLOBAL (\S+)", message) or re.search(r"Trying to (.+)", message):
        return f"it uses {found[1]}"
    return _first_sentence(message.split("WeightsUnpickler error:")[-1].strip())


def _first_sentence(text: str) -> str:
    line = (text.splitlines() or [""])[0]
    return re.split(r"\.(?:\s|$)", line, maxsplit=1)[0][:100]


def _dtype(path: Path, name: str, code: str) -> torch.dtype:
    if code not in DTYPES:
        raise AdapterError(f"{path}: tensor {name!r} is stored as {code}, which torch cannot hold")
    return DTYPES[code]


def _damage(path: Path, reason: str) -> str:
    """What is wrong with a safetensors file that its library refuses, with sizes if they tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if 0 < length < 100_000_000 and length + 8 <= size:
            try:
                header = json.loads(file.read(length))
                end = max(v["data_offsets"][1] for k, v in header.items() if k != "__metadata__")
            except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
                end = 0
            if isinstance(end, int) and size < 8 + length + end:
                return (
                    f"truncated: {size:,} bytes, but its header describes {8 + length + end:,}; "
                    "download it again"
                )
    reason = reason.removeprefix("Error while deserializing header: ")
    return f"damaged or not a safetensors file ({_first_sentence(reason)}); download it again"


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
