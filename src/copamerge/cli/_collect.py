"""From a command line to a recipe, with everything that is wrong told at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from copamerge.recipe import Recipe


@contextmanager
def collected(problems: list[str]) -> Iterator[None]:
    """What goes wrong in the block is added to `problems`, and the command goes on."""
    from copamerge.errors import CopamergeError

    try:
        yield
    except CopamergeError as error:
        problems += error.problems


def recipe_of(
    adapters: Sequence[str],
    weights: Sequence[float] | None,
    alpha: float | None,
    given: dict[str, Any],
    problems: list[str],
) -> "Recipe | None":
    """The recipe that a command line says; None where it says none, and `problems` why."""
    from copamerge.recipe.load import read

    if weights and len(weights) != len(adapters):
        problems.append(
            f"--weights: {len(weights)} given for {len(adapters)} adapters; give one for each"
        )
        weights = None
    sources = [
        {"adapter": name, "weight": weight, **({} if alpha is None else {"alpha": alpha})}
        for name, weight in zip(adapters, weights or [1.0] * len(adapters), strict=True)
    ]
    return read({**given, "adapters": sources}, problems, typed=given)
