"""The text of a card: what a merge is made of, what the rank kept of it, how to repeat it."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from copamerge.core.places import places_of
from copamerge.io.hub import HUB_ID
from copamerge.merging.card.escape import as_yaml, code, fenced, printable, shown, text

if TYPE_CHECKING:
    from copamerge.merging.report import InputReport, MergeReport, SavedReport

NAMED = 4
"""Sources that a title names; more are counted."""
LISTED = 8
"""Names of full tensors that are listed; the others are counted."""
COMMIT = re.compile(r"[0-9a-f]{40}")


def title(names: Sequence[str], method: str) -> str:
    """`legal + medical, merged by ties`."""
    short = [text(_cut(name)) for name in names]
    what = " + ".join(short) if len(short) <= NAMED else f"{len(short)} LoRA adapters"
    return f"{what}, merged by {text(_cut(method))}"


def _cut(name: str) -> str:
    last = re.split(r"[/\\:]", name.rstrip("/\\"))[-1].partition("@")[0] or name
    return last if len(last) <= 40 else f"{last[:40]}..."


def origin(hub_base: str | None, named: str | None) -> str:
    """The base model: as a link to the Hub where it has an id there."""
    if hub_base:
        return f"[{code(hub_base)}](https://huggingface.co/{hub_base})"
    if named:
        return (
            f"{code(shown(named))} (no Hub id, so the metadata names no base; `copamerge merge "
            "--base-model` would)"
        )
    return "one base model, whose name was not given"


def source_lines(inputs: Sequence["InputReport"]) -> list[str]:
    """The table of sources, and the hashes of their files as `sha256sum` writes them."""
    lines = [
        "| adapter | weight | layers | rank | norm | cosine to the merge |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    for part in inputs:
        ranks = "-".join(map(str, sorted({min(part.ranks), max(part.ranks)}))) if part.ranks else ""
        lines.append(
            f"| {_source(part)} | {_weight(part.weight)} | {part.layers_merged} | {ranks} | "
            f"{_short(part.delta_norm, '.4g')} | {_short(part.cosine, '+.3f')} |"
        )
    return [*lines, "", *hash_lines((part.adapter, part.sha256) for part in inputs)]


def hash_lines(sources: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    """For each source what it is called, and the hash of each file by its name."""
    hashes = [
        f"{printable(digest)}  {printable(shown(adapter))}: {printable(name)}"
        for adapter, files in sources
        for name, digest in files.items()
    ]
    return ["SHA-256 of their files:", "", *fenced("\n".join(hashes))]


def _source(part: "InputReport") -> str:
    at = f" at {code(part.revision)}" if part.revision else ""
    repo = _repo(part)
    if repo is None:
        return code(shown(part.adapter)) + at
    return f"[{code(part.adapter)}](https://huggingface.co/{repo}/tree/{part.revision}){at}"


def _repo(part: "InputReport") -> str | None:
    """The repository of a source from the Hub; its name holds nothing that Markdown would take."""
    match = HUB_ID.fullmatch(part.adapter)
    pinned = part.revision is not None and COMMIT.fullmatch(part.revision)
    return match["repo"] if match and pinned else None


def hub_sources(inputs: Sequence["InputReport"]) -> list[str]:
    """The sources that came from the Hub, by repository."""
    repos = [_repo(part) for part in inputs]
    return list(dict.fromkeys(repo for repo in repos if repo is not None))


def _weight(weight: Any) -> str:
    said = json.dumps(weight)
    return text(said) if len(said) <= 30 else "by layer, see the recipe"


def _short(x: float | None, form: str) -> str:
    return "-" if x is None else format(x, form)


def kept_lines(report: "MergeReport") -> list[str]:
    """What the rank and the dtype kept of the method's answer, the full tensors, the warnings."""
    lines = [f"- {len(report.layers)} layers, rank {report.rank}, {text(report.dtype)}"]
    kept = (report.energy_kept, report.energy_kept_worst, report.worst_layer)
    lines.append(kept_line(*kept, "the method's answer"))
    if report.rounding_worst:
        lines.append(
            f"- rounding to {text(report.dtype)}: at most {report.rounding_worst:.1e} of a layer"
        )
    lines += _full_lines(report)
    if report.energy_kept is not None and report.energy_kept_worst != 1.0:
        lines += ["", *_by_module(report)]
    if report.warnings:
        lines += ["", "Warnings when merging:", ""]
        lines += [f"- {text(_without_paths(warning, report))}" for warning in report.warnings]
    return lines


def kept_line(kept: float | None, worst: float | None, layer: str | None, whole: str) -> str:
    """What the rank kept of `whole`: over all layers, and in the worst one."""
    if kept is None or worst is None:
        return "- the delta is zero"
    if worst == 1.0:
        return f"- energy kept by the rank: all of {whole}, exactly"
    return (
        f"- energy kept by the rank: {_share(kept)} in all, {_share(worst)} in the worst layer "
        f"({code(layer or '')})"
    )


def _share(x: float) -> str:
    """Per cent, and never 100 % of what is not all."""
    return f"{min(x, 0.9999):.2%}" if x < 1 else f"{x:.2%}"


def _by_module(report: "MergeReport") -> list[str]:
    """Energy kept by the modules of a block, over all blocks together."""
    places = places_of(layer.layer for layer in report.layers)
    groups = defaultdict(list)
    for layer in report.layers:
        groups[places[layer.layer].module].append(layer)
    lines = ["| module | layers | energy kept | worst layer |", "|:--|--:|--:|--:|"]
    for module, layers in list(groups.items())[:30]:
        kept = [(x.norm**2, x.energy_kept) for x in layers if x.energy_kept]
        whole = sum(square / share for square, share in kept)
        share = _share(sum(square for square, _ in kept) / whole) if whole else "-"
        worst = _share(min(share for _, share in kept)) if kept else "-"
        lines.append(f"| {code(module)} | {len(layers)} | {share} | {worst} |")
    return lines


def _full_lines(report: "MergeReport") -> list[str]:
    """One line for each way full tensors were made."""
    groups: dict[tuple[str, tuple[int, ...]], list[SavedReport]] = defaultdict(list)
    for saved in report.saved:
        groups[saved.policy, saved.adapters].append(saved)
    lines = []
    for (policy, owners), found in groups.items():
        names = ", ".join(code(saved.tensor) for saved in found[:LISTED])
        more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
        whose = ", ".join(code(shown(report.inputs[i].adapter)) for i in owners)
        spreads = [saved.spread for saved in found if saved.spread is not None]
        apart = f"; an input's is up to {max(spreads):.2%} of the norm away" if spreads else ""
        one = "full tensor" if len(found) == 1 else "full tensors"
        lines.append(
            f"- {len(found)} {one} beside the factors ({text(policy)} of {whose}{apart}): "
            f"{names}{more}"
        )
    return lines


def _without_paths(warning: str, report: "MergeReport") -> str:
    """A warning with the sources called as everywhere in the card."""
    for part in sorted(report.inputs, key=lambda part: -len(part.adapter)):
        warning = warning.replace(part.adapter, shown(part.adapter))
    return warning


def recipe_lines(report: "MergeReport") -> list[str]:
    """The recipe as YAML that `copamerge merge -c` takes."""
    lines = [
        "`copamerge merge -c recipe.yaml -o OUT` with this file makes the same weights again, to "
        "the byte on the same kind of machine; `-c merge.json` does so, too. "
        "`merge.json` beside this file has the numbers of every layer.",
        "",
        *fenced(as_yaml(recipe_of(report)), "yaml"),
    ]
    if any(_repo(part) is None for part in report.inputs):
        lines += [
            "",
            "Paths are those of the machine where it was merged; the hashes above tell whether "
            "other files are the same.",
        ]
    return lines


def recipe_of(report: "MergeReport") -> dict[str, Any]:
    """The recipe without what says nothing, sources from the Hub at the commits they had."""
    recipe = dict(report.recipe)
    sources = []
    for source, part in zip(recipe["adapters"], report.inputs, strict=True):
        kept = {key: value for key, value in source.items() if value is not None}
        match = HUB_ID.fullmatch(part.adapter)
        if match and _repo(part):
            below = f":{match['sub']}" if match["sub"] else ""
            kept["adapter"] = f"{match['repo']}@{part.revision}{below}"
        sources.append(kept)
    recipe["adapters"] = sources
    return {key: value for key, value in recipe.items() if value is not None and value is not False}


def version_line(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{text(name)} {text(version)}" for name, version in versions.items())
