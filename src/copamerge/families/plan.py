"""From adapters to the plan of a family: headers open, names told apart, all known to fit."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from copamerge.core.adapter import Adapter
from copamerge.errors import CopamergeError, PlanError, did_you_mean
from copamerge.families.record import FamilySpace
from copamerge.merging.plan import Plan, open_all, plan
from copamerge.methods.emr import Emr
from copamerge.recipe import Recipe
from copamerge.recipe.load import read

NAME = re.compile(r"[A-Za-z0-9][\w.+@=-]*")
DTYPES = ("float32", "bfloat16", "float16", "auto")
POLICIES = ("error", "drop")


@dataclass(frozen=True, eq=False)
class FamilyPlan:
    """Adapters that are open and known to fit, and what is to be made of them."""

    plan: Plan
    names: tuple[str, ...]
    """One for each adapter."""
    space: FamilySpace
    dtype: torch.dtype
    """Of the shared tensors."""


def family_plan(
    adapters: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    space: str = "core",
    dtype: str = "float32",
    modules_to_save: str = "error",
    bias: str = "error",
    alpha: float | None = None,
    **more: Any,
) -> FamilyPlan:
    """Open the adapters' headers and check that all fits, before any tensor is read.

    `names` are the members', one for each adapter; by default the last part of its path. `dtype`
    is the type of what is shared, `auto` the adapters' own. Full tensors beside the factors are
    an `error`, or left out (`drop`). `more` is what a recipe says (`base_model`,
    `allow_different_bases`, ...).

    Raises:
        PlanError: options out of range, names that do not tell the members apart, adapters that
            cannot be opened or do not fit each other; all of it.
    """
    problems: list[str] = []
    called = tuple(Path(name).name for name in adapters) if names is None else tuple(names)
    problems += _about_names(called, adapters, given=names is not None)
    for option, value, known in (
        ("--space", space, get_args(FamilySpace)),
        ("--dtype", dtype, DTYPES),
        ("--modules-to-save", modules_to_save, POLICIES),
        ("--bias", bias, POLICIES),
    ):
        if value not in known:
            why = " (a family holds no full tensors)" if known is POLICIES else ""
            problems.append(
                f"{option}: expected one of {', '.join(known)}{why} (got {value!r})"
                + (did_you_mean(value, known) if known is not POLICIES else "")
            )
    extra = {} if alpha is None else {"alpha": alpha}
    content = {
        **more,
        "method": Emr(),
        "adapters": [{"adapter": name, **extra} for name in adapters],
        "modules_to_save": modules_to_save if modules_to_save in POLICIES else "drop",
        "bias": bias if bias in POLICIES else "drop",
    }
    recipe = read(content, problems, typed=more)
    job = None
    if recipe is not None:
        try:
            job = _planned(recipe)
        except CopamergeError as error:
            problems += error.problems
    if problems or job is None:
        raise PlanError(dict.fromkeys(problems))
    stored = job.dtype if dtype == "auto" else getattr(torch, dtype)
    return FamilyPlan(job, called, "delta" if space == "delta" else "core", stored)


def _about_names(names: Sequence[str], adapters: Sequence[str], *, given: bool) -> list[str]:
    if len(names) != len(adapters):
        return [f"--names: {len(names)} given for {len(adapters)} adapters; give one for each"]
    remedy = "" if given else "; name the members by --names"
    problems = [
        f"member {name!r}: a name has letters, digits and ._+@=- only, and begins with one of the "
        f"first two{remedy}"
        for name in dict.fromkeys(names)
        if not NAME.fullmatch(name)
    ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    problems += [
        f"member {name!r}: two adapters have this name{remedy or '; rename one'}" for name in twice
    ]
    return problems


def _planned(recipe: Recipe) -> Plan:
    """The plan of a merge in which no full tensor is kept.

    Raises:
        AdapterError, PlanError: as `plan` does, and for full tensors under `error`.
    """
    kept: dict[str, Any] = {}
    problems: list[str] = []
    for adapter in open_all(recipe):
        for role, field in (("module", "modules_to_save"), ("bias", "bias")):
            names = [name for name, saved in adapter.saved.items() if saved.role == role]
            if names and getattr(recipe, field) == "error":
                kept[field] = "drop"
                problems += _about_saved(adapter, names, f"--{field.replace('_', '-')}")
    try:
        # Everything else that is wrong is said at the same time.
        job = plan(recipe.model_copy(update=kept))
    except PlanError as error:
        problems += error.problems
    if problems:
        raise PlanError(problems)
    return job


def _about_saved(adapter: Adapter, names: Sequence[str], option: str) -> list[str]:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return [
        f"{adapter.label}: full tensors beside the factors ({shown}), which a family does not "
        f"hold; {option} drop leaves them out"
    ]
