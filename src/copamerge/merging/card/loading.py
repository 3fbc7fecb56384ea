"""How a written adapter is loaded: in PEFT, in vLLM, in LLaVA's own code."""

from typing import NamedTuple

from copamerge.io.llava import Layout
from copamerge.merging.card.escape import fenced

SERVER_RANK = 16
"""vLLM's default `--max-lora-rank`."""

VLLM_CAPS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM accepts for --max-lora-rank."""

AUTO_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
"""PEFT's task types -> transformers' classes."""

PIPELINES = {
    "CAUSAL_LM": "text-generation",
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "FEATURE_EXTRACTION": "feature-extraction",
}
"""PEFT's task types -> the Hub's pipelines. SEQ_2_SEQ_LM has none: translation, summaries, ..."""


class Written(NamedTuple):
    """What of an adapter decides how it is loaded."""

    rank: int
    base: str | None
    """The base's Hub id."""
    task_type: str | None
    """PEFT's."""
    sees: bool
    """Whether its base reads images and text, as LLaVA does."""
    layout: Layout = "peft"
    full: bool = False
    """Whether it has full tensors beside its factors."""
    linear: bool = True
    """Whether all its layers are linear ones."""

    @property
    def pipeline(self) -> str | None:
        """The Hub's word for what such a model does; None where that is not known."""
        return "image-text-to-text" if self.sees else PIPELINES.get(self.task_type or "")


def server_cap(rank: int) -> int | None:
    """The smallest `--max-lora-rank` that serves this rank; None when vLLM has none."""
    return next((cap for cap in VLLM_CAPS if cap >= rank), None)


def loading_lines(written: Written) -> list[str]:
    """`PATH` stands for the adapter's folder or Hub id, `BASE` for a base without a Hub id."""
    unnamed = "" if written.base else ", `BASE` the base model"
    words = f"`PATH` stands for this adapter: its folder or Hub id{unnamed}."
    base = written.base or "BASE"
    if written.layout == "llava":
        call = f'load_pretrained_model("PATH", "{base}", "NAME")'
        return [
            f"{words} The layout is that of LLaVA's own code, whose loader asks that the folder's "
            "name and NAME hold both `llava` and `lora`:",
            "",
            *fenced(f"from llava.model.builder import load_pretrained_model\n\n{call}", "python"),
            "",
            "For PEFT and transformers, merge it alone with `copamerge merge PATH -m mean "
            "--modules-to-save mean -o OUT`.",
        ]
    return [words, "", *_peft(written, base), "", *_vllm(written, base)]


def _peft(written: Written, base: str) -> list[str]:
    task = written.task_type or ""
    auto = "AutoModelForImageTextToText" if written.sees else AUTO_CLASSES.get(task, "AutoModel")
    sure = written.sees or task in AUTO_CLASSES
    note = "" if sure else "  # or the class that the adapters were trained on"
    head = "  # with num_labels=..., as the head has them" if task.endswith("_CLS") else ""
    names = (
        ["The names are those of transformers up to 4.51:", ""]
        if written.layout == "peft-4.51"
        else []
    )
    content = (
        "from peft import PeftModel\n"
        f"from transformers import {auto}{note}\n\n"
        f'base = {auto}.from_pretrained("{base}"){head}\n'
        'model = PeftModel.from_pretrained(base, "PATH")\n'
    )
    return [*names, *fenced(content, "python")]


def _vllm(written: Written, base: str) -> list[str]:
    if written.full:
        return ["vLLM does not load adapters with full modules or biases such as this one."]
    if not written.linear:
        return ["vLLM does not load adapters of embeddings or convolutions such as this one."]
    if not written.base and written.task_type is None:
        return []  # nothing says that it generates text: it may be of a diffusion model
    if written.task_type not in (None, "CAUSAL_LM"):
        return ["vLLM serves adapters of models that generate text; this one is of another kind."]
    cap = server_cap(written.rank)
    if cap is None:
        top = VLLM_CAPS[-1]
        return [
            f"vLLM serves ranks up to {top}, and this one is {written.rank}: merge again with "
            f"`--rank {top}` or less, and see what that keeps."
        ]
    more = f" --max-lora-rank {cap}" if written.rank > SERVER_RANK else ""
    why = (
        f"vLLM serves rank {SERVER_RANK} unless told otherwise, and this one is {written.rank}:"
        if more
        else f"With vLLM (rank {written.rank} is within its default of {SERVER_RANK}):"
    )
    command = f"vllm serve {base} --enable-lora{more} --lora-modules merged=PATH"
    return [why, "", *fenced(command, "sh")]
