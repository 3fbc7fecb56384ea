"""The base that an adapter is trained on, frozen, with the adapter's fresh modules on it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from copamerge.bench.loading import imported, without_noise
from copamerge.bench.models import sees
from copamerge.bench.prompting import TextProcessor
from copamerge.errors import SuiteError
from copamerge.suites import Task
from copamerge.training.suite.conversation import Reader, answer_ends
from copamerge.training.suite.recipe import TrainRecipe


class Base(NamedTuple):
    """A frozen model, and what reads its inputs."""

    model: Any
    reader: Reader


def open_base(folder: Path, tasks: Sequence[Task], dtype: torch.dtype) -> Base:
    """A base in the LLaVA form, any other image-text model, or else a causal language model.

    On the CPU, in this dtype; whoever trains it moves it.

    Raises:
        SuiteError: transformers cannot load the folder, or it lacks what training needs.
        CopamergeError: transformers is not installed.
    """
    transformers, pictured = imported("transformers"), sees(folder)
    kind = "AutoModelForImageTextToText" if pictured else "AutoModelForCausalLM"
    reads = "AutoProcessor" if pictured else "AutoTokenizer"
    try:
        with without_noise():
            processor = getattr(transformers, reads).from_pretrained(folder)
            model, found = getattr(transformers, kind).from_pretrained(
                folder, dtype=dtype, output_loading_info=True
            )
    except Exception as error:  # whatever a damaged file makes transformers raise
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise SuiteError(f"{folder}: transformers cannot load this: {first}") from None
    if absent := sorted(map(str, found["missing_keys"])):
        raise SuiteError(
            f"{folder}: its weights lack {len(absent)} tensors of the model (first: "
            f"{absent[0]!r}); copy the folder again"
        )
    if not pictured:
        processor = TextProcessor(processor)
    elif not getattr(processor, "chat_template", None) and any(
        task.asking.template == "chat" for task in tasks
    ):
        raise SuiteError(f"{folder}: its processor has no chat template; add chat_template.jinja")
    tokenizer = processor.tokenizer
    if tokenizer.eos_token_id is None:
        raise SuiteError(f"{folder}: its tokenizer has no end token; add one to its config")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    # Answers are asked from the left, learned from the right.
    tokenizer.padding_side = "right"
    model.requires_grad_(False)
    return Base(model, Reader(processor, answer_ends(model, tokenizer)))


def adapted(model: Any, recipe: TrainRecipe, *, init_seed: int) -> Any:
    """The model with a new LoRA on its language model's linear layers, and its projector trained.

    `init_seed` decides the first A: adapters of one `init_seed`, base and rank begin with the same.
    What is trained is in float32, whatever the base is in.

    Raises:
        SuiteError: a model whose language part is not found.
    """
    peft = imported("peft")
    whole = in_full(model, recipe)
    alpha = recipe.scaling_alpha
    config = peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=int(alpha) if alpha.is_integer() else alpha,
        lora_dropout=recipe.dropout,
        bias="none",
        target_modules=targets(model),
        modules_to_save=[whole] if whole else None,
    )
    torch.manual_seed(init_seed)
    with without_noise():
        peft_model = peft.get_peft_model(model, config)
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return peft_model


def in_full(model: nn.Module, recipe: TrainRecipe) -> str | None:
    """The recipe's projector, if the model has it."""
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    return recipe.projector if recipe.projector in names else None


def targets(model: Any) -> str | list[str]:
    """Every linear layer of the language model but its head: a pattern, numbers of layers left
    open, or where no pattern hits just these, their names.

    Raises:
        SuiteError: no language model is found, or it has no linear layer.
    """
    place, part = _language_model(model)
    conv = imported("transformers.pytorch_utils").Conv1D
    head = model.get_output_embeddings()
    prefix = f"{place}." if place else ""
    names = [
        prefix + name
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear | conv) and module is not head
    ]
    if not names:
        raise SuiteError(
            f"{type(model).__name__}: its language model has no linear layer that LoRA could adapt"
        )
    inner = [name.removeprefix(prefix) for name in names]
    forms = sorted({re.sub(r"(?<=\.)\d+(?=\.)", r"\\d+", name) for name in inner})
    forms = [form.replace(".", r"\.") for form in forms]
    above = re.escape(place.rpartition(".")[2])
    pattern = (rf".*{above}\." if above else "") + f"({'|'.join(forms)})"
    hit = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    return pattern if sorted(hit) == sorted(names) else names


def _language_model(model: Any) -> tuple[str, nn.Module]:
    """The part that reads and writes words, and its place in the model."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    for name, module in modules.items():
        if name and module is decoder:
            return name, module
    for name, module in modules.items():
        if name.rpartition(".")[2] in ("language_model", "text_model"):
            return name, module
    raise SuiteError(
        f"{type(model).__name__}: its language model is not found (get_decoder() does not name "
        "it), so it is not known which layers to adapt"
    )
