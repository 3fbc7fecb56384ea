import numpy as np
import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.errors import RecipeError
from copamerge.methods._select import keep_from_each, keep_largest, keep_largest_each
from copamerge.methods._steps import drop_at_random, elect_sign, mass_ratio, total_weight
from strategies import random_stack


@pytest.mark.parametrize("shape", [(1,), (1, 1), (7,), (16, 64), (3, 5)])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.2, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_topk_keeps_exactly_the_share(shape, density, dtype):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).bfloat16().to(dtype)

    kept = keep_largest(x, density)

    size = x.numel()
    order = sorted(range(size), key=lambda i: (-abs(float(x.flatten()[i])), i))
    wanted = torch.zeros(size, dtype=dtype)
    for i in order[: int(density * size)]:
        wanted[i] = x.flatten()[i]
    assert torch.equal(kept, wanted.view(shape))


def test_ties_go_to_the_lowest_index():
    x = torch.tensor([1.0, -2.0, 2.0, 2.0, -2.0, 0.5])

    assert keep_largest(x, 0.5).tolist() == [0, -2, 2, 2, 0, 0]
    assert keep_largest(x, 0.5, "kth").tolist() == [0, -2, 2, 2, -2, 0]


def test_more_zeros_than_pruned_entries_harm_nothing():
    x = torch.tensor([0.0, 0.0, 0.0, 3.0, 0.0])

    for convention in ("topk", "kth", "quantile"):
        assert keep_largest(x, 0.6, convention).tolist() == x.tolist()


@pytest.mark.parametrize("density", [0.0, 0.1, 0.2, 0.35, 1.0])
def test_kth_and_quantile_count_as_their_sources_do(density):
    x = torch.randn(10, 10, generator=torch.Generator().manual_seed(0))

    # methods.md 1.2: int(nK) + 1 entries, all for K = 1.
    assert int((keep_largest(x, density, "kth") != 0).sum()) == min(int(100 * density) + 1, 100)
    magnitudes = x.abs().double().numpy()
    wanted = (magnitudes >= np.quantile(magnitudes, 1 - density)).sum()
    assert int((keep_largest(x, density, "quantile") != 0).sum()) == wanted


def test_what_is_kept_is_never_the_input_itself():
    x = torch.ones(4)

    for kept in (
        keep_largest(x, 1.0),
        keep_from_each(x[None], -1),
        keep_from_each(x[None], 0, exact=True),
    ):
        kept.zero_()

    assert x.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("convention", ["topk", "kth", "quantile"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_adapter_is_selected_by_itself(convention, dtype):
    x = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0)).bfloat16().to(dtype)
    x[1] *= 100
    x[2] = 0

    kept = keep_largest_each(x, 0.3, convention)

    for one, alone in zip(kept, x, strict=True):
        assert torch.equal(one, keep_largest(alone, 0.3, convention))


def test_slices_are_selected_in_their_own_flat_order():
    x = torch.tensor([[1.0, 9.0], [1.0, 9.0], [1.0, 9.0], [1.0, 9.0]])[:, :1]

    assert keep_largest(x, 0.5).flatten().tolist() == [1, 1, 0, 0]
    assert keep_largest(x.mT, 0.5).flatten().tolist() == [1, 1, 0, 0]


def test_smallest_floats_are_told_apart():
    tiny = float(torch.finfo(torch.float32).smallest_normal)
    x = torch.tensor([0.0, tiny, 2 * tiny, -3 * tiny])

    assert torch.equal(keep_largest(x, 0.5), torch.tensor([0.0, 0.0, 2 * tiny, -3 * tiny]))


def test_signs_where_votes_cancel():
    votes = [torch.tensor([1.0, -3.0, 2.0, 0.0]), torch.tensor([-1.0, 1.0, -2.0, 0.0])]

    # The only decided entry is the second, and negative: so is the majority.
    assert elect_sign(votes, "reference").tolist() == [-1, -1, -1, -1]
    assert elect_sign(votes, "nonnegative").tolist() == [1, -1, 1, 1]
    assert elect_sign(votes, "drop").tolist() == [0, -1, 0, 0]
    assert elect_sign([torch.zeros(2)], "reference").tolist() == [-1, -1]


def test_dropping_keeps_the_expectation_or_the_mass():
    x = torch.rand(200, 200, generator=torch.Generator().manual_seed(0)) + 0.5
    draws = Draws(0, "layer")

    plain = drop_at_random(x, 0.3, "none", draws.stream("a"))
    inverse = drop_at_random(x, 0.3, "inverse", draws.stream("a"))
    mass = drop_at_random(x, 0.3, "l1", draws.stream("a"))

    kept = plain != 0
    assert abs(float(kept.float().mean()) - 0.3) < 0.01
    torch.testing.assert_close(inverse, torch.where(kept, x / 0.3, 0.0))
    torch.testing.assert_close(mass.sum(), x.sum())
    assert not drop_at_random(x, 0.0, "inverse", draws.stream("a")).any()
    assert not drop_at_random(x, 0.0, "l1", draws.stream("a")).any()
    assert torch.equal(drop_at_random(x, 1.0, "inverse", draws.stream("a")), x)


def test_mass_ratios_have_no_holes():
    full, kept = torch.tensor([4.0, 4.0, 0.0]), torch.tensor([2.0, 0.0, 0.0])

    assert mass_ratio(full, kept).tolist() == [2, 1, 0]


@pytest.mark.parametrize("weights, absent", [([1.0, -1.0], ()), ([0.1, 0.2], (-0.3,))])
def test_weights_that_cancel_are_refused(weights, absent):
    stack = random_stack((1, 1), weights=weights, absent=absent)

    with pytest.raises(RecipeError, match="layer 'layer': the weights sum to 0"):
        total_weight(stack)
