"""What about some adapters makes merges go wrong, and what to do about it."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from copamerge.analyzing.answers import DROWNED, UNEVEN, Facts, times
from copamerge.analyzing.layer import MeasuredLayer
from copamerge.analyzing.record import AnalysedAdapter, Notice
from copamerge.analyzing.whole import of
from copamerge.labels import told_together
from copamerge.merging.plan import Plan


def notices(facts: Facts) -> tuple[Notice, ...]:
    """What about these adapters makes merges go wrong."""
    found = []
    for i, norm in enumerate(facts.norms):
        if norm == 0.0:
            found.append(
                Notice(
                    text=f"{facts.names[i]}: its delta is zero in every layer (lora_B never "
                    "trained, or lora_alpha 0?); methods that average still count it",
                    do="leave it out, or give it weight 0",
                )
            )
    norms = [x or 0.0 for x in facts.norms]
    ratio = facts.imbalance
    if ratio is not None and ratio >= UNEVEN:
        small = [facts.names[i] for i, norm in enumerate(norms) if 0 < norm <= max(norms) / UNEVEN]
        found.append(
            Notice(
                text=f"norms differ {times(ratio)}: in a plain sum or mean {', '.join(small[:4])}"
                f"{' and others' if len(small) > 4 else ''} "
                + ("will hardly be felt" if ratio >= DROWNED else "will count for little"),
                do="size the merge by `--set scale=norm_match`; for the small ones to be felt, try "
                + (
                    "`--set balance=cap`, which shrinks what is far above the others"
                    if facts.capped
                    else "`--set balance=equal`, which gives all one norm (a cap finds nothing far "
                    "above the others here)"
                )
                + ", or `--weights`",
            )
        )
    if shared := [group for group in facts.groups if len(group) > 1]:
        who = ", ".join(facts.names[i] for i in max(shared, key=len)[:4])
        more = " and others" if len(max(shared, key=len)) > 4 or len(shared) > 1 else ""
        found.append(
            Notice(
                text=f"{who}{more} share their first A: products of sums (robustmerge, "
                "factor_linear, factor_sum) come out far too large at their constants",
                do="take another method, or size the merge by `--set scale=norm_match`",
            )
        )
    if facts.unlike_ranks and not facts.strangers:
        found.append(
            Notice(
                text="ranks differ: factor_linear, factor_sum and `space: factors` refuse them, "
                "and copa pairs rank indices only among the adapters that have them",
                do="any other method takes them as they are",
            )
        )
    return tuple(found) + tuple(_copies(facts))


def _copies(facts: Facts) -> Iterator[Notice]:
    """Of adapters that have the same layers: a cosine says nothing of what only one of them has."""
    for i, j in combinations(range(len(facts.names)), 2):
        cosine = facts.cosines.get((i, j))
        same_layers = facts.layers[i] == facts.layers[j] == facts.shared.get((i, j))
        if cosine is None or abs(cosine) <= 1 - 1e-6 or not same_layers:
            continue
        one, other = facts.names[i], facts.names[j]
        if cosine > 0:
            yield Notice(
                text=f"{other} is {one} again, up to a factor: it counts twice",
                do="leave one out, or halve their weights",
            )
        else:
            yield Notice(
                text=f"{other} is {one} with the opposite sign, up to a factor: in a sum they "
                "cancel",
                do="leave one out, unless taking it away is what you want",
            )


def all_notices(
    common: Plan,
    adapters: Sequence[AnalysedAdapter],
    facts: Facts,
    layers: Sequence[MeasuredLayer],
) -> tuple[Notice, ...]:
    """What a merge would warn of, `notices`, and what is not measured."""
    warnings = [text for text in common.warnings if text not in common.of_result]
    labels = [adapter.label for adapter in common.adapters]
    found = [Notice(text=text) for text in told_together(warnings, labels)]
    found += notices(facts)
    for i, name in enumerate(facts.names):
        mine = [layer.inputs[at].energy for layer, at in of(layers, i)]
        idle = sum(1 for energy in mine if energy == 0)
        if 0 < idle < len(mine):
            found.append(
                Notice(text=f"{name}: its delta is zero in {idle} of its {len(mine)} layers")
            )
    counts = {
        name: len(one.not_measured)
        for name, one in zip(facts.names, adapters, strict=True)
        if one.not_measured
    }
    if counts:
        some = next(one.not_measured for one in adapters if one.not_measured)
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(
            Notice(
                text=f"full tensors and LoRA biases are no low-rank deltas, so nothing is said of "
                f"them: {each} (such as {some[0]})",
                do="a merge takes them by `--modules-to-save` and `--bias`",
            )
        )
    return tuple({notice.text: notice for notice in found}.values())
