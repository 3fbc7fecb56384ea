"""The questions before a merge, answered in plain words from numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from copamerge.analysis.imbalance import imbalance, shares
from copamerge.analysis.initialisation import APART, SHARED
from copamerge.analyzing.record import Advice, Answers

UNRELATED = 0.1
"""Cosine of two deltas up to which they are called unrelated; from 0.5 on they are called alike."""
ALIKE = 0.5
UNEVEN = 3.0
"""Ratio of norms from which it is said; from `DROWNED` on the smaller adapters hardly count."""
DROWNED = 10.0
MANY = 4
"""Adapters from which the rules for many hold."""


class Overlaps(NamedTuple):
    """Mean overlap of what two adapters read and of what they write, each beside chance."""

    read: float
    read_chance: float
    write: float
    write_chance: float


@dataclass(frozen=True)
class Facts:
    """What the answers are made of."""

    names: tuple[str, ...]
    """Short ones."""
    problems: tuple[str, ...]
    """Why they do not fit; empty where they do."""
    layers: tuple[int, ...]
    """Of each adapter."""
    ranks: tuple[tuple[int, ...], ...]
    """That occur in each adapter."""
    base: str | None
    norms: tuple[float | None, ...]
    cosines: Mapping[tuple[int, int], float | None]
    cosines_A: Mapping[tuple[int, int], float | None]
    shared: Mapping[tuple[int, int], int]
    """Layers that both have: cosines say nothing of others."""
    energy: Mapping[int, float] | None
    """Rank -> share of the plain sum's energy."""
    rank_99: int | None
    bases: tuple[str | None, ...] = ()
    """As each adapter names it."""
    needs: tuple[str, ...] = ()
    """Options without which a merge would not start: what to do with full tensors."""
    overlaps: Overlaps | None = None
    """None where they were not measured."""

    @property
    def strangers(self) -> bool:
        """Whether no two of them have a layer in common, so that sizes say nothing."""
        moving = sum(1 for x in self.norms if x)
        return moving > 1 and all(x is None for x in self.cosines.values())

    @property
    def imbalance(self) -> float | None:
        """Of norms that say something: the largest over the smallest."""
        return None if self.strangers else imbalance([x or 0.0 for x in self.norms])

    @property
    def capped(self) -> bool:
        """Whether `balance=cap` would shrink any: one is above median + 3 median deviations."""
        there = [x for x in self.norms if x]
        if not there:
            return False
        middle = median(there)
        return max(there) > middle + 3 * median(abs(x - middle) for x in there)

    @property
    def groups(self) -> list[list[int]]:
        """Adapters in groups that share their first A, in order."""
        group = list(range(len(self.names)))
        for (i, j), x in self.cosines_A.items():
            if x is not None and x >= SHARED:
                old, new = group[j], group[i]
                group = [new if g == old else g for g in group]
        return [[i for i, g in enumerate(group) if g == each] for each in dict.fromkeys(group)]

    @property
    def unlike_ranks(self) -> bool:
        return len({rank for ranks in self.ranks for rank in ranks}) > 1


def answers(facts: Facts) -> Answers:
    return Answers(
        fit=_fit(facts),
        related=_related(facts),
        dominates=_dominates(facts),
        lost=_lost(facts),
        methods=advice(facts),
        needs=facts.needs,
    )


def _fit(facts: Facts) -> str:
    n = len(facts.names)
    if facts.problems:
        count = len(facts.problems)
        return f"No, not as they are: {count} problem{'s' * (count > 1)} below."
    if facts.strangers and n > 1:
        return "No: no two of them have a layer in common, so there is nothing to merge."
    layers = sorted(set(facts.layers))
    ranks = sorted({rank for ranks in facts.ranks for rank in ranks})
    shown = f"{layers[0]} layers" if len(layers) == 1 else f"{layers[0]} to {layers[-1]} layers"
    named = list(dict.fromkeys(base for base in facts.bases if base))
    of = f" of {facts.base}" if facts.base else ", the base not named"
    if len(named) > 1:
        of = f" of bases that differ by name ({', '.join(named)})"
    who = "One adapter" if n == 1 else f"Yes: {n} adapters"
    each = " each" if n > 1 and len(layers) == 1 else ""
    said = f"{who}{of}, {shown}{each}, rank {', '.join(map(str, ranks))}."
    if facts.needs:
        said += f" They have full tensors beside the factors, so add {' '.join(facts.needs)}."
    return said


def _related(facts: Facts) -> str:
    if len(facts.names) < 2:
        one = "only one of them could be read" if facts.problems else "there is one adapter only"
        return f"{one.capitalize()}."
    found = {pair: x for pair, x in facts.cosines.items() if x is not None}
    if not found:
        return "Cannot be told: no two of them are other than zero in a layer that both have."
    low, high = min(found, key=lambda p: found[p]), max(found, key=lambda p: found[p])
    mean = sum(found.values()) / len(found)
    word = "alike" if mean >= ALIKE else "unrelated" if found[high] <= UNRELATED else "related"
    if found[low] <= -UNRELATED:
        word = "largely opposed" if mean <= -ALIKE else "partly opposed"
    if len(found) == 1:
        said = [f"{word.capitalize()}: the cosine of their deltas is {_signed(found[high])}."]
    else:
        one, other = (facts.names[i] for i in high)
        nearest = "" if word == "unrelated" else f"; nearest are {one} and {other}"
        said = [
            f"{word.capitalize()}: cosines of deltas {_signed(found[low])} to "
            f"{_signed(found[high])}, mean {_signed(mean)}{nearest}."
        ]
    said += _starts(facts)
    if facts.overlaps:
        read, read_chance, write, write_chance = facts.overlaps
        said.append(
            f"They read {_share(read)} common directions (by chance {_share(read_chance)}) and "
            f"write {_share(write)} ({_share(write_chance)})."
        )
    return " ".join(said)


def _starts(facts: Facts) -> list[str]:
    found = [x for x in facts.cosines_A.values() if x is not None]
    if len(facts.groups) == 1:
        return [f"They share their first A (cosine of rows {min(found):.2f} or more)."]
    if not found:
        return []
    some = "" if len(found) == len(facts.cosines_A) else ", as far as their ranks can be compared"
    if max(map(abs, found)) <= APART:
        return [f"Their first A's are independent{some}."]
    groups = [group for group in facts.groups if len(group) > 1]
    if not groups:
        low, high = min(found), max(found)
        return [f"Their first A's are not quite independent (cosines {low:+.2f} to {high:+.2f})."]
    said = "; ".join(", ".join(facts.names[i] for i in group) for group in groups)
    return [f"These share their first A: {said}."]


def _dominates(facts: Facts) -> str:
    norms = [0.0 if x is None else x for x in facts.norms]
    parts = shares(norms)
    if not any(norms):
        return "Nobody: all deltas are zero."
    if len(norms) < 2:
        return f"There is one adapter only, of norm {norms[0]:.3g}."
    if facts.strangers:
        return "Cannot be compared: they have no layer in common."
    top = max(range(len(norms)), key=lambda i: norms[i])
    if sum(1 for x in norms if x) == 1:
        return f"{facts.names[top]} alone: the others are zero."
    ratio = facts.imbalance or 1.0
    share = parts[top] or 0.0
    if ratio < UNEVEN:
        return f"Nobody: norms differ by a factor of {ratio:.2f} at most."
    least = min((i for i in range(len(norms)) if norms[i] > 0), key=lambda i: norms[i])
    how = "by far" if ratio >= DROWNED or share >= 0.9 else "somewhat"
    return (
        f"{facts.names[top]}, {how}: {share:.0%} of all energy; its norm {norms[top]:.3g} is "
        f"{times(ratio)} that of {facts.names[least]}."
    )


def _lost(facts: Facts) -> str:
    if not facts.energy:
        why = "they do not fit" if facts.problems else "the sum of the deltas is zero"
        return f"Cannot be told: {why}."
    most = max(facts.energy)
    own = max(rank for ranks in facts.ranks for rank in ranks)
    if len(facts.names) == 1:
        return f"Rank {most} holds all of it, rank {facts.rank_99} 99 % of the energy."
    shown = sorted({r for r in (own // 2, own, 2 * own, 4 * own) if r in facts.energy and r < most})
    said = ", ".join(f"{r} keeps {_most(facts.energy[r])}" for r in shown)
    return (
        f"Of the plain sum rank {said}; " if said else "Of the plain sum "
    ) + f"99 % needs rank {facts.rank_99}, all of it rank {most}."


# --- which method ----------------------------------------------------------------------------


def advice(facts: Facts) -> tuple[Advice, ...]:
    """The rows of docs/choose.md that hold for these adapters, the one to begin with first."""
    n = len(facts.names)
    if n < 2 or facts.problems or facts.strangers:
        return ()
    found = []
    if n < MANY:
        found.append(
            Advice(
                command="-m knots --set scale=norm_match",
                situation=f"{n} adapters",
                why="most points on the adapters' own tasks for two or three",
            )
        )
    else:
        found.append(
            Advice(
                command="-m tsv_m --set scale=norm_match",
                situation=f"{n} adapters, any output rank",
                why="most points on seen tasks among those that keep unseen ones",
            )
        )
    rank = max(r for x in facts.ranks for r in x)
    if rank > 1:  # of a 1 x 1 core ctm keeps nothing
        found.append(
            Advice(
                command="-m ctm --set scale=norm_match --set times=0.75",
                situation=f"a server that takes rank {rank} only",
                why="loses nothing to the rank, by construction",
            )
        )
    found.append(
        Advice(
            command="-m copa",
            situation="the paper's method",
            why="keeps unseen tasks at the base's level; LLaVA-1.5-7B's best in the paper",
        )
    )
    ratio = facts.imbalance
    if ratio is not None and ratio >= UNEVEN:
        found.append(
            Advice(
                command=f"--set balance={'cap' if facts.capped else 'equal'}",
                situation=f"norms that differ {times(ratio)}",
                why="with any of these: "
                + ("no adapter far above the others" if facts.capped else "all of one norm")
                + "; compare with and without",
            )
        )
    return tuple(found)


def _signed(value: float) -> str:
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}"


def times(ratio: float) -> str:
    if ratio >= 1e7:
        return f"{ratio:.1g} x"
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.1f} x"


def _most(value: float) -> str:
    """A share that is called whole only if it is."""
    return f"{value:.0%}" if value < 0.99 else f"{value:.1%}" if value < 0.999 else "over 99.9%"


def _share(value: float) -> str:
    if value >= 0.1:
        return f"{value:.0%}"
    return f"{value:.1%}" if value >= 0.001 else "under 0.1%"
