"""Signs of entries, counted on the dense matrices."""

from math import acos, pi, sqrt

import numpy as np
import pytest
import torch

from copamerge.analysis.conflict import (
    cancelled,
    conflict,
    disagreement,
    entries_at,
    sign_conflict,
)
from strategies import CASES, plain

EXACT = 1e-8


def all_places(d_out, d_in):
    rows, columns = torch.meshgrid(torch.arange(d_out), torch.arange(d_in), indexing="ij")
    return rows.flatten(), columns.flatten()


@pytest.mark.parametrize("stack", CASES.values(), ids=CASES)
def test_counts_are_those_of_the_dense_matrices(stack):
    deltas = [B @ A for A, B, _, _ in plain(stack)]
    rows, columns = all_places(*deltas[0].shape)

    entries = entries_at(stack.A, stack.B, rows, columns)
    found = conflict(entries)

    for i, x in enumerate(deltas):
        assert np.abs(x.flatten() - entries[i].numpy()).max() <= EXACT * (1 + np.abs(x).max())
    # From the same sums: where terms cancel, the sign of an exact zero is the order's choice.
    deltas = entries.numpy()
    for i, x in enumerate(deltas):
        for j, y in enumerate(deltas):
            both = ((x != 0) & (y != 0)).sum()
            wanted = (x * y < 0).sum() / both if both else None
            assert sign_conflict(found, i, j) == (
                None if wanted is None else pytest.approx(wanted, abs=EXACT)
            )
    several = ((deltas != 0).sum(0) > 1).sum()
    mixed = ((deltas > 0).any(0) & (deltas < 0).any(0)).sum()
    assert disagreement([found]) == (pytest.approx(mixed / several) if several else None)
    gross = np.abs(deltas).sum()
    wanted = 1 - np.abs(deltas.sum(0)).sum() / gross if gross else None
    assert cancelled([found]) == (None if wanted is None else pytest.approx(wanted, abs=EXACT))


def test_by_chance_half_of_the_signs_conflict_and_n_deltas_cancel():
    rng = torch.Generator().manual_seed(0)
    n, m = 5, 200_000
    found = conflict(torch.randn(n, m, generator=rng, dtype=torch.float64))

    assert sign_conflict(found, 0, 1) == pytest.approx(0.5, abs=0.005)
    assert disagreement([found]) == pytest.approx(1 - 2 ** (1 - n), abs=0.002)
    assert cancelled([found]) == pytest.approx(1 - 1 / sqrt(n), abs=0.005)


def test_correlated_entries_conflict_by_their_angle():
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 200_000, generator=rng, dtype=torch.float64)
    found = conflict(torch.stack([x, 0.6 * x + 0.8 * noise]))

    assert sign_conflict(found, 0, 1) == pytest.approx(acos(0.6) / pi, abs=0.005)


def test_a_copy_never_conflicts_and_a_negative_always():
    x = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    found = conflict(torch.stack([x, 2 * x, -x]))

    assert sign_conflict(found, 0, 1) == 0.0 and sign_conflict(found, 0, 2) == 1.0
    assert cancelled([conflict(torch.stack([x, -x]))]) == 1.0


def test_layers_add_up_by_their_sizes():
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    whole = conflict(x, each=3.0)

    assert float(whole.both[0, 1]) == 6.0 and sign_conflict(whole, 0, 1) == 0.5
