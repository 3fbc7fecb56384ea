"""Two adapters read side by side, layer by layer."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from copamerge.analysis.apart import Pair, best_multiple, pair_of_values, relative_distance
from copamerge.analysis.apart import remainder as remainder_of
from copamerge.analysis.image import norm_of
from copamerge.core.adapter import Adapter, LayerInfo
from copamerge.core.lora import LoraModule
from copamerge.core.places import natural, places_of
from copamerge.core.threads import one_thread
from copamerge.difference.config import config_differences, format_of
from copamerge.difference.full import full_tensors
from copamerge.difference.likeness import likeness_of, over, pair_over, with_share
from copamerge.difference.record import (
    BiasDifference,
    Difference,
    Factors,
    Group,
    LayerDifference,
    Lone,
    Side,
    Unlike,
)
from copamerge.difference.verdict import verdict_of
from copamerge.errors import AdapterError, first_few
from copamerge.io import open_adapter
from copamerge.merging.bases import same_base
from copamerge.merging.saved import saved_not_finite
from copamerge.merging.walk import not_finite, sha256_of

Progress = Callable[[int, int], None]
"""Called with (layers done, layers in all)."""


@torch.inference_mode()
def diff_adapters(
    one: str, other: str, *, alpha: float | None = None, progress: Progress | None = None
) -> Difference:
    """Where and how much two adapters differ, from their factors, in float64.

    Layers go by name and shape; what one adapter lacks is named, not compared. `alpha` is for
    weights without a config.

    Raises:
        AdapterError: one that cannot be read, NaN or infinite values; all problems of both.
    """
    a, b = _open_both(one, other, alpha)
    with one_thread():
        return _compared(a, b, progress)


def _compared(a: Adapter, b: Adapter, progress: Progress | None) -> Difference:
    names = sorted(a.layers.keys() | b.layers.keys(), key=natural)
    places = places_of(names)
    layers: list[LayerDifference] = []
    lone: tuple[list[Lone], list[Lone]] = ([], [])
    unlike: list[Unlike] = []
    for done, name in enumerate(names):
        if name in a.layers and name in b.layers:
            infos = a.layers[name], b.layers[name]
            modules = a.module(name), b.module(name)
            if _form(infos[0]) == _form(infos[1]):
                layers.append(_layer(infos, modules, places[name].block, places[name].module))
            else:
                unlike.append(_unlike(infos, modules))
        else:
            side, owner = (0, a) if name in a.layers else (1, b)
            lone[side].append(Lone(layer=name, norm=norm_of(owner.module(name).exact())))
        if progress:
            progress(done + 1, len(names))
    whole = pair_over(layers)
    shared = tuple(x.model_copy(update={"likeness": with_share(x.likeness, whole)}) for x in layers)
    sides = _side(a, shared, lone[0], unlike, 0), _side(b, shared, lone[1], unlike, 1)
    hashes = [list(side.sha256.values()) for side in sides]
    same_files, same_weights = hashes[0] == hashes[1], hashes[0][0] == hashes[1][0]
    full = full_tensors(a, b)
    config = config_differences(a, b)
    same = not (lone[0] or lone[1] or unlike) and all(map(_is_same, shared))
    same = same and all(x.found == "equal" for x in full)
    return Difference(
        one=sides[0],
        other=sides[1],
        verdict=verdict_of(
            shared,
            over(shared, whole),
            lone=lone,
            unlike=unlike,
            full=full,
            same_files=same_files,
        ),
        same=same,
        same_files=same_files,
        same_weights=same_weights,
        config=config,
        whole=over(shared, whole),
        by_module=_groups(shared, whole, lambda x: x.module),
        by_block=_groups(shared, whole, lambda x: x.block),
        layers=shared,
        only_in_one=tuple(lone[0]),
        only_in_other=tuple(lone[1]),
        unlike=tuple(unlike),
        full_tensors=full,
        warnings=_warnings(a, b, sides, shared),
    )


def _open_both(one: str, other: str, alpha: float | None) -> tuple[Adapter, Adapter]:
    opened: list[Adapter] = []
    problems: list[str] = []
    for name in (one, other):
        try:
            adapter = open_adapter(
                name, alpha=alpha, allow_unmatched_targets=True, allow_unknown_config=True
            )
        except AdapterError as error:
            problems += error.problems
            continue
        opened.append(adapter)
        bad = [line for layer in adapter.layers for line in not_finite(adapter, layer)]
        bad += [line for tensor in adapter.saved for line in saved_not_finite(adapter, tensor)]
        problems += first_few(bad, adapter.label, "more tensors like these")
    if problems:
        raise AdapterError(dict.fromkeys(problems))
    return opened[0], opened[1]


def _form(info: LayerInfo) -> str:
    kind = f"{info.kind.value} {info.kernel}" if info.kernel else info.kind.value
    return f"{info.d_out}x{info.d_in} {kind}"


def _layer(
    infos: tuple[LayerInfo, LayerInfo],
    modules: tuple[LoraModule, LoraModule],
    block: str,
    module: str,
) -> LayerDifference:
    one, other = modules
    factors = _factors(one, other)
    identical = factors == "same" and one.scaling == other.scaling
    return LayerDifference(
        layer=infos[0].name,
        block=block,
        module=module,
        d_out=infos[0].d_out,
        d_in=infos[0].d_in,
        ranks=(one.rank, other.rank),
        scalings=(one.scaling, other.scaling),
        dtypes=(infos[0].dtype, infos[1].dtype),
        factors=factors,
        likeness=likeness_of(one, other, identical=identical),
        bias=_bias(one, other),
    )


def _factors(one: LoraModule, other: LoraModule) -> Factors:
    pairs = ((one.A, other.A), (one.B, other.B))
    if any(x.shape != y.shape for x, y in pairs):
        return "unlike"
    if all(_same_bits(x, y) for x, y in pairs):
        return "same"
    if all(_same_bits(x.to(y.dtype), y) for x, y in pairs):
        return "other_rounded"
    return "one_rounded" if all(_same_bits(x, y.to(x.dtype)) for x, y in pairs) else "unlike"


def _same_bits(x: Tensor, y: Tensor) -> bool:
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    return torch.equal(x.contiguous().view(torch.uint8), y.contiguous().view(torch.uint8))


def _bias(one: LoraModule, other: LoraModule) -> BiasDifference | None:
    if one.bias is None and other.bias is None:
        return None
    zero = torch.zeros(len(one.B), dtype=torch.float64)
    a, b = (zero if m.bias is None else m.scaling * m.bias.double() for m in (one, other))
    pair = pair_of_values(a, b)
    there = one.bias is not None and other.bias is not None
    return BiasDifference(
        norm_one=pair.one,
        norm_other=pair.other,
        same=there and torch.equal(a, b),
        relative_distance=relative_distance(pair),
        multiple=best_multiple(pair),
        remainder=remainder_of(pair),
    )


def _is_same(layer: LayerDifference) -> bool:
    scaling = layer.scalings[0] == layer.scalings[1]
    return layer.factors == "same" and scaling and (layer.bias is None or layer.bias.same)


def _unlike(infos: tuple[LayerInfo, LayerInfo], modules: tuple[LoraModule, LoraModule]) -> Unlike:
    return Unlike(
        layer=infos[0].name,
        one=_form(infos[0]),
        other=_form(infos[1]),
        norm_one=norm_of(modules[0].exact()),
        norm_other=norm_of(modules[1].exact()),
    )


def _groups(
    layers: Sequence[LayerDifference], whole: Pair, key: Callable[[LayerDifference], str]
) -> tuple[Group, ...]:
    found: dict[str, list[LayerDifference]] = defaultdict(list)
    for layer in layers:
        found[key(layer)].append(layer)
    return tuple(Group(name=name, likeness=over(some, whole)) for name, some in found.items())


def _side(
    adapter: Adapter,
    layers: Sequence[LayerDifference],
    lone: Sequence[Lone],
    unlike: Sequence[Unlike],
    which: int,
) -> Side:
    norms = [x.likeness.norm_other if which else x.likeness.norm_one for x in layers]
    norms += [x.norm for x in lone] + [x.norm_other if which else x.norm_one for x in unlike]
    infos = list(adapter.layers.values())
    return Side(
        adapter=adapter.label,
        revision=adapter.revision,
        format=format_of(adapter),
        base_model=adapter.base_model,
        sha256={file.name: sha256_of(file) for file in adapter.files},
        layers=len(infos),
        ranks=dict(sorted(Counter(info.rank for info in infos).items())),
        dtypes=dict(sorted(Counter(info.dtype for info in infos).items())),
        delta_norm=sum(norm**2 for norm in norms) ** 0.5,
        notes=adapter.notes,
    )


def _warnings(
    one: Adapter, other: Adapter, sides: Sequence[Side], shared: Sequence[LayerDifference]
) -> tuple[str, ...]:
    found = []
    named = one.base_model, other.base_model
    if named[0] and named[1] and not same_base(named[0], named[1]):
        found.append(
            f"their base models have other names ({named[0]!r} and {named[1]!r}): layers of one "
            "name need not do the same there"
        )
    found += [
        f"{side.adapter}: its delta is zero in every layer (lora_B never trained, or lora_alpha 0?)"
        for side in sides
        if side.delta_norm == 0.0
    ]
    if not one.layers.keys() & other.layers.keys():
        found.append(
            f"{one.label} and {other.label} have no layer in common ({next(iter(one.layers))!r} "
            f"and {next(iter(other.layers))!r}, for example): are their names from different "
            "versions of the model's code?"
        )
    return tuple(found)
