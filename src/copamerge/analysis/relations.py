"""How two deltas lie to each other as vectors."""


def cosine(inner: float, one: float, other: float) -> float | None:
    """The cosine of two deltas from their inner product and their norms, -1 to 1.

    Of whole models, with all three summed over layers (norms in squares). None where one of them
    is zero. Unrelated deltas have about `0 +- 1 / sqrt(d_out d_in)`; a sum of n unrelated ones of
    one norm has `1 / sqrt(n)` to each.
    """
    if one <= 0 or other <= 0:
        return None
    return max(-1.0, min(1.0, inner / one / other))
