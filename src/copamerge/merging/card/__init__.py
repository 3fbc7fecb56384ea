"""The model card of a merged adapter: what it is made of, what was lost, how to load it.

A card is a function of merge.json and, where there are some, of scores: the sources may be gone.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

from copamerge.io.llava import Layout
from copamerge.merging.card.body import (
    hub_sources,
    kept_lines,
    origin,
    recipe_lines,
    source_lines,
    title,
    version_line,
)
from copamerge.merging.card.escape import as_yaml, code, text
from copamerge.merging.card.hub import hub_id
from copamerge.merging.card.loading import SERVER_RANK, Written, loading_lines, server_cap
from copamerge.merging.card.mark import is_own, marked
from copamerge.merging.card.metadata import licence_line, metadata, named
from copamerge.merging.card.scores import Scores, model_index, score_lines

if TYPE_CHECKING:
    from copamerge.merging.report import MergeReport

__all__ = [
    "SERVER_RANK",
    "Scores",
    "assembled",
    "hub_id",
    "is_own",
    "model_card",
    "sees",
    "server_cap",
    "written_of",
]

VISION = ("language_model", "multi_modal_projector")
"""Parts of names that only models of images and text have."""


def model_card(report: "MergeReport", scores: Scores | None = None, *, then: str = "") -> str:
    """README.md: metadata for the Hub, then sources, scores, numbers, loading and recipe.

    `then` says what was done to the adapter after the merge; the numbers are from before it.
    """
    method = str(report.method.get("name", ""))
    sources = [named(part.adapter, part.card) for part in report.inputs]
    written = written_of(report)
    head = metadata(
        written,
        sources,
        ["merge", "copamerge", method],
        adapters=hub_sources(report.inputs),
        index=model_index(scores, written.pipeline) if scores else (),
    )
    run = report.run
    versions = {"copamerge": run.copamerge, "torch": run.torch, "Python": run.python}
    lines = [
        f"# {title([part.adapter for part in report.inputs], method)}",
        "",
        _intro(report, written),
        *(["", text(then)] if then else []),
        "",
        "## Sources",
        "",
        *source_lines(report.inputs),
        "",
        licence_line(sources),
        "",
    ]
    if scores and scores.suites:
        lines += ["## Scores", "", *score_lines(scores)]
    lines += ["## What was kept", "", *kept_lines(report), ""]
    lines += ["## Loading", "", *loading_lines(written), ""]
    lines += ["## Recipe", "", *recipe_lines(report), ""]
    lines += [f"Made with {version_line(versions)}, on {text(run.device)}."]
    return assembled(head, lines)


def assembled(head: dict[str, object], lines: list[str]) -> str:
    """Metadata and text as one marked card."""
    return marked("\n".join(["---", as_yaml(head).rstrip("\n"), "---", "", *lines]))


def written_of(report: "MergeReport") -> Written:
    """What of a merge decides how it is loaded."""
    names = [layer.layer for layer in report.layers] + [saved.tensor for saved in report.saved]
    said: Any = report.recipe.get("layout")
    layout: Layout = said if said in get_args(Layout) else "peft"
    llava = layout != "peft" or any(part.format == "llava" for part in report.inputs)
    old = any(part.card is None for part in report.inputs)
    return Written(
        rank=report.rank,
        base=hub_id(report.base_model) if old else hub_id(report.hub_base),
        task_type=report.task_type,
        sees=llava or sees(names),
        layout=layout,
        full=bool(report.saved),
        linear=all(layer.kind == "linear" for layer in report.layers),
    )


def sees(names: Iterable[str]) -> bool:
    """Whether layers and tensors of these names are of a model that reads images and text."""
    return any(part in VISION for name in names for part in name.split("."))


def _intro(report: "MergeReport", written: Written) -> str:
    count = len(report.inputs)
    what = "one LoRA adapter" if count == 1 else f"{count} LoRA adapters"
    base = origin(written.base, report.base_model)
    how = text(report.learnt) if report.learnt else "without training and without data"
    method = code(str(report.method.get("name", "")))
    return f"A LoRA adapter merged from {what} of {base} by {method}, {how}."
