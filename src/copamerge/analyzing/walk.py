"""The whole analysis: adapters opened, every layer walked once, all put together."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import combinations
from statistics import fmean

import torch

from copamerge._version import __version__
from copamerge.analysis.imbalance import shares
from copamerge.analyzing.answers import Facts, Overlaps, answers
from copamerge.analyzing.beside import merge_facts
from copamerge.analyzing.layer import MeasuredLayer, measured
from copamerge.analyzing.merges import Merge, MethodMerge, by_methods, in_folders, opened
from copamerge.analyzing.noticed import all_notices
from copamerge.analyzing.record import (
    AnalysedAdapter,
    Analysis,
    Overlap,
    Pair,
    Together,
)
from copamerge.analyzing.rows import layer_row
from copamerge.analyzing.whole import (
    adapter_facts,
    copa_facts,
    of,
    pair_facts,
    ranks_to_look_at,
    together,
)
from copamerge.core.adapter import Adapter
from copamerge.core.lora import FactorStack
from copamerge.core.places import places_of
from copamerge.core.threads import one_thread
from copamerge.errors import CopamergeError, PlanError, RecipeError
from copamerge.labels import short_names
from copamerge.merging import resolve_device
from copamerge.merging.common import check_methods, plan_common
from copamerge.merging.plan import LayerPlan, Plan
from copamerge.merging.walk import Digests, over_layers
from copamerge.methods import method_from
from copamerge.recipe import Recipe

DEFAULT_METHODS = ("task_arithmetic", "copa", "tsv_m")
"""Merges that are looked at where none is named: the plain sum, ours, and what docs/choose.md
begins with. None of them forms a dense matrix, or takes long."""

Progress = Callable[[int, int], None]


@torch.inference_mode()
def analyze(
    recipe: Recipe,
    *,
    merged: Sequence[str] = (),
    methods: Sequence[str] | None = None,
    within_degrees: float = 45.0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Analysis:
    """Measure a recipe's adapters, and beside them merged folders and methods.

    Of the recipe all but its method counts, for the merges by `methods` (None: a few that are
    fast; with `merged`, or one adapter, none). What is said of adapters and pairs takes no
    weights. Needs neither base model nor data, and one layer of all adapters in memory.

    Raises:
        RecipeError: unknown methods, all of them; an angle out of range.
        AdapterError, PlanError: what cannot be read or does not fit, as `merge` says it.
    """
    if not 0 < within_degrees <= 90:
        raise RecipeError(
            f"within: {within_degrees:g} degrees; expected an angle above 0 and up to 90"
        )
    if methods is None:
        methods = () if merged or len(recipe.adapters) < 2 else DEFAULT_METHODS
    if methods:
        check_methods(methods)
    where = resolve_device(device)
    common, folders = _opened(recipe, merged)
    with Digests(common.adapters) as digests:
        keys = digests.keys(any(method_from(name).seeded() for name in methods))
        hashes = digests.all()
        merges: list[Merge] = [
            *in_folders(folders, common, hashes),
            *by_methods(recipe, methods, known=common.warnings, device=where, keys=keys),
        ]
        layers = _walk(common, merges, where, keys, progress)
    return _put_together(recipe, common, merges, layers, hashes, within_degrees, where)


def _opened(recipe: Recipe, merged: Sequence[str]) -> tuple[Plan, list[Adapter]]:
    """
    Raises:
        PlanError: what is wrong with adapters and merged folders, all of it.
    """
    problems: list[str] = []
    common = None
    try:
        common = plan_common(recipe)
    except CopamergeError as error:
        problems += error.problems
    folders = opened(merged, problems)
    if problems or common is None:
        raise PlanError(problems)
    return common, folders


def _walk(
    common: Plan,
    merges: Sequence[Merge],
    device: torch.device,
    keys: Sequence[str],
    progress: Progress | None,
) -> list[MeasuredLayer]:
    def work(layer: LayerPlan, stack: FactorStack) -> MeasuredLayer:
        made = [merge.at(layer, stack) for merge in merges]
        with one_thread():
            found = measured(stack, layer.present, made)
        # Small tensors between the large ones of a layer keep the heap from shrinking: copied now,
        # when those are gone, eight adapters of LLaVA-1.5-7B take half the memory.
        return deepcopy(found)

    # A dense answer takes the memory of a whole layer: then one layer at a time, if it is large.
    dense = [x.job for x in merges if isinstance(x, MethodMerge) and x.job and x.dense]
    carrier = dense[0] if dense else common
    return list(over_layers(carrier, work, device=device, keys=keys, progress=progress))


def _put_together(
    recipe: Recipe,
    common: Plan,
    merges: Sequence[Merge],
    layers: Sequence[MeasuredLayer],
    hashes: Sequence[dict[str, str]],
    within_degrees: float,
    device: torch.device,
) -> Analysis:
    n = len(common.adapters)
    places = places_of(layer.layer for layer in layers)
    energies = [sum(layer.inputs[at].energy for layer, at in of(layers, i)) for i in range(n)]
    norms = [energy**0.5 for energy in energies]
    adapters = tuple(
        adapter_facts(i, adapter, layers, places, hashes[i], share)
        for (i, adapter), share in zip(enumerate(common.adapters), shares(norms), strict=True)
    )
    pairs = tuple(pair_facts(i, j, layers) for i, j in combinations(range(n), 2))
    ranks = ranks_to_look_at(layers)
    all_of_them = together(layers, norms, ranks)
    facts = _facts(common, adapters, pairs, all_of_them)
    by_name = {layer.layer: layer for layer in layers}
    return Analysis(
        adapters=adapters,
        pairs=pairs,
        together=all_of_them,
        copa=copa_facts(n, layers),
        merges=tuple(
            merge_facts(k, merge, n, layers, norms, within_degrees)
            for k, merge in enumerate(merges)
        ),
        layers=tuple(
            layer_row(by_name[name], place, energies, ranks, within_degrees)
            for name, place in places.items()
        ),
        notices=all_notices(common, adapters, facts, layers),
        answers=answers(facts),
        within_degrees=within_degrees,
        recipe=recipe.model_dump(mode="json", exclude={"method"}),
        run={
            "copamerge": __version__,
            "torch": torch.__version__,
            "device": str(device),
        },
    )


def _facts(
    common: Plan,
    adapters: Sequence[AnalysedAdapter],
    pairs: Sequence[Pair],
    everything: Together,
) -> Facts:
    return Facts(
        names=tuple(short_names([one.adapter for one in adapters])),
        problems=(),
        layers=tuple(one.layers for one in adapters),
        ranks=tuple(one.ranks for one in adapters),
        base=common.base_model,
        bases=tuple(one.base_model for one in adapters),
        needs=_needs(common),
        norms=tuple(one.norm for one in adapters),
        cosines={(p.one, p.other): p.cosine for p in pairs},
        cosines_A={(p.one, p.other): p.cosine_A for p in pairs},
        shared={(p.one, p.other): p.shared_layers for p in pairs},
        energy=everything.energy,
        rank_99=everything.rank_99,
        overlaps=_overlaps(pairs),
    )


def _needs(common: Plan) -> tuple[str, ...]:
    """What a merge of them has to be told beside the method."""
    if len(common.adapters) < 2:
        return ()
    shapes: dict[str, dict[str, set[tuple[int, ...]]]] = {}
    for one in common.adapters:
        for saved in one.saved.values():
            shapes.setdefault(saved.role, {}).setdefault(saved.name, set()).add(saved.shape)
    options = {"module": "--modules-to-save", "bias": "--bias"}
    return tuple(
        # Heads of other shapes have no mean.
        f"{option} {'mean' if all(len(x) == 1 for x in shapes[role].values()) else 'drop'}"
        for role, option in options.items()
        if role in shapes
    )


def _overlaps(pairs: Sequence[Pair]) -> Overlaps | None:
    """Of the pairs that have one: a zero adapter among many takes nothing from the rest."""
    read, read_chance = _mean_overlap([pair.input for pair in pairs])
    write, write_chance = _mean_overlap([pair.output for pair in pairs])
    if read is None or read_chance is None or write is None or write_chance is None:
        return None
    return Overlaps(read, read_chance, write, write_chance)


def _mean_overlap(found: Sequence[Overlap]) -> tuple[float | None, float | None]:
    """Over pairs, and by chance."""
    means = [x.mean for x in found if x.mean is not None]
    chances = [x.chance for x in found if x.chance is not None]
    return (fmean(means), fmean(chances)) if means and chances else (None, None)
