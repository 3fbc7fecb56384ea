"""Whether two adapters began from the same random A."""

from jaxtyping import Float
from torch import Tensor

SHARED, APART = 0.5, 0.1
"""Mean cosine of the rows of A from which a start counts as shared, and up to which as not."""


def row_cosines(one: Float[Tensor, "r d_in"], other: Float[Tensor, "r d_in"]) -> tuple[float, int]:
    """The sum of the cosines between rows of A with the same index, and how many there are.

    Rows of zero are left out. Their ratio, over any number of layers, is the mean cosine, -1 to 1:
    about `0 +- 1 / sqrt(rows d_in)` for independent starts, near 1 where training moved one shared
    start a little. B says nothing about it: it starts at zero.

    Source: the asymmetry of A and B in arXiv:2402.16842; the mean over rows is this project's.
    """
    a, b = one.double(), other.double()
    size = a.norm(dim=1) * b.norm(dim=1)
    real = size > 0
    return float(((a * b).sum(1)[real] / size[real]).sum()), int(real.sum())
