"""Measures as colours: ordered to the eye, to colour-blind eyes, and in grey."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

SEQUENTIAL = (
    *("#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e"),
    *("#21918c", "#1fa088", "#28ae80", "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219"),
    "#fde725",
)
"""Viridis: lightness rises all the way, so a grey print keeps the order."""
DIVERGING = (
    *("#b35806", "#e08214", "#f1a340", "#fdc27f", "#fee0b6", "#f7f7f7"),
    *("#d1e5f0", "#92c5de", "#4393c3", "#2166ac", "#053061"),
)
"""ColorBrewer's orange and blue. In grey both ends are dark: a dash marks what is below."""

Unit = Literal["", "%", "°"]


@dataclass(frozen=True)
class Measure:
    """What a map shows, and how: one number for each layer, or for each pair."""

    key: str
    title: str
    explains: str
    """One sentence: what it is, its range, and what chance would give."""
    unit: Unit = ""
    """`%`: values are shares, shown times 100."""
    scale: Literal["sequential", "diverging"] = "sequential"
    low: float | None = None
    """Where the colours end; None: at the smallest value that is shown."""
    high: float | None = None
    """None: at the largest."""
    middle: float = 0.0
    """What is neither more nor less, for `diverging`."""
    log: bool = False
    """Colours go by the logarithm, for what differs by powers of ten."""

    def fitted(self, values: Iterable[float]) -> "Measure":
        """With both ends of the colours known; diverging ones lie as far apart from the middle."""
        found = [value for value in values if value > 0 or not self.log]
        low = self.low if self.low is not None else min(found, default=0.0)
        high = self.high if self.high is not None else max(found, default=1.0)
        if self.log:
            high = max(high, math.ulp(0.0))
            low = min(max(low, math.ulp(0.0)), high)
        if self.scale == "sequential":
            return replace(self, low=low, high=max(low, high))
        middle = max(self.middle, math.ulp(0.0)) if self.log else self.middle
        if self.log:
            ends = (low, high) if found else (middle, middle)
            # At most 300 powers of ten to each side: more cannot be written.
            far = min(690.0, max(abs(math.log(end / middle)) for end in ends))
            return replace(self, low=middle * math.exp(-far), high=middle * math.exp(far))
        far = max(abs(low - middle), abs(high - middle))
        return replace(self, low=middle - far, high=middle + far)

    def place(self, value: float) -> float:
        """Where a value lies between the ends of a fitted measure: 0 to 1."""
        assert self.low is not None and self.high is not None, "fitted"
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (value - low) / (high - low) if high > low else 0.5
        return min(1.0, max(0.0, share))

    def shown(self, value: float) -> str:
        """The value with its unit, four digits of it."""
        return self._with_unit(f"{100 * value if self.unit == '%' else value:.4g}")

    def brief(self, value: float) -> str:
        """The same for a narrow cell: two decimals of what lies within 1, else three digits."""
        assert self.low is not None and self.high is not None, "fitted"
        if self.unit == "%":
            return self._with_unit(f"{100 * value:.3g}")
        small = not self.log and max(abs(self.low), abs(self.high)) <= 1
        # Adding 0 takes the sign from what is rounded to zero.
        return self._with_unit(f"{round(value, 2) + 0.0:.2f}" if small else f"{value:.3g}")

    def _with_unit(self, number: str) -> str:
        number = number.replace("-", "−")
        return f"{number} %" if self.unit == "%" else f"{number}{self.unit}"

    @property
    def colours(self) -> tuple[str, ...]:
        return DIVERGING if self.scale == "diverging" else SEQUENTIAL


def colour(stops: Sequence[str], place: float) -> str:
    """The colour at 0 to 1 along the stops, straight lines between them."""
    at = place * (len(stops) - 1)
    i = min(int(at), len(stops) - 2)
    one, other = rgb(stops[i]), rgb(stops[i + 1])
    mixed = (round(a + (b - a) * (at - i)) for a, b in zip(one, other, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def rgb(hexed: str) -> tuple[int, int, int]:
    return int(hexed[1:3], 16), int(hexed[3:5], 16), int(hexed[5:7], 16)


def ink_on(ground: str) -> str:
    """Black or white, whichever reads better on it (WCAG 2's relative luminance)."""
    linear = [
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
        for x in (part / 255 for part in rgb(ground))
    ]
    luminance = sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000000" if luminance > 0.179 else "#ffffff"
