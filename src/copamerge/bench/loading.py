"""A model and what reads its inputs, from a folder, by libraries that may be missing."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from copamerge.bench.units import weights_bytes
from copamerge.errors import CopamergeError, SuiteError

CLIP = "clip"
"""The `model_type` of the models that choose labels."""
FOLD_UP_TO = 500_000_000
"""Parameters up to which an adapter is folded into the base's weights: faster answers, but what it
changes is kept twice. Larger models run with the adapter beside their weights."""


def imported(name: str, extra: str = "bench") -> Any:
    """A library of this extra.

    Raises:
        CopamergeError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except ModuleNotFoundError as error:
        raise CopamergeError(
            f"{error.name} is not installed; pip install 'copamerge[{extra}]'"
        ) from None


def loaded(folder: Path, model_class: str, reader_class: str, what: str) -> tuple[Any, Any]:
    """A model and its processor or tokenizer, by transformers' classes of these names.

    On the GPU where there is one: large ones in the half precision they are saved in, or in
    bfloat16 where that is float32. Else in float32 on the CPU.

    Raises:
        SuiteError: transformers cannot load the folder as `what`.
        CopamergeError: a library is not installed.
    """
    transformers = imported("transformers")
    imported("peft")
    imported("PIL")
    check_model_folder(folder)
    gpu = torch.cuda.is_available()
    large = gpu and weights_bytes(folder) > 2 * FOLD_UP_TO
    try:
        with without_noise():
            reader = getattr(transformers, reader_class).from_pretrained(folder)
            model, found = getattr(transformers, model_class).from_pretrained(
                folder, dtype="auto" if large else torch.float32, output_loading_info=True
            )
            if large and model.dtype == torch.float32:
                model = model.to(torch.bfloat16)
    except Exception as error:  # whatever a damaged file makes transformers raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise SuiteError(f"{folder}: transformers cannot load this as {what}: {first}") from None
    if absent := sorted(map(str, found["missing_keys"])):
        # transformers would make them up.
        raise SuiteError(
            f"{folder}: its weights lack {len(absent)} tensors of the model (first: "
            f"{absent[0]!r}); copy the folder again"
        )
    return model.to("cuda" if gpu else "cpu").eval(), reader


def check_model_folder(folder: Path) -> None:
    """
    Raises:
        SuiteError: nothing that transformers saved is there.
    """
    if not (folder / "config.json").is_file():
        raise SuiteError(
            f"{folder}: not a model folder (no config.json in it); give the folder of a base "
            "model that transformers saved"
        )


def kind_of(folder: Path) -> str | None:
    """The `model_type` that a base's config names; None where it names none.

    Raises:
        SuiteError: nothing that transformers saved is there.
    """
    check_model_folder(folder)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (ValueError, KeyError, TypeError):
        return None
    return kind if isinstance(kind, str) else None


@contextmanager
def without_noise() -> Iterator[None]:
    """Without transformers' bars, hints and deprecations: nothing a user could act on."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def with_threads(count: int | None) -> Iterator[None]:
    """So many of torch's CPU threads inside the block; None: as many as there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def greedy(model: Any, processor: Any) -> Any:
    """The base's generation settings, without sampling and whatever only sampling uses."""
    from transformers import GenerationConfig

    own, tokenizer = model.generation_config, processor.tokenizer
    stop = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = stop[0] if isinstance(stop, list) else stop
    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        num_beams=1,
        bos_token_id=own.bos_token_id,
        eos_token_id=stop,
        pad_token_id=pad,
    )
