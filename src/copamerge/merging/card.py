"""The model card of a merged adapter: what it is made of, what was lost, how to load it."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from copamerge.core.adapter import Adapter
from copamerge.merging.plan import Plan
from copamerge.merging.report import MergeReport

SERVER_RANK = 16
"""vLLM's default `--max-lora-rank`."""

AUTO_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
"""PEFT's task types -> transformers' classes."""

VLLM_CAPS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM accepts for --max-lora-rank."""


def server_cap(rank: int) -> int | None:
    """The smallest `--max-lora-rank` that serves this rank; None when vLLM has none."""
    return next((cap for cap in VLLM_CAPS if cap >= rank), None)


def model_card(plan: Plan, report: MergeReport) -> str:
    """README.md: metadata for the Hub, then sources, recipe, numbers and how to load it."""
    base = plan.base_model
    hub_base = base if base and _is_hub_id(base) else None
    meta: dict[str, Any] = {}
    if hub_base:
        meta |= {"base_model": hub_base, "base_model_relation": "adapter"}
    meta["library_name"] = "peft"
    licence, licence_note = _licence(plan.adapters)
    if licence:
        meta["license"] = licence
    meta["tags"] = ["lora", "peft", "merge", "copamerge", plan.recipe.method.called]
    if hub_base:
        meta["tags"].append(f"base_model:adapter:{hub_base}")
    lines = [
        "---",
        yaml.safe_dump(meta, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        "# Merged LoRA adapter",
        "",
        f"{len(report.inputs)} LoRA adapter{'s' * (len(report.inputs) > 1)} of "
        f"{_code(base) if base else 'one base model (its name was not given)'}, merged with "
        f"copamerge {report.run.copamerge} (method {_code(plan.recipe.method.called)}), without "
        "training and without data.",
        "",
        "## Sources",
        "",
        "| adapter | weight | layers | sha256 of the weights |",
        "|---|---|---|---|",
    ]
    for part, adapter in zip(report.inputs, plan.adapters, strict=True):
        weight = json.dumps(part.weight)
        revision = f" at {_code(part.revision)}" if part.revision else ""
        digest = part.sha256[adapter.files[0].name]
        lines.append(
            f"| {_code(_shown(part.adapter))}{revision} | {_cell(weight)} | "
            f"{part.layers_merged} | `{digest}` |"
        )
    lines += ["", licence_note, "", "## Numbers", "", *_numbers(report), ""]
    lines += [
        "## Recipe",
        "",
        "`copamerge merge -c recipe.yaml -o out` repeats this merge, byte for byte but for `run` "
        "in `merge.json`, on the same kind of machine:",
        "",
        "```yaml",
        yaml.safe_dump(_recipe(report), sort_keys=False, allow_unicode=True).strip(),
        "```",
        "",
        "`merge.json` beside this file has every layer's numbers; `-c merge.json` works as well.",
        "",
        "## Loading",
        "",
        *_loading(report, hub_base, plan),
    ]
    return "\n".join(lines)


def _numbers(report: MergeReport) -> list[str]:
    lines = [f"- {len(report.layers)} layers, rank {report.rank}, {report.dtype}"]
    if report.energy_kept is None:
        lines.append("- the merged delta is zero")
    elif report.energy_kept_worst == 1.0:
        lines.append("- the rank holds all of the method's answer, exactly")
    else:
        lines.append(
            f"- energy kept by the rank: {report.energy_kept:.2%} in all, "
            f"{report.energy_kept_worst:.2%} in the worst layer ({_code(report.worst_layer or '')})"
        )
    if report.rounding_worst:
        lines.append(
            f"- rounding to {report.dtype}: at most {report.rounding_worst:.1e} of a layer"
        )
    for saved in report.saved:
        whose = ", ".join(_code(_shown(report.inputs[i].adapter)) for i in saved.adapters)
        apart = "" if saved.spread is None else f"; an input's is up to {saved.spread:.2%} away"
        lines.append(f"- full tensor {_code(saved.tensor)}: {saved.policy} of {whose}{apart}")
    if report.warnings:
        lines += ["", "Warnings when merging:", ""]
        lines += [f"- {_text(warning)}" for warning in report.warnings]
    return lines


def _loading(report: MergeReport, base: str | None, plan: Plan) -> list[str]:
    task = plan.task_type
    cap = server_cap(report.rank)
    name = base or "BASE"
    if plan.recipe.layout == "llava":
        return [
            f"In the layout of LLaVA's own code: `load_pretrained_model(PATH, {name!r}, NAME)`, "
            "where the folder's name and NAME hold both `llava` and `lora`.",
            "",
        ]
    auto = AUTO_CLASSES.get(task or "", "AutoModel")
    if any(adapter.format == "llava" for adapter in plan.adapters):
        auto = "AutoModelForImageTextToText"
    lines = [
        "```python",
        "from peft import PeftModel",
        f"from transformers import {auto}  # or the class that the adapters were trained on",
        "",
        f'base = {auto}.from_pretrained("{name}")'
        + ("  # with the head's own num_labels" if "_CLS" in (task or "") else ""),
        'model = PeftModel.from_pretrained(base, "PATH")',
        "```",
    ]
    if cap is None:
        lines += [
            "",
            f"vLLM serves ranks up to {VLLM_CAPS[-1]}: this one needs a smaller `--rank`.",
        ]
    elif not report.saved and task in (None, "CAUSAL_LM"):
        more = f" --max-lora-rank {cap}" if report.rank > SERVER_RANK else ""
        lines += [
            "",
            f"With vLLM: `vllm serve {name} --enable-lora{more} --lora-modules merged=PATH`",
        ]
    elif report.saved:
        lines += ["", "vLLM does not load adapters with full modules or biases such as this one."]
    lines.append("")
    return lines


def _recipe(report: MergeReport) -> dict[str, Any]:
    recipe = dict(report.recipe)
    recipe["adapters"] = [
        {key: value for key, value in source.items() if value is not None}
        for source in recipe["adapters"]
    ]
    return {key: value for key, value in recipe.items() if value is not None and value is not False}


def _licence(adapters: tuple[Adapter, ...]) -> tuple[str | None, str]:
    """The sources' licence if all name the same one, and a sentence about it."""
    found = {}
    for adapter in adapters:
        card = adapter.files[0].parent / "README.md"
        found[adapter.label] = _licence_of(card)
    known = set(found.values())
    if known == {None}:
        return None, "No source names a licence, so none is given here."
    if len(known) == 1:
        licence = known.pop()
        return licence, f"All sources are under {_code(str(licence))}."
    each = ", ".join(
        f"{_code(_shown(label))}: {licence or 'none named'}" for label, licence in found.items()
    )
    return None, f"The sources' licences differ ({_text(each)}), so none is given here."


def _licence_of(card: Path) -> str | None:
    try:
        text = card.read_text(encoding="utf-8")
        match = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        meta = yaml.safe_load(match[1]) if match else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    licence = meta.get("license") if isinstance(meta, dict) else None
    return licence if isinstance(licence, str) and re.fullmatch(r"[\w.+-]{1,60}", licence) else None


def _is_hub_id(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is not None and not name.startswith(".")


def _shown(label: str) -> str:
    """A local path by its last two parts: whose disk it lay on is nobody's business."""
    return "/".join(Path(label).parts[-2:]) if Path(label).is_absolute() else label


def _text(text: str) -> str:
    """Foreign text, harmless in Markdown and HTML."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _cell(text: str) -> str:
    return _text(text)


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', '/')}`"
