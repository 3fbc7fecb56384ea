"""What the numbers of a merge warn of, and what to do about it."""

import json
from shlex import quote

from copamerge.errors import CopamergeError
from copamerge.reports.merges import RECORD, Merge
from copamerge.reports.warned import Warned

UNEVEN = 10.0
"""Ratio of the largest to the smallest norm of an input from which one drowns another."""
CUT = 0.9
"""Share of the energy below which the rank has cut more than rounding."""
FAINT = 0.1
"""Cosine below which little of an input is in the merge; two of equal norm have 0.71."""
LARGE, SMALL = 2.0, 0.2
"""Norm of the merge over the mean norm of its inputs; docs/choose.md has 0.5 to 1.5 as best."""


def warned_of(merge: Merge) -> list[Warned]:
    """What the merge itself warned of, then what its numbers say."""
    said = [Warned(_end(text)) for text in merge.report.warnings]
    return said + _norms(merge) + _size(merge) + _rank(merge) + _faint(merge)


def _end(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _norms(merge: Merge) -> list[Warned]:
    pairs = zip(merge.report.inputs, merge.inputs, strict=True)
    norms = {name: one.delta_norm for one, name in pairs if one.delta_norm}
    if len(norms) < 2:
        return []
    small, large = min(norms, key=lambda x: norms[x] or 0), max(norms, key=lambda x: norms[x] or 0)
    low, high = norms[small], norms[large]
    if not low or not high or high / low < UNEVEN:
        return []
    return [
        Warned(
            f"The deltas differ {_times(high / low)} in norm: {small} has {low:.3g}, {large} "
            f"{high:.3g}. Sums and means are then mostly the large one.",
            "give it a smaller weight, or cap the large norms:",
            again(merge, {"balance": "cap"}),
        )
    ]


def _size(merge: Merge) -> list[Warned]:
    size = merge.size
    if not size or SMALL <= size <= LARGE:
        return []
    fact = (
        f"The merge is {size:.2g} times as large as its inputs are on average: it may be too strong"
        if size > 1
        else f"The merge has {size:.2g} of the mean norm of its inputs: it may be too weak"
    )
    do = "take the inputs' mean norm in each layer:"
    return [Warned(f"{fact}.", do, again(merge, {"scale": "norm_match"}))]


def _rank(merge: Merge) -> list[Warned]:
    report = merge.report
    kept, worst = report.energy_kept, report.energy_kept_worst
    if kept is None or worst is None or worst >= CUT:
        return []
    # A dense answer is cut at the sum of the adapters' ranks: `full` is not all of it.
    larger = 2 * report.rank if report.recipe.get("rank") == "full" else "full"
    return [
        Warned(
            f"Rank {report.rank} keeps {100 * kept:.1f} % of the method's answer, and "
            f"{100 * worst:.1f} % in the "
            f"worst layer ({report.worst_layer}).",
            "take a larger rank if what loads the adapter allows it:",
            f"copamerge merge -c {quote(str(merge.path / RECORD))} --rank {larger} -o again",
        )
    ]


def _faint(merge: Merge) -> list[Warned]:
    found = []
    for one, name in zip(merge.report.inputs, merge.inputs, strict=True):
        if one.cosine is None or one.cosine >= FAINT:
            continue
        what = "points away from it" if one.cosine < -FAINT else "is hardly in it"
        found.append(
            Warned(
                f"{name} {what}: the cosine of its delta and the merge is {one.cosine:.2f}.",
                "give it a larger weight, or compare methods on these adapters with "
                "`copamerge compare`.",
            )
        )
    return found


def again(merge: Merge, options: dict[str, object]) -> str:
    """The command that repeats a merge with some options of its method changed."""
    from copamerge.methods import method_from

    name = merge.method
    try:
        usual = method_from(name).model_dump(mode="json")
    except CopamergeError:  # a plugin that is not here
        usual = {}
    kept = {
        option: value
        for option, value in merge.report.method.items()
        if option != "name" and (option not in usual or usual[option] != value)
    }
    words = ["copamerge", "merge", "-c", str(merge.path / RECORD), "-m", name]
    for option, value in {**kept, **options}.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words += ["--set", f"{option}={text}"]
    return " ".join(map(quote, [*words, "-o", "again"]))


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times".replace(",", " ")
