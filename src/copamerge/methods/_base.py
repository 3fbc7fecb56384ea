"""What a merge method is, and the laws it can promise."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, ClassVar

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, model_serializer
from torch import Tensor

from copamerge.core.delta import WeightDelta
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.survey import Survey, Tally

Total = Callable[[Callable[[FactorStack], Tally]], Tally]
"""Walks all layers once, in any order and on any thread, and adds up what a function counts."""


class Law(Enum):
    """An equation a method promises. The property tests check every promise."""

    IDENTITY = "one adapter of weight 1 comes back unchanged"
    PERMUTATION = "the order of the adapters does not matter"
    GAUGE = "replacing any one adapter's (B, A) by (B R, R^-1 A) changes nothing"
    HOMOGENEITY = "scaling every adapter by c > 0 scales the result by c"
    ODDNESS = "negating every adapter negates the result"
    LINEARITY = "the result is linear in the weights"
    COPIES = "n copies of one adapter give that adapter"
    ZERO_ADAPTER = "an adapter whose delta is zero changes nothing"
    COORDINATES = "permuting outputs or inputs permutes the result"
    RANK_ORDER = "permuting the rank index in all adapters alike changes nothing"
    SIGN_FLIP = "flipping the sign of a_i and b_i together changes nothing"
    OWN_RANK_ORDER = "permuting the rank index of any one adapter changes nothing"
    ROTATION = "rotating outputs or inputs of all adapters alike rotates the result"
    FACTOR_SCALE = "moving a factor c > 0 from every B to every A changes nothing"
    RANK_BOUND = "the result has no more than the rank it announces"
    DETERMINISM = "the same seed gives the same result, bit for bit"


OF_DELTAS = frozenset(
    {
        Law.PERMUTATION,
        Law.GAUGE,
        Law.HOMOGENEITY,
        Law.ODDNESS,
        Law.COORDINATES,
        Law.RANK_ORDER,
        Law.OWN_RANK_ORDER,
        Law.SIGN_FLIP,
        Law.ROTATION,
        Law.FACTOR_SCALE,
        Law.RANK_BOUND,
        Law.DETERMINISM,
    }
)
"""Laws of what depends on the deltas alone, in whatever orthonormal coordinates."""


class MergeMethod(BaseModel, ABC):
    """Hyperparameters as fields, the mathematics as `merge`.

    A method is immutable, does no input or output, draws randomness only from `draws`, and
    leaves its input as it found it. Subclass this directly, once: methods share code by
    calling functions from `methods._steps` and `_select`, never by inheriting from each other.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    name: ClassVar[str]
    source: ClassVar[str]
    """Paper, equation or repository the formula is from."""
    laws: ClassVar[frozenset[Law]]
    """What holds for every setting of the options; see `promises`."""
    caution: ClassVar[str | None] = None
    """A sentence every user of this method should read; see `cautions`."""
    random: ClassVar[bool] = False
    """Whether results depend on the seed, for some options at least; see `seeded`."""

    @property
    def called(self) -> str:
        """What a recipe calls it."""
        return self.name

    @abstractmethod
    def merge(self, stack: FactorStack, draws: Draws) -> WeightDelta:
        """The merged delta of one layer, exact: compression to a rank is not the method's job."""

    @abstractmethod
    def merge_bias(self, stack: FactorStack, draws: Draws) -> Float[Tensor, " d_out"]:
        """The merged LoRA bias of one layer; called only when `stack.bias` is not None."""

    @abstractmethod
    def result_rank(self, ranks: Sequence[int]) -> int | None:
        """Rank of what `merge` returns for adapters of these ranks; None when it is dense."""

    def passes(self) -> int:
        """Walks over all layers that `survey` makes before the merge; 0 when it makes none."""
        return 0

    def survey(self, total: Total) -> Survey | None:
        """What has to be known of all layers together before `merge` can see one; None: nothing.

        `merge` finds it as `stack.survey`. `total` calls its argument with the stack of every
        layer, and that must be as pure as `merge`; a later pass may use what an earlier one found.
        """
        del total
        return None

    def refusal(self, ranks: Sequence[int]) -> str | None:
        """Why adapters of these ranks cannot be merged by this method, or None."""
        del ranks
        return None

    def promises(self) -> frozenset[Law]:
        """The laws that hold for these options."""
        return self.laws

    def cautions(self) -> tuple[str, ...]:
        """What a user of these options should read; goes into the report as warnings."""
        return () if self.caution is None else (self.caution,)

    def seeded(self) -> bool:
        """Whether results depend on the seed for these options."""
        return self.random

    @model_serializer(mode="wrap")
    def _with_name(self, inner: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"name": self.name, **inner(self)}


def refuse_idle(method: MergeMethod, because: str, *options: str) -> None:
    """Refuse options that were set but would change nothing: better told than believed.

    Raises:
        ValueError: one of `options` differs from its default.
    """
    fields = type(method).model_fields
    if idle := [name for name in options if getattr(method, name) != fields[name].default]:
        raise ValueError(f"{', '.join(idle)}: no effect with {because}; leave it out")
