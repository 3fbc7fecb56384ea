import pytest
import torch
from pydantic import ValidationError

from copamerge.core.draws import Draws
from copamerge.methods.dare import Dare
from copamerge.methods.ties import Ties
from strategies import CASES, as_array, assert_equal, plain, random_stack

DRAWS = Draws(7, "layer")


def dropped(stack, purpose, tensors, density, rescale):
    """Each tensor with the entries its own stream drops set to zero, then rescaled."""
    for x, key in zip(tensors, stack.keys, strict=True):
        uniform = torch.rand(x.shape, generator=DRAWS.stream(key, purpose)).double().numpy()
        kept = x * (uniform < density)
        if rescale == "inverse" and density > 0:
            kept = kept / density
        if rescale == "l1":
            left = abs(kept).sum()
            kept = kept * (abs(x).sum() / left if left > 0 else 0)
        yield kept


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("density", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
def test_summed_equals_the_formula(name, density, rescale):
    stack = CASES[name]
    deltas = [B @ A for A, B, _, _ in plain(stack)]

    merged = Dare(density=density, rescale=rescale, scale=0.5).merge(stack, DRAWS)

    left = dropped(stack, "dare delta", deltas, density, rescale)
    wanted = sum(0.5 * w * x for x, (_, _, w, _) in zip(left, plain(stack), strict=True))
    assert_equal(merged.matrix, wanted)


@pytest.mark.parametrize("name", CASES)
def test_biases_follow_the_same_rule(name):
    stack = CASES[name]

    merged = Dare(density=0.5, scale=1.5).merge_bias(stack, DRAWS)

    left = dropped(stack, "dare bias", [b for *_, b in plain(stack)], 0.5, "inverse")
    wanted = sum(1.5 * w * x for x, (_, _, w, _) in zip(left, plain(stack), strict=True))
    assert_equal(merged, wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sign": "nonnegative", "vote": "weighted", "combine": "sum"},
        {"sign": "drop", "divide": "weights"},
    ],
)
def test_with_nothing_dropped_ties_is_ties_with_nothing_trimmed(name, options):
    merged = Dare(density=1, then="ties", **options).merge(CASES[name], DRAWS)

    assert_equal(merged.matrix, as_array(Ties(density=1, **options).merge(CASES[name], DRAWS)))


def test_ties_elects_signs_among_what_was_not_dropped():
    stack = random_stack((1, 1), d_in=30, d_out=30)
    stack.A[1], stack.B[1] = stack.A[0], -2 * stack.B[0]
    first, second = dropped(
        stack, "dare delta", [x.double().numpy() for x in stack.deltas()], 0.5, "none"
    )

    merged = Dare(density=0.5, then="ties", rescale="none").merge(stack, DRAWS)

    # The second adapter is louder wherever it is left.
    wanted = second.copy()
    wanted[second == 0] = first[second == 0]
    assert_equal(merged.matrix, wanted)


def test_the_expectation_is_the_sum():
    stack = random_stack((2, 2), d_in=4, d_out=3, bias=False)

    mean = (
        sum(Dare(density=0.5).merge(stack, Draws(seed, "layer")).matrix for seed in range(4000))
        / 4000
    )

    # Each entry has a deviation of |delta| / sqrt(4000) = 1.6 % of its inputs; 5 of them.
    allowed = 0.08 * stack.deltas().abs().sum(0)
    assert ((mean - stack.deltas().sum(0)).abs() <= allowed).all()


def test_factors_drop_with_masks_of_their_own():
    stack = random_stack((3, 3), d_in=20, d_out=10, scalings=[2.0, 0.5], weights=[1.0, -0.3])
    scaling = [2.0, 0.5]

    merged = Dare(density=0.5, space="factors").merge(stack, DRAWS)

    A = dropped(stack, "dare A", [A for A, *_ in plain(stack)], 0.5, "inverse")
    raw_B = [B / s for (_, B, _, _), s in zip(plain(stack), scaling, strict=True)]
    B = dropped(stack, "dare B", raw_B, 0.5, "inverse")
    roots = [2.0**0.5, 0.15**0.5]
    assert merged.rank == 3
    assert_equal(merged.A, sum(x * c for x, c in zip(A, [roots[0], -roots[1]], strict=True)))
    assert_equal(merged.B, sum(x * c for x, c in zip(B, roots, strict=True)))
    assert "cross terms" in Dare(space="factors").cautions()[0]
    assert "equal ranks" in Dare(space="factors").refusal((1, 2))


def test_draws_depend_on_seed_layer_and_adapter_only():
    both = random_stack((2, 2), d_in=20, d_out=20, bias=False)
    dare = Dare(density=0.5)

    again = dare.merge(both, DRAWS).matrix

    assert torch.equal(dare.merge(both, DRAWS).matrix, again)
    assert not torch.equal(dare.merge(both, Draws(8, "layer")).matrix, again)
    assert not torch.equal(dare.merge(both, Draws(7, "other")).matrix, again)
    assert dare.seeded() and not Dare(density=1).seeded()


@pytest.mark.parametrize(
    "options",
    [
        {"sign": "drop"},
        {"combine": "sum"},
        {"then": "ties", "combine": "sum", "divide": "weights"},
        {"then": "ties", "space": "factors", "divide": "weights"},
    ],
)
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ValidationError, match=r"leave it out|means nothing"):
        Dare(**options)
