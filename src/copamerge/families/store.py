"""How a family's tensors are stored: masks as bits, shared tensors in their type."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from copamerge.errors import CopamergeError
from copamerge.io import AdapterWriter
from copamerge.io.tensorfile import dtype_name


def packed(masks: Bool[Tensor, " n *dims"]) -> UInt8[Tensor, "n bytes"]:
    """Each mask row by row, eight entries to a byte, the first one in the highest bit."""
    rows = masks.reshape(len(masks), -1).cpu().numpy()
    return torch.from_numpy(np.packbits(rows, axis=1))


def unpacked(bits: UInt8[Tensor, " bytes"], shape: tuple[int, ...]) -> Bool[Tensor, " *dims"]:
    """One mask of this shape; the bits that fill up the last byte are not looked at."""
    flat = np.unpackbits(bits.numpy(), count=math.prod(shape))
    return torch.from_numpy(flat.astype(bool)).reshape(shape)


def rounded(place: str, exact: Tensor, dtype: torch.dtype) -> tuple[Tensor, float | None]:
    """A tensor in the type it is stored in, and the relative error of that; None: it is zero.

    Raises:
        CopamergeError: the type cannot hold its values.
    """
    stored = exact.to("cpu", dtype).contiguous()
    if not bool(stored.isfinite().all()):
        raise CopamergeError(
            f"{place}: values do not fit {dtype_name(dtype)}; choose --dtype bfloat16 or float32"
        )
    size = float(exact.double().norm())
    if not size:
        return stored, None
    return stored, float((stored.double() - exact.cpu().double()).norm()) / size


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, every tensor of it read back and compared.

    Raises:
        OutputError: the file does not hold what was written.
    """
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    writer = AdapterWriter(path, shapes)
    try:
        for name, tensor in tensors.items():
            writer.write(name, tensor)
    finally:
        writer.close()
    writer.verify()
