"""Makers of damaged and hostile adapter folders, each with what a user must be told about it.

Every maker writes one folder (or file) at the path it is given. `told` are the texts that the
message has to hold: the place, the fact and, where there is one, the remedy.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from makers import (
    LAYERS,
    PREFIX,
    Q0,
    a_of,
    b_of,
    factors,
    make_adapter,
    save_tensors,
    write_config,
)


@dataclass(frozen=True)
class Attack:
    """One way in which an adapter can be bad."""

    make: Callable[[Path], Any]
    told: tuple[str, ...]


ATTACKS: dict[str, Attack] = {}
MARKER = "owned"
"""File that code hidden in a pickle would create, beside the adapter."""


def told(*texts: str) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    def register(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
        ATTACKS[make.__name__] = Attack(make, texts)
        return make

    return register


# --- nothing there, or not the thing -------------------------------------------------------------


@told("no such file or folder", "Hub id")
def missing(path: Path) -> None:
    pass


@told("the folder is empty", "adapter_config.json")
def empty_folder(path: Path) -> None:
    path.mkdir()


@told("adapter_model.safetensors: the file is empty", "again")
def empty_weights(path: Path) -> None:
    make_adapter(path)
    (path / "adapter_model.safetensors").write_bytes(b"")


@told("but no adapter_model.safetensors")
def config_without_weights(path: Path) -> None:
    make_adapter(path)
    (path / "adapter_model.safetensors").unlink()


@told("no adapter_config.json", "--alpha")
def weights_without_config(path: Path) -> None:
    make_adapter(path)
    (path / "adapter_config.json").unlink()


@told("no adapter here, but in its folder checkpoint-10")
def folder_above(path: Path) -> None:
    make_adapter(path / "checkpoint-10")


@told("a whole model", "not an adapter")
def whole_model(path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text("{}")
    save_tensors(path, {"model.norm.weight": torch.zeros(2)}).rename(path / "model.safetensors")


@told("not an adapter", "folder")
def a_text_file(path: Path) -> None:
    path.write_text("hello")


@told("neither a file nor a folder")
def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@told("Git LFS pointer", "git lfs pull")
def lfs_pointer(path: Path) -> None:
    make_adapter(path)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
    (path / "adapter_model.safetensors").write_text(pointer)


@told("Git LFS pointer", "git lfs pull")
def lfs_pointer_bin(path: Path) -> None:
    make_adapter(path, weights="bin")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
    (path / "adapter_model.bin").write_text(pointer)


@told("adapter_config.json", "Git LFS pointer", "git lfs pull")
def lfs_pointer_config(path: Path) -> None:
    make_adapter(path)
    (path / "adapter_config.json").write_text("version https://git-lfs.github.com/spec/v1\noid ")


@told("a web page", "download")
def web_page_bin(path: Path) -> None:
    make_adapter(path, weights="bin")
    (path / "adapter_model.bin").write_text("<!DOCTYPE html><html>Sign in</html>")


@told("a web page", "download")
def web_page_safetensors(path: Path) -> None:
    make_adapter(path)
    (path / "adapter_model.safetensors").write_text("<html>Sign in</html>" * 10)


@told("is a PyTorch file", "adapter_model.bin")
def torch_file_called_safetensors(path: Path) -> None:
    make_adapter(path, weights="bin")
    (path / "adapter_model.bin").rename(path / "adapter_model.safetensors")


@told("is a safetensors file", "adapter_model.safetensors")
def safetensors_called_bin(path: Path) -> None:
    make_adapter(path)
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")


@told("kohya's layout", "only PEFT's")
def kohya(path: Path) -> None:
    path.mkdir()
    tensors = {
        "lora_unet_down_blocks_0.lora_down.weight": torch.zeros(2, 6),
        "lora_unet_down_blocks_0.lora_up.weight": torch.zeros(8, 2),
        "lora_unet_down_blocks_0.alpha": torch.tensor(2.0),
    }
    save_tensors(path, tensors).rename(path / "style.safetensors")


# --- safetensors ---------------------------------------------------------------------------------


def _weights(path: Path, content: bytes) -> None:
    make_adapter(path)
    (path / "adapter_model.safetensors").write_bytes(content)


def _safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@told("truncated", "bytes", "download it again")
def truncated_safetensors(path: Path) -> None:
    make_adapter(path)
    file = path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


@told("damaged or not a safetensors file")
def truncated_in_header(path: Path) -> None:
    make_adapter(path)
    file = path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:60])


@told("damaged or not a safetensors file")
def three_bytes(path: Path) -> None:
    _weights(path, b"abc")


@told("damaged or not a safetensors file")
def huge_header(path: Path) -> None:
    _weights(path, b"\xff" * 7 + b"\x7f" + b"{}" * 20)


@told("damaged or not a safetensors file")
def header_not_json(path: Path) -> None:
    _weights(path, _safetensors(b"{'a': 1" + b" " * 20))


@told("damaged or not a safetensors file")
def header_a_list(path: Path) -> None:
    _weights(path, _safetensors([1, 2, 3]))


@told("damaged or not a safetensors file")
def header_deeply_nested(path: Path) -> None:
    _weights(path, _safetensors(b'{"a":' * 100_000 + b"}" * 100_000))


def _entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@told("damaged or not a safetensors file")
def overlapping_offsets(path: Path) -> None:
    header = {a_of(Q0): _entry([2, 6], 0, 48), b_of(Q0): _entry([8, 2], 16, 80)}
    _weights(path, _safetensors(header, bytes(80)))


@told("damaged or not a safetensors file")
def offsets_with_a_hole(path: Path) -> None:
    header = {a_of(Q0): _entry([2, 6], 0, 48), b_of(Q0): _entry([8, 2], 64, 128)}
    _weights(path, _safetensors(header, bytes(128)))


@told("truncated")
def offsets_past_the_end(path: Path) -> None:
    header = {a_of(Q0): _entry([2, 6], 0, 48), b_of(Q0): _entry([8, 2], 48, 112)}
    _weights(path, _safetensors(header, bytes(50)))


@told("damaged or not a safetensors file")
def shape_that_overflows(path: Path) -> None:
    header = {a_of(Q0): _entry([2**62, 2**62], 0, 48)}
    _weights(path, _safetensors(header, bytes(48)))


@told("damaged or not a safetensors file")
def bytes_after_the_end(path: Path) -> None:
    make_adapter(path)
    with (path / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x" * 64)


@told("damaged or not a safetensors file")
def duplicate_keys(path: Path) -> None:
    name = json.dumps(a_of(Q0))
    one, two = json.dumps(_entry([2, 6], 0, 48)), json.dumps(_entry([2, 6], 48, 96))
    _weights(path, _safetensors(f"{{{name}: {one}, {name}: {two}}}".encode(), bytes(96)))


@told("damaged or not a safetensors file")
def unknown_dtype(path: Path) -> None:
    _weights(path, _safetensors({a_of(Q0): _entry([2, 6], 0, 48, "Q4")}, bytes(48)))


# --- pickles -------------------------------------------------------------------------------------


class _RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def _bin(path: Path, content: bytes) -> None:
    make_adapter(path, weights="bin")
    (path / "adapter_model.bin").write_bytes(content)


@told("adapter_model.bin", "would run code", "refused", "safetensors")
def code_in_a_pickle(path: Path) -> None:
    make_adapter(path, weights="bin")
    torch.save({"x": _RunsCode(path.parent / MARKER)}, path / "adapter_model.bin")


@told("would run code", "refused")
def code_in_a_bare_pickle(path: Path) -> None:
    _bin(path, pickle.dumps({"x": _RunsCode(path.parent / MARKER)}, protocol=2))


@told("would run code", "refused")
def code_in_a_legacy_file(path: Path) -> None:
    make_adapter(path, weights="bin")
    torch.save(
        {"x": _RunsCode(path.parent / MARKER)},
        path / "adapter_model.bin",
        _use_new_zipfile_serialization=False,
    )


@told("adapter_model.bin")
def zip_in_a_zip(path: Path) -> None:
    inner = io.BytesIO()
    torch.save({"x": _RunsCode(path.parent / MARKER)}, inner)
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as file:
        file.writestr("archive/data.pkl", inner.getvalue())
        file.writestr("archive/version", "3\n")
    _bin(path, outer.getvalue())


@told("truncated", "download it again")
def truncated_bin(path: Path) -> None:
    make_adapter(path, weights="bin")
    file = path / "adapter_model.bin"
    file.write_bytes(file.read_bytes()[:-200])


@told("truncated", "download it again")
def truncated_legacy_bin(path: Path) -> None:
    make_adapter(path, weights="bin")
    file = path / "adapter_model.bin"
    torch.save(factors(), file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes()[:-40])


@told("not a PyTorch file")
def noise_bin(path: Path) -> None:
    _bin(path, bytes(range(256)) * 8)


@told("holds a list, not tensors by name")
def list_bin(path: Path) -> None:
    make_adapter(path, weights="bin")
    torch.save([torch.zeros(2)], path / "adapter_model.bin")


@told("'state_dict'", "not a tensor", "expected a state dict")
def nested_bin(path: Path) -> None:
    make_adapter(path, weights="bin")
    torch.save({"state_dict": factors()}, path / "adapter_model.bin")


@told("name 7", "not a text")
def numbered_bin(path: Path) -> None:
    make_adapter(path, weights="bin")
    torch.save({**factors(), 7: torch.zeros(2)}, path / "adapter_model.bin")


@told("sparse", "plain tensors")
def sparse_bin(path: Path) -> None:
    make_adapter(path, weights="bin", extra={a_of(Q0): torch.eye(2, 6).to_sparse()})


@told(a_of(Q0), "more than the whole file")
def expanded_bin(path: Path) -> None:
    extra = {a_of(Q0): torch.zeros(1).expand(2, 10**9)}
    make_adapter(path, weights="bin", extra=extra)


@told(a_of(Q0), "complex")
def complex_factor(path: Path) -> None:
    make_adapter(path, weights="bin", extra={a_of(Q0): torch.zeros(2, 6, dtype=torch.complex64)})


# --- adapter_config.json -------------------------------------------------------------------------


def _config(path: Path, text: str | bytes) -> None:
    make_adapter(path)
    data = text if isinstance(text, bytes) else text.encode()
    (path / "adapter_config.json").write_bytes(data)


@told("adapter_config.json: the file is empty")
def empty_config(path: Path) -> None:
    _config(path, "")


@told("adapter_config.json: not valid JSON (line 2, column 1")
def broken_config(path: Path) -> None:
    _config(path, '{"peft_type": "LORA",\n')


@told("adapter_config.json: not a text file")
def binary_config(path: Path) -> None:
    _config(path, b"\xff\xfe\x00\x01")


@told("adapter_config.json: holds a list")
def list_config(path: Path) -> None:
    _config(path, "[]")


@told("adapter_config.json: not valid JSON")
def deep_config(path: Path) -> None:
    _config(path, "[" * 200_000)


@told("no peft_type")
def config_without_type(path: Path) -> None:
    make_adapter(path, peft_type=...)


@told("mlx-lm")
def mlx_config(path: Path) -> None:
    make_adapter(path, peft_type=..., lora_parameters={"rank": 8})


@told("'PROMPT_TUNING'", "virtual tokens", "only LORA")
def prompt_tuning(path: Path) -> None:
    make_adapter(path, peft_type="PROMPT_TUNING", num_virtual_tokens=8)


@told("'IA3'", "only LORA")
def ia3(path: Path) -> None:
    make_adapter(path, peft_type="IA3")


@told("'LOHA'", "save_as_lora")
def loha(path: Path) -> None:
    make_adapter(path, peft_type="LOHA")


@told("['LORA']", "only LORA")
def type_a_list(path: Path) -> None:
    make_adapter(path, peft_type=["LORA"])


def _wrong_value(name: str, *texts: str, **config: Any) -> None:
    def make(path: Path) -> None:
        make_adapter(path)
        write_config(path, **config)

    make.__name__ = name
    told("adapter_config.json", *texts)(make)


NAN = float("nan")
_wrong_value("r_in_words", "r = 'eight'", "whole number of at least 1", r="eight")
_wrong_value("r_zero", "r = 0", "whole number", r=0)
_wrong_value("r_negative", "r = -4", "whole number", r=-4)
_wrong_value("r_true", "r = True", "whole number", r=True)
_wrong_value("r_fraction", "r = 2.5", "whole number", r=2.5)
_wrong_value("r_enormous", "r = 1000", "whole number", r=10**400)
_wrong_value("r_null", "r = None", "whole number", r=None)
_wrong_value("alpha_nan", "lora_alpha = nan", "number", lora_alpha=NAN)
_wrong_value("alpha_infinite", "lora_alpha = inf", "number", lora_alpha=float("inf"))
_wrong_value("alpha_in_words", "lora_alpha = '16'", "number", lora_alpha="16")
_wrong_value(
    "pattern_not_a_regex", "rank_pattern", "'q_proj('", "expression", rank_pattern={"q_proj(": 2}
)
_wrong_value(
    "pattern_only_alone_a_regex",
    "alpha_pattern",
    "'(?i)q'",
    "expression",
    alpha_pattern={"(?i)q": 2},
)
_wrong_value("pattern_of_words", "rank_pattern", "numbers by layer", rank_pattern={"q": "x"})
_wrong_value("pattern_a_list", "alpha_pattern", "numbers by layer", alpha_pattern=[1, 2])
_wrong_value("rank_pattern_zero", "rank_pattern", "whole number", rank_pattern={"q_proj": 0})
_wrong_value("bias_unknown", "bias = 'some'", "none, all or lora_only", bias="some")
_wrong_value("bias_a_list", "bias = ['all']", "none, all or lora_only", bias=["all"])
_wrong_value("saved_a_number", "modules_to_save = 5", "list of names", modules_to_save=5)
_wrong_value("saved_a_word", "modules_to_save = 'head'", "list of names", modules_to_save="head")
_wrong_value("saved_numbers", "modules_to_save = [1]", "list of names", modules_to_save=[1])
_wrong_value("targets_a_number", "target_modules = 5", target_modules=5)
_wrong_value("targets_not_a_regex", "target_modules = '*'", "expression", target_modules="*")
_wrong_value("base_a_number", "base_model_name_or_path = 5", base_model_name_or_path=5)
_wrong_value("task_type_a_number", "task_type = 5", task_type=5)
_wrong_value("revision_a_mapping", "revision = {'a': 1}", revision={"a": 1})
_wrong_value("rslora_in_words", "use_rslora = 'false'", "true or false", use_rslora="false")
_wrong_value("enable_lora_a_number", "enable_lora = 3", "true or false", enable_lora=3)
_wrong_value("dora", "use_dora = True", "DoRA", "merge it into the base", use_dora=True)
_wrong_value("qalora", "use_qalora = True", "QA-LoRA", use_qalora=True)
_wrong_value("parameters", "target_parameters", "MoE experts", target_parameters=["mlp.experts"])
_wrong_value("replicated", "layer_replication", "replicated layers", layer_replication=[[0, 4]])
_wrong_value(
    "token_indices", "trainable_token_indices", "token rows", trainable_token_indices=[1, 2]
)
_wrong_value("alora", "alora_invocation_tokens", "aLoRA", alora_invocation_tokens=[5])
for _init in ("pissa", "pissa_niter_16", "olora", "loftq", "corda", "lora_ga"):
    _wrong_value(f"init_{_init}", f"'{_init}'", "also changes the base", init_lora_weights=_init)
_wrong_value("unknown_option", "use_sora = True", "--allow-unknown-config", use_sora=True)


@told("r = 'eight'", "lora_alpha = nan", "use_dora", "truncated")
def everything_wrong(path: Path) -> None:
    truncated_safetensors(path)
    write_config(path, r="eight", lora_alpha=NAN, use_dora=True)


# --- tensors -------------------------------------------------------------------------------------


@told(Q0, "lora_A (3, 6) and lora_B (8, 2)", "the rank axes, 3 and 2, should be equal")
def ranks_of_a_and_b_differ(path: Path) -> None:
    make_adapter(path, extra={a_of(Q0): torch.zeros(3, 6)})


@told(Q0, "has rank 2", "adapter_config.json says 5")
def rank_not_as_configured(path: Path) -> None:
    make_adapter(path)
    write_config(path, r=5)


@told(Q0, "lora_A but no lora_B", "incomplete")
def a_without_b(path: Path) -> None:
    make_adapter(path)
    tensors = factors()
    del tensors[b_of(Q0)]
    save_tensors(path, tensors)


@told(Q0, "lora_B but no lora_A", "incomplete")
def b_without_a(path: Path) -> None:
    make_adapter(path)
    tensors = factors()
    del tensors[a_of(Q0)]
    save_tensors(path, tensors)


@told(Q0, "empty", "ZeRO-3")
def zero3(path: Path) -> None:
    extra = {name: torch.zeros(0) for name in factors()}
    make_adapter(path, extra=extra)


@told(Q0, "not the shapes of a LoRA layer")
def vectors(path: Path) -> None:
    make_adapter(path, extra={a_of(Q0): torch.zeros(6), b_of(Q0): torch.zeros(8)})


@told(a_of(Q0), "int8", "quantised")
def int8_factors(path: Path) -> None:
    make_adapter(path, extra={a_of(Q0): torch.zeros(2, 6, dtype=torch.int8)})


@told("lora_magnitude_vector", "DoRA")
def dora_vectors(path: Path) -> None:
    make_adapter(path, extra={f"{PREFIX}{Q0}.lora_magnitude_vector.weight": torch.ones(8)})


@told("trained token rows")
def token_rows(path: Path) -> None:
    name = f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta"
    make_adapter(path, extra={name: torch.ones(2, 6)})


@told("several adapters (default, other)")
def several_adapters(path: Path) -> None:
    tensors = {
        name.replace(".weight", f".{adapter}.weight"): tensor.clone()
        for adapter in ("default", "other")
        for name, tensor in factors().items()
    }
    make_adapter(path)
    save_tensors(path, tensors)


@told("not understood", "lora_C")
def tensors_not_understood(path: Path) -> None:
    make_adapter(path, extra={f"{PREFIX}{Q0}.lora_C.weight": torch.ones(2)})


@told("no LoRA tensors in it")
def no_lora_tensors(path: Path) -> None:
    make_adapter(path)
    save_tensors(path, {f"{PREFIX}lm_head.weight": torch.ones(2, 2)})


@told("enable_lora = [True, False, True]", Q0)
def enable_lora_that_does_not_fit(path: Path) -> None:
    make_adapter(path, extra={b_of(Q0): torch.zeros(8, 2, 1)}, enable_lora=[True, False, True])


@told("'k_proj'", "--allow-unmatched-targets")
def target_without_tensors(path: Path) -> None:
    make_adapter(path, target_modules=["q_proj", "v_proj", "k_proj"])


@told("non_lora_trainables.bin", "--modules-to-save drop")
def llava_extra(path: Path) -> None:
    make_adapter(path)
    torch.save({"mm_projector.weight": torch.zeros(2)}, path / "non_lora_trainables.bin")


@told(b_of(Q0), "2 NaN and 1 infinite values of 16", "leave it out")
def nan_and_infinity(path: Path) -> None:
    B = torch.ones(8, 2)
    B[0, 0] = B[1, 1] = NAN
    B[2, 0] = -float("inf")
    make_adapter(path, extra={b_of(Q0): B})


@told("has 12 NaN", "5 more tensors")
def nan_everywhere(path: Path) -> None:
    make_adapter(path, extra={name: x * NAN for name, x in factors().items()})


@told(Q0, "too large for float32")
def overflowing_alpha(path: Path) -> None:
    make_adapter(path, alpha=1e39)


@told("infinite values", a_of(Q0))
def overflowing_float64(path: Path) -> None:
    make_adapter(path, extra={a_of(Q0): torch.full((2, 6), 1e300, dtype=torch.float64)})


@told(Q0, "16x6, not 8x6 as in")
def other_shape(path: Path) -> None:
    make_adapter(path, layers={**LAYERS, Q0: (16, 6)})


@told(Q0, "conv", "not linear")
def other_kind(path: Path) -> None:
    extra = {a_of(Q0): torch.zeros(2, 6, 1, 1), b_of(Q0): torch.zeros(8, 2, 1, 1)}
    make_adapter(path, extra=extra)


@told("'org/other-base'", "'org/tiny-base'", "--allow-different-bases")
def other_base(path: Path) -> None:
    make_adapter(path, base_model_name_or_path="org/other-base")


@told("lm_head", "--modules-to-save mean, first or drop")
def full_modules(path: Path) -> None:
    extra = {f"{PREFIX}lm_head.weight": torch.ones(4, 6)}
    make_adapter(path, extra=extra, modules_to_save=["lm_head"])
