"""From a recipe to a plan: headers open, everything fits, nothing computed yet."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch

from copamerge.core.adapter import Adapter, Kind, LayerInfo
from copamerge.core.delta import Energy
from copamerge.core.survey import Survey
from copamerge.errors import AdapterError, PlanError
from copamerge.io import LayerShape, open_adapter
from copamerge.io.llava import base_in_layout, in_layout, llava_config
from copamerge.merging.bases import base_of
from copamerge.merging.saved import SavedPlan, plan_saved
from copamerge.methods import Composed
from copamerge.recipe import Recipe, Source, places
from copamerge.recipe.schedule import weight_at

HEADED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
"""Task types for which PEFT adds the base's head to modules_to_save."""
SOME = 3


@dataclass(frozen=True)
class LayerPlan:
    """One layer of the merge: who takes part, with which weight, and what comes out."""

    name: str
    kind: Kind
    d_in: int
    d_out: int
    kernel: tuple[int, ...]
    present: tuple[int, ...]
    """Indices of the adapters that take part, in recipe order."""
    weights: tuple[float, ...]
    absent: tuple[float, ...]
    """Weights of adapters that lack the layer and count as zero."""
    ranks: tuple[int, ...]
    result_rank: int | None
    """Rank of the method's exact answer; None when it is dense."""
    rank: int | Energy | None
    """What the answer is compressed to; None when it is written exactly."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A recipe whose adapters are open and known to fit."""

    recipe: Recipe
    adapters: tuple[Adapter, ...]
    layers: tuple[LayerPlan, ...]
    silent: tuple[str, ...]
    """Layers left out because every weight is 0 there."""
    saved: SavedPlan
    rank: int | None
    """Uniform rank of the written adapter; None while energy decides it (see `with_rank`)."""
    dtype: torch.dtype
    base_model: str | None
    task_type: str | None
    has_bias: bool
    warnings: tuple[str, ...]
    of_result: frozenset[str]
    """Those of the warnings that are about what would be written, not about the adapters."""
    survey: Survey | None = None
    """What the method's survey of all layers found; None before it, or where there is none."""

    def with_rank(self, rank: int) -> "Plan":
        """This plan with one rank for every layer."""
        layers = tuple(
            replace(x, rank=_cut(rank, x.result_rank, min(x.d_in, x.d_out))) for x in self.layers
        )
        return replace(self, layers=layers, rank=rank)

    def shape(self, layer: LayerPlan) -> LayerShape:
        assert self.rank is not None, "energy has not decided the rank yet"
        bias = self.has_bias and layer.kind is not Kind.EMBEDDING
        sides = (layer.d_in, layer.d_out)
        return LayerShape(layer.name, layer.kind, *sides, self.rank, layer.kernel, bias)


def plan(recipe: Recipe) -> Plan:
    """Open every adapter's headers and check that all fits, before any tensor is read.

    Raises:
        AdapterError: adapters that cannot be opened, all of them.
        PlanError: adapters or options that do not go together; every reason at once.
    """
    adapters = open_all(recipe)
    problems: list[str] = []
    warnings = [f"{a.label}: {note}" for a in adapters for note in a.notes]
    base_model = base_of(recipe, adapters, problems, warnings)
    infos = _common_layers(adapters, problems)
    _check_missing(recipe, adapters, infos, problems, warnings)
    layers, silent = _layers(recipe, adapters, infos, problems)
    of_result: list[str] = []
    saved = plan_saved(recipe, adapters, problems, of_result)
    warnings += of_result
    _check_heads(adapters, layers, saved, problems)
    _check_layout(recipe, adapters, layers, saved, problems, warnings)
    if recipe.modules_to_save != "drop":
        warnings += [line for a in adapters for line in _lost_modules(a)]
    has_bias = any(a.layers[x.name].has_bias for x in layers for a in _of(x, adapters))
    if has_bias and any(layer.kind is Kind.EMBEDDING for layer in layers):
        problems.append(
            "some adapters have lora_bias and some adapt an embedding; PEFT cannot hold both in "
            "one adapter, so the result could not be loaded"
        )
    if problems:
        raise PlanError(problems)
    if recipe.base_model is None:
        base_model = _base_in_layout(recipe, base_model, adapters, warnings)
    warnings += _rank_warnings(recipe, layers)
    warnings += recipe.method.cautions()
    if passes := recipe.method.passes():
        warnings.append(
            f"{recipe.method.called} with these options looks at the whole model first: {passes} "
            f"survey passes over all {len(layers)} layers come before the merge"
        )
    task_type = _task_type(adapters, saved, of_result)
    warnings += of_result
    return Plan(
        recipe=recipe,
        adapters=adapters,
        layers=layers,
        silent=silent,
        saved=saved,
        rank=_uniform_rank(recipe, layers),
        dtype=_dtype(recipe, adapters),
        base_model=base_model,
        task_type=task_type,
        has_bias=has_bias,
        warnings=tuple(dict.fromkeys(warnings)),
        of_result=frozenset(of_result),
    )


def open_all(recipe: Recipe) -> tuple[Adapter, ...]:
    """The headers of every adapter.

    Raises:
        AdapterError: adapters that cannot be opened, and how those that can differ.
    """
    adapters, problems = [], list[str]()
    for source in recipe.adapters:
        try:
            adapters.append(_open_one(recipe, source))
        except AdapterError as error:
            problems += error.problems
    if problems:
        base_of(recipe, adapters, problems, [])
        _check_missing(recipe, adapters, _common_layers(adapters, problems), problems, [])
        raise AdapterError(dict.fromkeys(problems))
    return tuple(adapters)


def _open_one(recipe: Recipe, source: Source) -> Adapter:
    return open_adapter(
        source.adapter,
        alpha=source.alpha,
        allow_unmatched_targets=recipe.allow_unmatched_targets,
        allow_unknown_config=recipe.allow_unknown_config,
        drop_saved=recipe.modules_to_save == "drop",
    )


def _of(layer: LayerPlan, adapters: Sequence[Adapter]) -> list[Adapter]:
    return [adapters[i] for i in layer.present]


def _common_layers(adapters: Sequence[Adapter], problems: list[str]) -> dict[str, LayerInfo]:
    """Every layer that any adapter has, as the first one that has it describes it."""
    first: dict[str, tuple[str, LayerInfo]] = {}
    misfits: dict[str, list[str]] = defaultdict(list)
    for adapter in adapters:
        for name, info in adapter.layers.items():
            owner, known = first.setdefault(name, (adapter.label, info))
            if (info.d_out, info.d_in) != (known.d_out, known.d_in):
                misfits[adapter.label].append(
                    f"{adapter.label}: layer {name!r} is {info.d_out}x{info.d_in}, "
                    f"not {known.d_out}x{known.d_in} as in {owner}; are they of one base model?"
                )
            elif (info.kind, info.kernel) != (known.kind, known.kernel):
                misfits[adapter.label].append(
                    f"{adapter.label}: layer {name!r} is {_form(info)}, not {_form(known)} as in "
                    f"{owner}; are they of one base model?"
                )
    for label, lines in misfits.items():
        problems += lines[:SOME]
        if len(lines) > SOME:
            problems.append(f"{label}: {len(lines) - SOME} more layers do not fit")
    return {name: info for name, (_, info) in sorted(first.items())}


def _form(info: LayerInfo) -> str:
    return f"{info.kind.value} {info.kernel}" if info.kernel else info.kind.value


def _check_missing(
    recipe: Recipe,
    adapters: Sequence[Adapter],
    infos: dict[str, LayerInfo],
    problems: list[str],
    warnings: list[str],
) -> None:
    rule = recipe.method.rule if isinstance(recipe.method, Composed) else recipe.method
    but = (
        f" ({rule.name}, which normalises over the adapters that have one, does not count them)"
        if rule.name in ("copa", "robustmerge")
        else ""
    )
    meaning = {
        "zero": f"they count as a delta of zero{but}",
        "present": "means are over the adapters that have them",
    }
    for adapter in adapters:
        lacking = [name for name in infos if name not in adapter.layers]
        if not lacking:
            continue
        shown = ", ".join(repr(name) for name in lacking[:SOME])
        more = f" and {len(lacking) - SOME} more" if len(lacking) > SOME else ""
        fact = f"{adapter.label}: lacks {len(lacking)} of {len(infos)} layers ({shown}{more})"
        if recipe.missing == "error":
            problems.append(f"{fact}; choose --missing zero or present to merge all the same")
        else:
            warnings.append(f"{fact}; {meaning[recipe.missing]} (--missing {recipe.missing})")
    for one, other in combinations(adapters, 2):
        if not one.layers.keys() & other.layers.keys():
            warnings.append(
                f"{one.label} and {other.label} have no layer in common "
                f"({next(iter(one.layers))!r} and {next(iter(other.layers))!r}, for example): "
                "are their names from different versions of the model's code?"
            )


def _lost_modules(adapter: Adapter) -> list[str]:
    """Modules that the config says were saved whole, and that have no tensor."""
    named = adapter.config.get("modules_to_save") or ()
    lost = [m for m in named if not any(f".{m}." in f".{name}." for name in adapter.saved)]
    # PEFT adds both names for a classifier, whichever of them the model has.
    either = {"classifier", "score"}
    if either & (set(named) - set(lost)):
        lost = [module for module in lost if module not in either]
    return [
        f"{adapter.label}: its config names {module!r} in modules_to_save, but no tensor belongs "
        "to it; it may have been lost"
        for module in lost
    ]


def _check_heads(
    adapters: Sequence[Adapter],
    layers: Sequence[LayerPlan],
    saved: SavedPlan,
    problems: list[str],
) -> None:
    """A module that one adapter saves whole and another adapts: a value and a change of another."""
    for adapter in adapters:
        for module in adapter.config.get("modules_to_save") or ():
            inside = [x.name for x in layers if f".{module}." in f".{x.name}."]
            if inside and any(f".{module}." in f".{kept.name}" for kept in saved.kept):
                who = next(a.label for a in adapters if inside[0] in a.layers)
                problems.append(
                    f"{adapter.label} saves {module!r} whole and {who} has LoRA on {inside[0]!r}: "
                    "a trained value and a change of the base's value cannot be added; "
                    "--modules-to-save drop keeps the LoRA, leaving one adapter out also works"
                )


def _check_layout(
    recipe: Recipe,
    adapters: Sequence[Adapter],
    layers: Sequence[LayerPlan],
    saved: SavedPlan,
    problems: list[str],
    warnings: list[str],
) -> None:
    """Whether every layer and full tensor has a name in the layout that is asked for."""
    if recipe.layout == "peft":
        return
    names = [layer.name for layer in layers] + [kept.name for kept in saved.kept]
    homeless = [name for name in names if in_layout(name, recipe.layout) is None]
    if homeless:
        problems.append(
            f"--layout {recipe.layout}: {len(homeless)} of {len(names)} layers and full tensors "
            f"have no name in it ({', '.join(map(repr, homeless[:SOME]))}); it is for LLaVA models "
            "on a Llama, --layout peft takes any"
        )
    if recipe.layout == "llava":
        if any(layer.kind is Kind.CONV for layer in layers):
            problems.append("--layout llava: LLaVA's own code has no convolution to adapt")
        if not any(llava_config(adapter.path) for adapter in adapters):
            warnings.append(
                "no adapter has a config.json of LLaVA's own code, so the result has none; its "
                "loader needs one: copy that of the base model into the folder"
            )


def _base_in_layout(
    recipe: Recipe, base: str | None, adapters: Sequence[Adapter], warnings: list[str]
) -> str | None:
    """The base by its name in the code that the result is for, where that is known."""
    found = base_in_layout(base, recipe.layout)
    code = "LLaVA's own code" if recipe.layout == "llava" else "transformers"
    if found != base:
        warnings.append(f"base model {base!r} is written as {found!r}: the same weights in {code}")
    elif recipe.layout != "llava" and base and base_in_layout(base, "llava") == base:
        if all(adapter.format == "llava" for adapter in adapters):
            warnings.append(
                f"base model {base!r} is what LLaVA's own training called it; transformers needs "
                "the same weights in its own format: if they have another name, give that by "
                "--base-model and --allow-different-bases"
            )
    return found


def _layers(
    recipe: Recipe,
    adapters: Sequence[Adapter],
    infos: dict[str, LayerInfo],
    problems: list[str],
) -> tuple[tuple[LayerPlan, ...], tuple[str, ...]]:
    depth = places(infos)
    widest = max((i.rank for a in adapters for i in a.layers.values()), default=1)
    layers, silent, refusals = [], [], Counter[str]()
    unmatched: dict[int, bool] = {}
    for name, info in infos.items():
        found = [weight_at(s.weight, name, depth[name]) for s in recipe.adapters]
        for i, weight in enumerate(found):
            unmatched[i] = unmatched.get(i, True) and weight is None
        weights = [1.0 if weight is None else weight for weight in found]
        present = tuple(i for i, a in enumerate(adapters) if name in a.layers and weights[i] != 0.0)
        if not present:
            silent.append(name)
            continue
        ranks = tuple(adapters[i].layers[name].rank for i in present)
        if reason := recipe.method.refusal(ranks):
            refusals[reason] += 1
        absent = tuple(
            weights[i] for i, a in enumerate(adapters) if name not in a.layers and weights[i] != 0.0
        )
        result = recipe.method.result_rank(ranks)
        layers.append(
            LayerPlan(
                name,
                info.kind,
                info.d_in,
                info.d_out,
                info.kernel,
                present,
                tuple(weights[i] for i in present),
                absent if recipe.missing == "zero" else (),
                ranks,
                result,
                _budget(recipe, result, ranks, widest, info),
            )
        )
    problems += [f"{reason} ({count} of {len(infos)} layers)" for reason, count in refusals.items()]
    for i, none in unmatched.items():
        if none:
            problems.append(
                f"{adapters[i].label}: no filter of its weight matches any layer; a last entry "
                "without a filter would cover the rest"
            )
    if not layers and infos:
        problems.append("every weight is 0: there is nothing to merge")
    return tuple(layers), tuple(silent)


def _budget(
    recipe: Recipe, result: int | None, ranks: tuple[int, ...], widest: int, info: LayerInfo
) -> int | Energy | None:
    small = min(info.d_in, info.d_out)
    if isinstance(recipe.rank, Energy):
        return recipe.rank
    if recipe.rank == "full":
        # A dense answer has no exact adapter; it gets the rank that a plain sum would have.
        return min(sum(ranks), small) if result is None else None
    return _cut(widest if recipe.rank == "max" else int(recipe.rank), result, small)


def _cut(wanted: int, result: int | None, small: int) -> int | None:
    """What to compress to, or None where the method's answer fits as it is."""
    if result is None:
        return min(wanted, small)
    return wanted if wanted < result else None


def _uniform_rank(recipe: Recipe, layers: Sequence[LayerPlan]) -> int | None:
    if isinstance(recipe.rank, Energy):
        return None
    return max(
        min(x.rank, x.d_in, x.d_out) if isinstance(x.rank, int) else (x.result_rank or 1)
        for x in layers
    )


def _dtype(recipe: Recipe, adapters: Sequence[Adapter]) -> torch.dtype:
    if recipe.dtype != "auto":
        dtype: torch.dtype = getattr(torch, recipe.dtype)
        return dtype
    common: torch.dtype | None = None
    for name in {info.dtype for a in adapters for info in a.layers.values()}:
        stored: torch.dtype = getattr(torch, name)
        # float8 widens to bfloat16 and float64 narrows to float32: what servers read.
        stored = torch.bfloat16 if stored.itemsize == 1 else stored
        common = stored if common is None else torch.promote_types(common, stored)
    return torch.float32 if common in (None, torch.float64) else common


def _task_type(adapters: Sequence[Adapter], saved: SavedPlan, warnings: list[str]) -> str | None:
    values = sorted({str(a.config["task_type"]) for a in adapters if a.config.get("task_type")})
    if len(values) > 1:
        warnings.append(f"task_type differs ({', '.join(values)}); left empty in the result")
    if len(values) != 1:
        return None
    if values[0] in HEADED and not any(tensor.role == "module" for tensor in saved.kept):
        # Written, it would make PEFT demand the head's tensors, and fail to load the adapter.
        warnings.append(f"task_type {values[0]} needs a head, and none is kept; left empty")
        return None
    return values[0]


def _rank_warnings(recipe: Recipe, layers: Sequence[LayerPlan]) -> list[str]:
    warnings = []
    unlike = sum(len(set(layer.ranks)) > 1 for layer in layers)
    if unlike and recipe.method.called in ("copa", "robustmerge"):
        warnings.append(
            f"ranks differ in {unlike} layers: {recipe.method.called} compares rank index i only "
            "among the adapters that have it"
        )
    return warnings
