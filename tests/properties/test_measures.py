"""What measures of a layer must not depend on, for any adapters."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from copamerge.analyzing.layer import measured
from copamerge.analyzing.rows import layer_row
from copamerge.core.places import Place
from strategies import random_stack, stack_arguments

NEAR = 1e-8
SIZES = st.sampled_from([0.25, 0.5, 2.0, 64.0])


def row(stack):
    found = measured(stack, range(stack.n), [])
    totals = [x.energy for x in found.inputs]
    return layer_row(found, Place("", stack.layer), totals, (1, 2, 4), 45.0)


def of_deltas(row):
    """What depends on the deltas alone."""
    adapters = [(x.norm, x.sigma, x.stable_rank, x.effective_rank) for x in row.adapters]
    pairs = [
        (p.cosine, p.input_overlap, p.output_overlap, p.input_shared, p.output_shared)
        for p in row.pairs
    ]
    return adapters, pairs, row.energy, row.cancelled


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if one is None or other is None:
        return one is other
    return one == pytest.approx(other, rel=NEAR, abs=NEAR)


@given(stack_arguments(), st.data())
def test_other_factors_of_the_same_deltas_change_nothing(arguments, data):
    stack = random_stack(**arguments)
    A, B = stack.A.clone(), stack.B.clone()
    for i, r in enumerate(stack.ranks):
        order = torch.tensor(data.draw(st.permutations(range(r))))
        # Powers of two: the other factors are exact in float32.
        size = torch.tensor([data.draw(SIZES) * data.draw(st.sampled_from([1, -1]))] * r)
        A[i, :r], B[i, :, :r] = A[i, order] / size[:, None], B[i][:, order] * size

    assert same(of_deltas(row(stack)), of_deltas(row(replace(stack, A=A, B=B))))


@given(stack_arguments(), SIZES)
def test_a_larger_adapter_is_larger_and_nothing_else(arguments, c):
    stack = random_stack(**arguments)
    B = stack.B.clone()
    B[0] *= c

    before, after = row(stack), row(replace(stack, B=B))

    assert same(after.adapters[0].norm, c * before.adapters[0].norm)
    for one, other in zip(before.adapters, after.adapters, strict=True):
        assert same(one.stable_rank, other.stable_rank)
        assert same(one.effective_rank, other.effective_rank)
        assert same(one.S_mean, other.S_mean)
        assert (one.B and one.B.shape) == (other.B and other.B.shape)
    for one, other in zip(before.pairs, after.pairs, strict=True):
        fields = ("cosine", "cosine_A", "input_overlap", "output_overlap", "sign_conflict")
        assert all(same(getattr(one, key), getattr(other, key)) for key in fields)


@given(stack_arguments())
def test_the_other_way_round_is_the_same(arguments):
    stack = random_stack(**arguments)
    back = list(reversed(range(stack.n)))
    turned = replace(
        stack,
        A=stack.A[back],
        B=stack.B[back],
        weights=stack.weights[back],
        ranks=tuple(stack.ranks[i] for i in back),
        scalings=tuple(stack.scalings[i] for i in back),
        bias=None,
    )

    one, other = row(stack), row(turned)

    n = stack.n
    assert same([x.sigma for x in one.adapters], [x.sigma for x in reversed(other.adapters)])
    assert same(one.energy, other.energy) and same(one.cancelled, other.cancelled)
    assert same(one.disagreement, other.disagreement)
    pairs = {(p.one, p.other): p for p in other.pairs}
    for pair in one.pairs:
        twin = pairs[n - 1 - pair.other, n - 1 - pair.one]
        assert same(pair.cosine, twin.cosine) and same(pair.sign_conflict, twin.sign_conflict)
        assert same(pair.output_overlap, twin.output_overlap)


@given(stack_arguments())
def test_every_number_is_in_its_range(arguments):
    found = row(random_stack(**arguments))

    for one in found.adapters:
        rank = len(one.sigma)
        for value in (one.stable_rank, one.effective_rank):
            assert value is None or 1 - NEAR <= value <= rank + NEAR
        assert one.S_mean >= 0
    for pair in found.pairs:
        assert pair.cosine is None or -1 <= pair.cosine <= 1
        for value in (pair.input_overlap, pair.output_overlap, pair.sign_conflict):
            assert value is None or 0 <= value <= 1 + NEAR
    for value in (found.cancelled, found.disagreement, *(found.energy or {}).values()):
        assert value is None or 0 <= value <= 1
