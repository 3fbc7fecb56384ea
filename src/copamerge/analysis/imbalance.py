"""Whether some adapters are much larger than others."""

from collections.abc import Sequence


def shares(norms: Sequence[float]) -> tuple[float | None, ...]:
    """Each one's part of the sum of squared norms, 0 to 1; n alike have `1 / n`.

    What it holds of the energy of a plain sum of unrelated deltas. None where all are zero.
    """
    total = sum(norm**2 for norm in norms)
    return tuple(norm**2 / total if total > 0 else None for norm in norms)


def imbalance(norms: Sequence[float]) -> float | None:
    """The largest norm over the smallest that is not zero, 1 or more; None with fewer than two.

    Published adapters of one base differ by up to 10,000. In a plain sum of two unrelated ones
    that differ by a factor c, the smaller has `1 / (1 + c^2)` of the energy.
    """
    there = [norm for norm in norms if norm > 0]
    return max(there) / min(there) if len(there) > 1 else None
