"""Commands that an analysis leads to: the merges it advises, and itself again."""

from pathlib import Path
from shlex import join, quote
from typing import Any

from copamerge.analyzing.record import Advice, Analysis


def merge_command(record: Analysis, advice: Advice) -> str | None:
    """What to paste; None for advice that goes with any method."""
    if "-m " not in f"{advice.command} ":
        return None
    words = _common(record.recipe, merging=True)
    options = " ".join([advice.command, *record.answers.needs, *([join(words)] if words else [])])
    # The method first: adapters may be long, and a line is seen from its start.
    return f"copamerge merge {options} -o merged {_adapters(record)}"


def analyze_command(record: Analysis, out: Path) -> str:
    """What makes this analysis again."""
    folders = [merge.name for merge in record.merges if merge.source == "folder"]
    methods = [merge.name for merge in record.merges if merge.source == "method"]
    words = ["--merged", *folders] if folders else []
    if methods:
        words += ["--methods", ",".join(methods)]
    elif not folders and len(record.adapters) > 1:
        words += ["--methods", "none"]
    words += _common(record.recipe, merging=False)
    if record.within_degrees != 45:
        words += ["--within", f"{record.within_degrees:g}"]
    return " ".join(["copamerge analyze", _adapters(record), *map(quote, [*words, "-o", str(out)])])


def _adapters(record: Analysis) -> str:
    return join(one.adapter for one in record.adapters)


def _common(recipe: dict[str, Any], *, merging: bool) -> list[str]:
    """Options of the recipe that are not as usual."""
    words: list[str] = []
    adapters = [one for one in recipe.get("adapters", ()) if isinstance(one, dict)]
    weights = [one.get("weight", 1.0) for one in adapters]
    if any(weight != 1 for weight in weights) and all(
        isinstance(weight, int | float) for weight in weights
    ):
        words += ["--weights", *map(str, weights)]
    alphas = [one["alpha"] for one in adapters if one.get("alpha") is not None]
    if alphas:
        words += ["--alpha", str(alphas[0])]
    for option, usual in (("rank", "full"), ("missing", "zero"), ("seed", 0)):
        if recipe.get(option, usual) != usual:
            words += [f"--{option}", str(recipe[option])]
    if merging and recipe.get("dtype", "auto") != "auto":
        words += ["--dtype", str(recipe["dtype"])]
    for option in ("allow_different_bases", "allow_unmatched_targets", "allow_unknown_config"):
        if recipe.get(option):
            words.append(f"--{option.replace('_', '-')}")
    return words
