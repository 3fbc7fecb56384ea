"""Principal angles against NumPy and planted spaces."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from copamerge.analysis.image import svd_of
from copamerge.analysis.overlap import overlap, principal_cosines, shared
from strategies import CASES, plain

EXACT = 1e-8


def orthonormal(rng, d, k):
    return torch.linalg.qr(torch.randn(d, k, generator=rng, dtype=torch.float64))[0]


@pytest.mark.parametrize("stack", CASES.values(), ids=CASES)
def test_cosines_are_those_of_the_dense_deltas(stack):
    terms = [(torch.tensor(A), torch.tensor(B)) for A, B, _, _ in plain(stack)]
    for (A, B), (C, D) in pairwise(terms):
        one, other = svd_of(A, B), svd_of(C, D)
        spaces = [np.linalg.svd((y @ x).numpy())[2][: len(s.S)] for x, y, s in
                  ((A, B, one), (C, D, other))]  # fmt: skip
        wanted = np.linalg.svd(spaces[0] @ spaces[1].T, compute_uv=False)

        found = principal_cosines(one.Vt.mT, other.Vt.mT)

        assert found.tolist() == pytest.approx(wanted.tolist(), abs=EXACT)
        if len(found):
            assert overlap(found) == pytest.approx((wanted**2).mean(), abs=EXACT)
        else:
            assert overlap(found) is None and shared(found) == 0


@pytest.mark.parametrize("k", range(5))
def test_exactly_k_shared_directions_are_found(k):
    rng = torch.Generator().manual_seed(k)
    Q = orthonormal(rng, 50, 4 + 6)
    one, other = Q[:, :4], torch.cat([Q[:, :k], Q[:, 4 : 4 + 6 - k]], dim=1)
    # Other bases of the same spaces.
    one, other = one @ orthonormal(rng, 4, 4), other @ orthonormal(rng, 6, 6)

    cosines = principal_cosines(one, other)

    assert shared(cosines) == k
    assert cosines.tolist() == pytest.approx([1.0] * k + [0.0] * (4 - k), abs=EXACT)
    assert overlap(cosines) == pytest.approx(k / 4, abs=EXACT)


def test_a_direction_at_the_angle_itself_is_shared():
    angle = torch.tensor(10.0, dtype=torch.float64).deg2rad()
    one = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    other = torch.stack([angle.cos(), angle.sin()])[:, None]

    assert shared(principal_cosines(one, other), within_degrees=10.0) == 1
    assert shared(principal_cosines(one, other), within_degrees=9.9) == 0


def test_by_chance_spaces_overlap_by_their_size():
    rng = torch.Generator().manual_seed(0)
    found = [
        overlap(principal_cosines(orthonormal(rng, 200, 4), orthonormal(rng, 200, 8)))
        for _ in range(200)
    ]

    assert np.mean(found) == pytest.approx(8 / 200, rel=0.05)
