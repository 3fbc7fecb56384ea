"""What is left of one adapter in a merge, over all layers."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from copamerge.analysis.directions import Directions, directions, preserved
from copamerge.analysis.image import Image
from copamerge.analysis.interference import Change, change, interference, interference_rescaled
from copamerge.analysis.relations import cosine


class Part(BaseModel):
    """A piece of a record."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Seen(NamedTuple):
    """One adapter beside the merge in one layer."""

    directions: Directions
    change: Change


def seen(image: Image) -> Seen:
    return Seen(directions(image), change(image))


class Trace(Part):
    """What is left of one adapter in a merge. Null: it takes no part, or one of the two is zero."""

    cosine: float | None
    """Of its delta and the merged one, the whole model as one vector."""
    directions: int
    """Singular directions of its delta, over all layers."""
    preserved: float | None
    """Share of them that the merge sends within the angle of where the adapter does; every
    direction of every layer counts once."""
    preserved_energy: float | None
    """The same, each direction counted by its squared singular value: strong ones count more."""
    gain: float | None
    """How strongly the merge acts along them, 1 as in the adapter; counted in the same way."""
    interference: float | None
    """Relative change of its delta on the space that it reads from: 0 none, 1 as if it were gone,
    more where it is drowned."""
    interference_rescaled: float | None
    """The least of that for any multiple of the merge: 0 to 1."""


def trace(layers: Sequence[Seen], norm: float, within_degrees: float = 45.0) -> Trace:
    """Of one adapter in all its layers, or in one; `norm` is that of the merge over the same."""
    kept = preserved([x.directions for x in layers], within_degrees)
    changes = [x.change for x in layers]
    size = sum(x.own for x in changes) ** 0.5
    return Trace(
        cosine=cosine(float(sum(x.inner for x in changes)), norm, size),
        directions=kept.of,
        preserved=kept.share,
        preserved_energy=kept.energy,
        gain=kept.gain,
        interference=interference(changes),
        interference_rescaled=interference_rescaled(changes),
    )
