"""What is in some adapters, whether they fit together, and how they relate."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from copamerge.analysis.image import ROUNDING
from copamerge.analysis.relations import cosine
from copamerge.analysis.spectrum import rank_for, values_of_product
from copamerge.analyzing.answers import Facts, answers
from copamerge.analyzing.noticed import notices
from copamerge.analyzing.record import Answers, Notice
from copamerge.analyzing.whole import ranks_up_to
from copamerge.core.adapter import Adapter
from copamerge.core.lora import FactorStack
from copamerge.core.threads import one_thread
from copamerge.errors import AdapterError, PlanError, RecipeError, first_few
from copamerge.io import open_adapter
from copamerge.labels import short_names
from copamerge.merging.plan import Plan, plan
from copamerge.merging.saved import saved_not_finite
from copamerge.merging.walk import not_finite, sha256_of
from copamerge.recipe import recipe_from


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class AdapterSummary(_Part):
    """One adapter: headers, accounting, and what a read of its tensors shows."""

    adapter: str
    path: str
    revision: str | None
    format: str
    sha256: str
    """Of the weights file."""
    base_model: str | None
    task_type: str | None
    ranks: dict[int, int]
    """Rank -> number of layers."""
    scalings: dict[str, int]
    """Resolved scaling -> number of layers."""
    kinds: dict[str, int]
    dtypes: dict[str, int]
    targets: dict[str, int]
    """Last part of the layer's name -> number of layers."""
    layers: int
    tensors: int
    tensors_lora: int
    saved: tuple[str, ...]
    """Full tensors beside the factors."""
    ignored: dict[str, str]
    megabytes: float
    delta_norm: float | None
    """Frobenius norm over all layers; null when a tensor is not finite."""
    notes: tuple[str, ...]


class Relation(_Part):
    """Two adapters over the layers they share."""

    one: str
    other: str
    shared_layers: int
    cosine: float | None
    """Cosine of their deltas, all shared layers as one vector; null if one is zero."""
    cosine_A: float | None
    """Mean cosine between rows of A with the same index: about 0 for unrelated starts, near 1 for
    a shared one. Null where no layer has equal rank."""
    norm_ratio: float | None
    """Norm of the first over that of the second, shared layers only."""


class Inspection(_Part):
    """Everything `copamerge inspect` says."""

    adapters: tuple[AdapterSummary, ...]
    relations: tuple[Relation, ...]
    energy: dict[int, float] | None
    """Rank -> share of the energy of the plain sum of the deltas that it holds; null where they do
    not fit, or the sum is zero."""
    rank_99: int | None
    """The smallest rank that holds 99 %."""
    answers: Answers
    fit: bool
    """Whether a merge of all of them would start."""
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    """What a merge would warn of."""
    notices: tuple[Notice, ...]
    """What about these adapters makes merges go wrong, with the remedy."""


@torch.inference_mode()
def inspect_adapters(names: Sequence[str], *, alpha: float | None = None) -> Inspection:
    """Open adapters, read them once, and say everything there is to say.

    Never raises for a bad adapter: what is wrong with it is among `problems`.
    """
    problems: list[str] = []
    warnings: list[str] = []
    opened: list[Adapter] = []
    for name in names:
        try:
            opened.append(
                open_adapter(
                    name,
                    alpha=alpha,
                    allow_unmatched_targets=True,
                    allow_unknown_config=True,
                    drop_saved=True,
                )
            )
        except AdapterError as error:
            problems += error.problems
    sums = _Sums(len(opened))
    bad: dict[int, list[str]] = {i: [] for i in range(len(opened))}
    with one_thread():
        for layer in sorted({layer for adapter in opened for layer in adapter.layers}):
            sums.add(layer, opened, bad)
    sums.broken = {i for i, lines in bad.items() if lines}
    for i, adapter in enumerate(opened):
        bad[i] += [line for name in adapter.saved for line in saved_not_finite(adapter, name)]
        problems += first_few(bad[i], adapter.label, "more tensors like these")
    job = _fit(names, alpha, problems, warnings) if opened else None
    summaries = tuple(_summary(a, sums.norm(i)) for i, a in enumerate(opened))
    for one, other in combinations(summaries, 2):
        if one.sha256 == other.sha256:
            warnings.append(f"{other.adapter}: byte for byte the same weights as {one.adapter}")
    relations = {pair: sums.relation(*pair, opened) for pair in combinations(range(len(opened)), 2)}
    whole = len(opened) == len(names) and sums.one_shape and not sums.broken
    energy, rank_99 = sums.spectrum() if whole else (None, None)
    facts = Facts(
        names=tuple(short_names([one.adapter for one in summaries])),
        problems=tuple(dict.fromkeys(problems)),
        layers=tuple(one.layers for one in summaries),
        ranks=tuple(tuple(sorted(one.ranks)) for one in summaries),
        base=job.base_model if job else None,
        norms=tuple(one.delta_norm for one in summaries),
        cosines={pair: x.cosine for pair, x in relations.items()},
        cosines_A={pair: x.cosine_A for pair, x in relations.items()},
        shared={pair: x.shared_layers for pair, x in relations.items()},
        energy=energy,
        rank_99=rank_99,
    )
    return Inspection(
        adapters=summaries,
        relations=tuple(relations.values()),
        energy=energy,
        rank_99=rank_99,
        answers=answers(facts),
        notices=notices(facts),
        fit=not problems,
        problems=tuple(dict.fromkeys(problems)),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _fit(
    names: Sequence[str], alpha: float | None, problems: list[str], warnings: list[str]
) -> Plan | None:
    """The plan of a merge, and what it would say about these adapters before it starts."""
    sources = [{"adapter": name, "alpha": alpha} for name in names]
    try:
        recipe = recipe_from({"method": "task_arithmetic", "adapters": sources})
        job = plan(recipe)
        warnings += job.warnings
    except (AdapterError, PlanError, RecipeError) as error:
        problems += error.problems
        return None
    return job


class _Sums:
    """Inner products of deltas, summed over layers."""

    def __init__(self, n: int) -> None:
        self.inner = torch.zeros(n, n, dtype=torch.float64)
        self.shared = torch.zeros(n, n, dtype=torch.int64)
        # Per pair: squared norms over shared layers, sum of row cosines of A, number of rows.
        self.own = torch.zeros(n, n, dtype=torch.float64)
        self.rows = torch.zeros(n, n, dtype=torch.float64)
        self.count = torch.zeros(n, n, dtype=torch.int64)
        self.broken: set[int] = set()
        self.one_shape = True
        """Whether every layer has one shape in all adapters that have it."""
        self.values: list[Tensor] = []
        """Singular values of the sum of all deltas, layer by layer."""

    def add(self, layer: str, adapters: Sequence[Adapter], problems: dict[int, list[str]]) -> None:
        there = [i for i, adapter in enumerate(adapters) if layer in adapter.layers]
        shapes = [(adapters[i].layers[layer].d_out, adapters[i].layers[layer].d_in) for i in there]
        for i in there:
            if bad := not_finite(adapters[i], layer):
                problems[i] += bad
        modules = [adapters[i].module(layer) for i in there]
        if len(set(shapes)) > 1:  # does not fit: the plan says so; norms are still worth knowing
            groups = [[k] for k in range(len(there))]
            self.one_shape = False
        else:
            groups = [list(range(len(there)))]
        for group in groups:
            stack = FactorStack.of(layer, [modules[k] for k in group], [1.0] * len(group))
            self._gram(stack, [there[k] for k in group])

    def _gram(self, stack: FactorStack, who: list[int]) -> None:
        n, r, _ = stack.A.shape
        A, B = stack.A.flatten(0, 1).double(), stack.B.movedim(0, 1).flatten(1).double()
        cross_A, cross_B = A @ A.mT, B.mT @ B
        grams = cross_A * cross_B
        if bool(grams.isfinite().all()):
            self.values.append(values_of_product(cross_B, cross_A))
        inner = grams.view(n, r, n, r).sum((1, 3))
        norms = cross_A.diagonal().clamp(min=0).sqrt().view(n, r)
        index = torch.tensor(who)
        self.inner[index[:, None], index] += inner
        self.own[index[:, None], index] += inner.diagonal()[:, None].expand(n, n)
        self.shared[index[:, None], index] += 1
        for a, b in combinations(range(n), 2):
            if stack.ranks[a] != stack.ranks[b]:
                continue
            k = stack.ranks[a]
            diagonal = cross_A.view(n, r, n, r)[a, :k, b, :k].diagonal()
            size = norms[a, :k] * norms[b, :k]
            real = size > 0
            self.rows[who[a], who[b]] += float((diagonal[real] / size[real]).sum())
            self.count[who[a], who[b]] += int(real.sum())

    def spectrum(self) -> tuple[dict[int, float] | None, int | None]:
        """What each rank holds of the energy of the sum, and the rank for 99 %."""
        total = sum(float(S.square().sum()) for S in self.values)
        largest = float(self.inner.diagonal().max()) if len(self.inner) else 0.0
        # What cancels leaves rounding, which is no spectrum.
        if total <= ROUNDING**2 * largest or total == 0.0:
            return None, None
        # Values below a millionth are noise of the Gram matrices.
        longest = max(int((S > ROUNDING * S[0]).sum()) for S in self.values)
        kept = {
            r: sum(float(S[:r].square().sum()) for S in self.values) / total
            for r in ranks_up_to(longest, ())
        }
        return kept, rank_for(self.values, 0.99)

    def norm(self, i: int) -> float | None:
        return None if i in self.broken else float(self.inner[i, i].clamp(min=0)) ** 0.5

    def relation(self, i: int, j: int, adapters: Sequence[Adapter]) -> Relation:
        one, other = float(self.own[i, j]), float(self.own[j, i])
        usable = one > 0 and other > 0 and not {i, j} & self.broken
        return Relation(
            one=adapters[i].label,
            other=adapters[j].label,
            shared_layers=int(self.shared[i, j]),
            cosine=cosine(float(self.inner[i, j]), one**0.5, other**0.5) if usable else None,
            cosine_A=_ratio(self.rows[i, j], self.count[i, j]) if usable else None,
            norm_ratio=one**0.5 / other**0.5 if usable else None,
        )


def _ratio(total: Tensor, count: Tensor) -> float | None:
    return float(total) / int(count) if int(count) else None


def _summary(adapter: Adapter, norm: float | None) -> AdapterSummary:
    infos = list(adapter.layers.values())
    weights = adapter.files[0]
    return AdapterSummary(
        adapter=adapter.label,
        path=str(adapter.path),
        revision=adapter.revision,
        format=f"{adapter.format} {weights.suffix}",
        sha256=sha256_of(weights),
        base_model=adapter.base_model,
        task_type=adapter.config.get("task_type"),
        ranks=dict(Counter(info.rank for info in infos)),
        scalings=dict(Counter(f"{info.scaling:g}" for info in infos)),
        kinds=dict(Counter(info.kind.value for info in infos)),
        dtypes=dict(Counter(info.dtype for info in infos)),
        targets=dict(Counter(info.name.rpartition(".")[2] for info in infos)),
        layers=len(infos),
        tensors=adapter.n_tensors,
        tensors_lora=sum(len(info.tensors) for info in infos),
        saved=tuple(adapter.saved),
        ignored=dict(adapter.ignored),
        megabytes=round(weights.stat().st_size / 1e6, 3),
        delta_norm=norm,
        notes=adapter.notes,
    )
