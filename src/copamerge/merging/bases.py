"""Whether adapters are of one base model, judged by its name."""

import re
from collections.abc import Sequence

from copamerge.core.adapter import Adapter
from copamerge.io.llava import base_in_layout
from copamerge.recipe import Recipe


def base_key(name: str) -> str:
    """A base model's name as compared: case, slashes and local folders do not matter.

    A path into a Hub cache is its Hub id; any other path is its last folder.
    """
    name = name.strip().replace("\\", "/").rstrip("/")
    if cached := re.search(r"models--([^/]+?)--([^/]+?)(?:/snapshots/|$)", name):
        return f"{cached[1]}/{cached[2]}".casefold()
    is_path = name.startswith(("/", ".", "~")) or name.count("/") > 1 or ":" in name
    return (name.rpartition("/")[2] if is_path else name).casefold()


def same_base(one: str, other: str) -> bool:
    """Whether two names mean one base: equal as compared, or a bare name and its Hub id.

    LLaVA-1.5 has one name in its own code and one in transformers.
    """
    a, b = (base_key(base_in_layout(name, "peft") or name) for name in (one, other))
    if a == b:
        return True
    bare = "/" not in a or "/" not in b
    return bare and a.rpartition("/")[2] == b.rpartition("/")[2]


def base_of(
    recipe: Recipe, adapters: Sequence[Adapter], problems: list[str], warnings: list[str]
) -> str | None:
    """The base model of a merge, or None when nobody names one; misfits go into `problems`."""
    named = [(a.label, a.base_model) for a in adapters if a.base_model]
    if recipe.base_model:
        named.insert(0, ("the recipe", recipe.base_model))
    if not named:
        if len(adapters) > 1:
            warnings.append("no adapter names its base model; taken to be the same one")
        return None
    warnings += [
        f"{a.label}: names no base model; taken to fit the others"
        for a in adapters
        if not a.base_model
    ]
    # A bare name fits any owner's: only a whole one tells all of them apart.
    who, known = next((one for one in named if "/" in base_key(one[1])), named[0])
    differing = [(label, base) for label, base in named if not same_base(base, known)]
    if differing and not recipe.allow_different_bases:
        problems += [
            f"{label}: its base model is {base!r}, but that of {who} is {known!r}; "
            "if they are the same weights, add --allow-different-bases"
            for label, base in differing
        ]
    warnings += [
        f"{label}: base model {base!r} differs from {known!r}, allowed"
        for label, base in differing
        if recipe.allow_different_bases
    ]
    warnings += [
        f"{label}: base model {base!r} is taken for {known!r}"
        for label, base in named
        if same_base(base, known) and base_key(base) != base_key(known)
    ]
    revisions = {str(a.config["revision"]) for a in adapters if a.config.get("revision")}
    if len(revisions) > 1:
        warnings.append(f"the adapters name different revisions of the base: {sorted(revisions)}")
    return named[0][1]
