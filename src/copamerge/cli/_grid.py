"""Tables on a terminal: numbers in cells, every cell on one line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def grid(first: str, *titles: str) -> "Table":
    """An empty table; the first column to the left, the others to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first)
    for title in titles:
        table.add_column(title, justify="right")
    return table


def show(table: "Table") -> None:
    """Every cell on one line, however narrow the terminal is."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    wide = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    Console(highlight=False, markup=False, emoji=False, width=max(wide, console.width)).print(table)


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def share(value: float | None) -> str:
    """A share that looks whole only if it is, to six digits."""
    if value is None:
        return "-"
    if value > 1 - 1e-6:
        return "100%"
    return f"{min(value, 0.999):.1%}"


def there(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def mean(values: Sequence[float | None]) -> float | None:
    """Over those that are there; None where none is."""
    some = there(values)
    return sum(some) / len(some) if some else None
