from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from copamerge.core.draws import Draws
from copamerge.methods._steps import drop_at_random
from copamerge.methods.della import Della
from copamerge.methods.ties import Ties
from copamerge.testing import check_method
from strategies import CASES, LIKE_RANKS, as_array, assert_equal, plain, random_stack

DRAWS = Draws(7, "layer")


def probabilities(x, density, window, scope="row"):
    """Keep probabilities row by row, from the formula's ranks 1 to n."""
    if not 0 < density < 1:
        return np.full(x.shape, density)
    rows = x.reshape(1, -1) if scope == "tensor" else x.reshape(-1, x.shape[-1])
    found = np.full(rows.shape, density)
    for row, p in zip(rows, found, strict=True):
        if row.size > 1:
            order = sorted(range(row.size), key=lambda i, row=row: (abs(row[i]), i))
            for rank, i in enumerate(order, start=1):
                p[i] = density - window / 2 + (rank - 1) / (row.size - 1) * window
    return found.reshape(x.shape)


def dropped(stack, purpose, tensors, density, window=0.14, rescale="inverse", scope="row"):
    """Each tensor with the entries its own stream drops set to zero, then rescaled."""
    for x, key in zip(tensors, stack.keys, strict=True):
        uniform = torch.rand(x.shape, generator=DRAWS.stream(key, purpose)).double().numpy()
        p = probabilities(x, density, window, scope)
        kept = np.where(uniform < p, x, 0)
        if rescale == "inverse":
            kept = kept / np.where(p > 0, p, 1)
        if rescale == "l1":
            left = abs(kept).sum()
            kept = kept * (abs(x).sum() / left if left > 0 else 0)
        yield kept


def fused(xs, weights, sign="nonnegative", vote="unweighted", divide="count"):
    """Sign of the sum, mean of those who have it."""
    xs, weights = list(xs), [float(w) for w in weights]
    votes = [w * x if vote == "weighted" else x for x, w in zip(xs, weights, strict=True)]
    elected = np.sign(sum(votes))
    if sign == "nonnegative":
        elected[elected == 0] = 1
    agree = [v * elected > 0 for v in votes]
    above = sum(w * x * a for x, w, a in zip(xs, weights, agree, strict=True))
    below = sum(
        a * (w if divide == "weights" else 1.0) for w, a in zip(weights, agree, strict=True)
    )
    return above / np.where(abs(below) > 1e-6 * sum(map(abs, weights)), below, 1)


def tensors_of(stack):
    """The float32 deltas: whether two of their entries tie is decided there."""
    cut = [(stack.A[i, :r], stack.B[i, :, :r]) for i, r in enumerate(stack.ranks)]
    return [(B @ A).double().numpy() for A, B in cut]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("density", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_summed_equals_the_formula(name, density, rescale):
    stack = CASES[name]

    merged = Della(density=density, rescale=rescale, then="sum", scale=0.5).merge(stack, DRAWS)

    left = dropped(stack, "della delta", tensors_of(stack), density, rescale=rescale)
    wanted = sum(0.5 * w * x for x, w in zip(left, stack.weights.tolist(), strict=True))
    assert_equal(merged.matrix, wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"vote": "weighted", "divide": "weights"},
        {"sign": "drop", "vote": "weighted"},
        {"divide": "weights"},
    ],
)
def test_elects_and_fuses_what_was_not_dropped(name, options):
    stack = CASES[name]

    merged = Della(density=0.6, window=0.4, scale=1.1, **options).merge(stack, DRAWS)

    left = dropped(stack, "della delta", tensors_of(stack), 0.6, window=0.4)
    assert_equal(merged.matrix, 1.1 * fused(left, stack.weights, **options))


@pytest.mark.parametrize("name", CASES)
def test_ranks_may_go_over_the_whole_tensor(name):
    stack = CASES[name]

    merged = Della(density=0.5, window=1, scope="tensor", then="sum").merge(stack, DRAWS)

    left = dropped(stack, "della delta", tensors_of(stack), 0.5, window=1, scope="tensor")
    assert_equal(
        merged.matrix, sum(w * x for x, w in zip(left, stack.weights.tolist(), strict=True))
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scope", ["row", "tensor"])
def test_biases_follow_the_same_rule_as_one_row(name, scope):
    stack = CASES[name]

    merged = Della(density=0.5, scale=1.5, scope=scope).merge_bias(stack, DRAWS)

    left = dropped(stack, "della bias", [b for *_, b in plain(stack)], 0.5)
    assert_equal(merged, 1.5 * fused(left, stack.weights))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "options",
    [
        {"sign": "reference"},
        {"sign": "nonnegative", "vote": "weighted", "combine": "sum"},
        {"sign": "drop", "combine": "max"},
        {"sign": "drop", "divide": "weights"},
    ],
)
def test_with_nothing_dropped_it_is_ties_with_nothing_trimmed(name, options):
    merged = Della(density=1, **options).merge(CASES[name], DRAWS)

    assert_equal(merged.matrix, as_array(Ties(density=1, **options).merge(CASES[name], DRAWS)))


def test_nothing_kept_is_zero_whatever_the_window():
    stack = random_stack((2, 2))

    assert not Della(density=0, window=0.9).merge(stack, DRAWS).matrix.any()


def test_larger_entries_are_kept_more_often_and_the_expectation_is_kept():
    stack = random_stack((2,), d_in=5, d_out=4, bias=False)
    delta = stack.deltas()[0]
    method = Della(density=0.5, window=0.6, then="sum")
    runs = 2000

    drawn = torch.stack([method.merge(stack, Draws(k, "layer")).matrix for k in range(runs)])

    # Of the five entries of a row the smallest is kept with 0.2, the largest with 0.8.
    wanted = torch.from_numpy(probabilities(delta.numpy(), 0.5, 0.6))
    assert wanted.amin(1).tolist() == pytest.approx([0.2] * 4)
    assert wanted.amax(1).tolist() == pytest.approx([0.8] * 4)
    deviation = (wanted * (1 - wanted) / runs).sqrt()
    assert (((drawn != 0).double().mean(0) - wanted).abs() <= 5 * deviation).all()
    assert ((drawn.mean(0) - delta).abs() <= 5 * deviation / wanted * delta.abs()).all()


def test_at_the_ends_of_the_window_entries_are_certain():
    stack = random_stack((2,), d_in=6, d_out=300, bias=False)
    sizes = stack.deltas()[0].abs()

    merged = Della(density=0.5, window=1, then="sum").merge(stack, DRAWS).matrix

    assert merged.isfinite().all()
    assert (merged.gather(1, sizes.argmax(1, keepdim=True)) != 0).all()
    assert not merged.gather(1, sizes.argmin(1, keepdim=True)).any()


def test_the_only_entry_of_a_row_is_kept_with_the_density():
    # The formula's (rank - 1) / (n - 1) is 0/0 there.
    stack = random_stack((1,), d_in=1, d_out=4000, bias=False)

    kept = Della(density=0.7, then="sum").merge(stack, DRAWS).matrix != 0

    # 5 deviations of a share of 4000 draws.
    assert abs(float(kept.double().mean()) - 0.7) < 5 * (0.21 / 4000) ** 0.5


def test_without_a_window_all_entries_are_alike():
    stack = random_stack((2,), d_in=30, d_out=20, bias=False)

    merged = Della(density=0.4, window=0, then="sum").merge(stack, DRAWS)

    stream = DRAWS.stream(stack.keys[0], "della delta")
    alike = drop_at_random(stack.deltas()[0], 0.4, "inverse", stream)
    torch.testing.assert_close(merged.matrix, alike)


def test_equal_magnitudes_rank_in_flat_order():
    stack = random_stack((1,), d_in=3, d_out=1, bias=False)
    stack.A[:], stack.B[:] = 1.0, 1.0

    merged = Della(density=0.5, window=1, rescale="none", then="sum").merge(stack, DRAWS)

    # Probabilities 0, 0.5 and 1.
    assert merged.matrix[0, 0] == 0 and merged.matrix[0, 2] == 1


@pytest.mark.parametrize("name", LIKE_RANKS)
def test_factors_drop_with_masks_of_their_own(name):
    stack = LIKE_RANKS[name]
    roots = [abs(w * s) ** 0.5 for w, s in zip(stack.weights.tolist(), stack.scalings, strict=True)]
    signed = [c if w >= 0 else -c for c, w in zip(roots, stack.weights.tolist(), strict=True)]

    merged = Della(density=0.5, space="factors").merge(stack, DRAWS)

    A = dropped(stack, "della A", [A for A, *_ in plain(stack)], 0.5)
    raw_B = [B / s for (_, B, _, _), s in zip(plain(stack), stack.scalings, strict=True)]
    B = dropped(stack, "della B", raw_B, 0.5)
    assert merged.rank == stack.ranks[0]
    assert_equal(merged.A, fused(A, signed))
    assert_equal(merged.B, fused(B, roots))


def test_on_factors_it_needs_equal_ranks_and_warns():
    method = Della(space="factors")

    assert "3, 1, 2" in method.refusal((3, 1, 2))
    assert method.refusal((2, 2)) is None
    assert "cross terms" in method.cautions()[0]
    assert method.result_rank((2, 2)) == 2
    assert Della().cautions() == () and Della().result_rank((2, 2)) is None


def test_draws_depend_on_seed_layer_and_adapter_only():
    both = random_stack((2, 2), d_in=20, d_out=20, bias=False)
    della = Della(density=0.5)

    again = della.merge(both, DRAWS).matrix

    assert torch.equal(della.merge(both, DRAWS).matrix, again)
    assert not torch.equal(della.merge(both, Draws(8, "layer")).matrix, again)
    assert not torch.equal(della.merge(both, Draws(7, "other")).matrix, again)
    assert della.seeded() and not Della(density=1).seeded() and not Della(density=0).seeded()


@pytest.mark.parametrize("density, window, most", [(0.05, 0.14, "0.1"), (0.95, 0.2, "0.1")])
def test_a_window_beyond_certainty_is_refused(density, window, most):
    with pytest.raises(ValidationError, match=f"lie in .0, 1.; take a window of at most {most}"):
        Della(density=density, window=window)


@pytest.mark.parametrize("density", [0.07, 0.93, 0.0, 1.0])
def test_a_window_that_just_fits_is_taken(density):
    stack = random_stack((2, 2))

    assert Della(density=density, window=0.14).merge(stack, DRAWS).matrix.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [
        {"then": "sum", "sign": "drop"},
        {"then": "sum", "combine": "sum"},
        {"combine": "sum", "divide": "weights"},
        {"space": "factors", "divide": "weights"},
        {"window": 0, "scope": "tensor"},
    ],
)
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ValidationError, match=r"leave it out|means nothing"):
        Della(**options)


@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
@pytest.mark.parametrize("space", ["delta", "factors"])
def test_in_float64_it_stays_there(rescale, space):
    stack = random_stack((2, 2))
    method = Della(density=0.5, rescale=rescale, space=space)

    merged = method.merge(replace(stack, A=stack.A.double(), B=stack.B.double()), DRAWS)

    found = merged.matrix if space == "delta" else merged.B @ merged.A
    assert found.dtype == torch.float64
    assert_equal(found, as_array(method.merge(stack, DRAWS)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"density": 0},
        {"density": 1, "then": "sum"},
        {"density": 0.5, "window": 1, "scope": "tensor", "rescale": "l1", "sign": "drop"},
        {"density": 1, "space": "factors"},
    ],
)
def test_it_is_a_good_citizen(options):
    check_method(Della.model_validate(options))
