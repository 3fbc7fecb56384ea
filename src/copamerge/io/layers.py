"""One LoRA layer from its stored factors: kind, shapes, scaling, and the module itself."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from copamerge.core.adapter import Kind, LayerInfo
from copamerge.core.lora import LoraModule
from copamerge.io.config import LoraConfig
from copamerge.io.names import Parts
from copamerge.io.tensorfile import Header, TensorFile, dtype_name


def layer_info(
    where: Path,
    name: str,
    found: Parts,
    headers: Mapping[str, Header],
    config: LoraConfig,
    problems: list[str],
) -> LayerInfo | None:
    if found.A is None or found.B is None:
        there, missing = ("lora_A", "lora_B") if found.B is None else ("lora_B", "lora_A")
        problems.append(
            f"{where}: layer {name!r} has {there} but no {missing}; the file is incomplete, "
            "save or download it again"
        )
        return None
    A, B = headers[found.A].shape, headers[found.B].shape
    place = f"{where}: layer {name!r}"
    tensors = [found.A, found.B] + ([found.bias] if found.bias else [])
    for tensor in tensors:
        dtype = headers[tensor].dtype
        if not dtype.is_floating_point:
            why = "complex" if dtype.is_complex else "quantised or whole-numbered"
            problems.append(
                f"{where}: tensor {tensor!r} is {dtype_name(dtype)}: {why} factors are not read; "
                "save them as float32 or bfloat16"
            )
            return None

    if 0 in A or 0 in B:
        problems.append(
            f"{place} has lora_A {A} and lora_B {B}: empty (saved by DeepSpeed ZeRO-3 without "
            "gathering the weights?); save it again with them gathered"
        )
        return None
    merged_linear = config.enable_lora is not None and len(A) == 2 and len(B) == 3
    if merged_linear:
        shape = _merged_linear_shape(place, A, B, config, problems)
        if shape is None:
            return None
        rank, d_in, d_out = A[0], A[1], shape
        unit = config.rank_of(name)
        if B[1] != unit:
            problems.append(
                f"{place} has rank {B[1]} per part, but its adapter_config.json says {unit}; "
                "weights and config are not of the same adapter"
            )
            return None
    else:
        if len(A) != len(B) or len(A) not in (2, 3, 4, 5):
            problems.append(
                f"{place} has lora_A {A} and lora_B {B}: not the shapes of a LoRA layer"
            )
            return None
        if any(size != 1 for size in B[2:]):
            problems.append(f"{place} has lora_B {B}; a convolution's should end in ones")
            return None
        if A[0] != B[1]:
            if len(A) > 2 and A[0] % B[1] == 0:
                problems.append(
                    f"{place} is a grouped convolution (lora_A {A}, lora_B {B}); its B A is not "
                    "one low-rank matrix, and merging it is not supported"
                )
            else:
                problems.append(
                    f"{place} has lora_A {A} and lora_B {B}; "
                    f"the rank axes, {A[0]} and {B[1]}, should be equal"
                )
            return None
        rank, d_out, d_in = A[0], B[0], 1
        for size in A[1:]:
            d_in *= size
        unit = rank
        if config.r and config.rank_of(name) != rank:
            problems.append(
                f"{place} has rank {rank}, but its adapter_config.json says "
                f"{config.rank_of(name)}; weights and config are not of the same adapter"
            )
            return None
    if found.bias and headers[found.bias].shape != (d_out,):
        problems.append(
            f"{place} has a lora_B.bias of shape {headers[found.bias].shape}, not ({d_out},)"
        )
        return None
    kind = Kind.EMBEDDING if found.embedding else Kind.CONV if len(A) > 2 else Kind.LINEAR
    return LayerInfo(
        name=name,
        kind=kind,
        d_in=d_in,
        d_out=d_out,
        rank=rank,
        scaling=config.scaling_of(name, unit),
        dtype=dtype_name(_wider(headers[found.A].dtype, headers[found.B].dtype)),
        kernel=A[1:] if kind is Kind.CONV else (),
        has_bias=found.bias is not None,
        tensors=tuple(tensors),
    )


def _wider(one: torch.dtype, other: torch.dtype) -> torch.dtype:
    # float8 types do not promote among themselves.
    return one if one == other else torch.promote_types(_plain(one), _plain(other))


def _plain(dtype: torch.dtype) -> torch.dtype:
    return torch.bfloat16 if dtype.itemsize == 1 else dtype


def _merged_linear_shape(
    place: str,
    A: tuple[int, ...],
    B: tuple[int, ...],
    config: LoraConfig,
    problems: list[str],
) -> int | None:
    """d_out of a layer of PEFT before 0.3, where one linear held several projections."""
    assert config.enable_lora is not None
    enabled, blocks = sum(config.enable_lora), len(config.enable_lora)
    if not enabled or B[2] != 1 or A[0] != enabled * B[1] or B[0] % enabled:
        problems.append(
            f"{place} has lora_A {A} and lora_B {B}, which do not fit enable_lora = "
            f"{list(config.enable_lora)}"
        )
        return None
    return B[0] // enabled * blocks


def read_module(
    info: LayerInfo, found: Parts, file: TensorFile, enable: tuple[bool, ...] | None
) -> LoraModule:
    assert found.A is not None and found.B is not None
    A, B = file.read(found.A), file.read(found.B)
    if A.ndim == 2 and B.ndim == 3 and enable is not None:
        B = _block_diagonal(B[:, :, 0], enable)
    bias = file.read(found.bias) if found.bias else None
    return LoraModule(A.flatten(1), B.flatten(1), info.scaling, bias)


def _block_diagonal(B: Tensor, enable: tuple[bool, ...]) -> Tensor:
    """B of a grouped 1x1 convolution as a matrix over all outputs, zero where LoRA is off."""
    enabled = sum(enable)
    rows, r = B.shape[0] // enabled, B.shape[1]
    whole = B.new_zeros(rows * len(enable), r * enabled)
    group = 0
    for block, on in enumerate(enable):
        if on:
            whole[block * rows : (block + 1) * rows, group * r : (group + 1) * r] = B[
                group * rows : (group + 1) * rows
            ]
            group += 1
    return whole
