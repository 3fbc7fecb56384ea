import numpy as np
import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.methods.pcb import Pcb
from strategies import CASES, LIKE_RANKS, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def oracle(tensors, weights, ratio=0.1, clamp=1e-4, scale=1.0):
    """PCB_merge of pcb-merging.py for one tensor, with our guards, in float64."""
    shape = tensors[0].shape
    kept = [(x.flatten(), w) for x, w in zip(tensors, weights, strict=True) if x.any()]
    if not kept or ratio == 0:
        return np.zeros(shape)
    n, size = len(kept), kept[0][0].size
    total = sum(x for x, _ in kept)
    above, below = np.zeros(size), np.zeros(size)
    for x, w in kept:
        ordered = sorted(np.abs(x))
        low = ordered[int(size * clamp)]
        high = ordered[max(int(size * (1 - clamp) - 1), int(size * clamp))]
        clamped = np.sign(x) * np.clip(np.abs(x), low, high)
        importance = np.exp(n * (min_max(np.abs(clamped)) ** 2 - 1))
        score = importance * np.tanh(x * total)
        top = max(score)
        least = sorted(score)[min(int(size * (1 - ratio)), size - 1)]
        counts = np.clip(score, least, top)
        counts = (
            (score >= least).astype(float) if top == least else (counts - least) / (top - least)
        )
        above += w * counts * clamped
        below += counts
    return scale * (above / np.maximum(below, 1e-12)).reshape(shape)


def min_max(x):
    return np.ones_like(x) if x.max() == x.min() else (x - x.min()) / (x.max() - x.min())


# tanh saturates in float32 before float64, and rounding orders equal scores: no oracle there.
CLEAR = [name for name in CASES if not name.startswith(("exact", "adapter and", "copies"))]


@pytest.mark.parametrize("name", CLEAR)
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_equals_the_formula(name, ratio):
    stack = CASES[name]
    deltas = [B @ A for A, B, _, _ in plain(stack)]

    merged = Pcb(ratio=ratio, scale=1.2).merge(stack, DRAWS)

    wanted = oracle(deltas, stack.weights.tolist(), ratio=ratio, scale=1.2)
    # 1e-4: scores near the threshold are differences of float32 exponentials.
    assert_equal(merged.matrix, wanted, 1e-4)


@pytest.mark.parametrize("name", CLEAR)
def test_clamping_and_biases_equal_the_formula(name):
    stack, options = CASES[name], {"ratio": 0.5, "clamp": 0.1, "scale": 0.8}

    merged = Pcb(**options).merge(stack, DRAWS)
    bias = Pcb(**options).merge_bias(stack, DRAWS)

    weights = stack.weights.tolist()
    wanted = oracle([B @ A for A, B, _, _ in plain(stack)], weights, **options)
    assert_equal(merged.matrix, wanted, 1e-4)
    assert_equal(bias, oracle([b for *_, b in plain(stack)], weights, **options), 1e-4)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("ratio", [0.0, 0.1, 1.0])
def test_results_are_always_finite(name, ratio):
    assert Pcb(ratio=ratio).merge(CASES[name], DRAWS).matrix.isfinite().all()


def test_one_adapter_comes_back_on_its_top_entries():
    stack = random_stack((4,), d_in=20, d_out=20)

    merged = Pcb(ratio=0.1, clamp=0).merge(stack, DRAWS).matrix

    delta = stack.deltas()[0]
    kept = merged != 0
    # The entry at the quantile itself scores 0, so 400 - 360 - 1 are left; with a clamp of 0
    # only the largest is cut, to the one before it, as in the authors' code.
    assert int(kept.sum()) == 39
    largest = delta.abs() == delta.abs().max()
    torch.testing.assert_close(merged[kept & ~largest], delta[kept & ~largest])
    assert delta[kept].abs().min() > delta[~kept].abs().max()


def test_equal_magnitudes_count_fully():
    stack = random_stack((1,), d_in=4, d_out=3)
    stack.A[:], stack.B[:] = 1.0, torch.tensor([0.5, -0.5, 0.5])[:, None]

    torch.testing.assert_close(Pcb().merge(stack, DRAWS).matrix, stack.deltas()[0])


def test_many_adapters_do_not_overflow():
    # exp(n) of the formula is beyond float32 from n = 89 on.
    stack = random_stack((1,) * 100, d_in=6, d_out=5, bias=False)

    merged = Pcb(ratio=0.5).merge(stack, DRAWS)

    wanted = oracle([B @ A for A, B, *_ in _plain(stack)], [1.0] * 100, ratio=0.5)
    assert_equal(merged.matrix, wanted, 1e-4)


def _plain(stack):
    return [(A.double().numpy(), B.double().numpy()) for A, B in zip(stack.A, stack.B, strict=True)]


@pytest.mark.parametrize("name", [name for name in CLEAR if name in LIKE_RANKS])
def test_on_factors_the_rule_runs_on_each(name):
    stack = LIKE_RANKS[name]
    roots = [abs(w * s) ** 0.5 for w, s in zip(stack.weights.tolist(), stack.scalings, strict=True)]
    signed = [c if w >= 0 else -c for c, w in zip(roots, stack.weights.tolist(), strict=True)]
    raw_B = [B / s for (_, B, _, _), s in zip(plain(stack), stack.scalings, strict=True)]

    merged = Pcb(space="factors", ratio=0.5).merge(stack, DRAWS)

    assert merged.rank == stack.ranks[0]
    assert_equal(merged.A, oracle([A for A, *_ in plain(stack)], signed, ratio=0.5), 1e-4)
    assert_equal(merged.B, oracle(raw_B, roots, ratio=0.5), 1e-4)
    assert "cross terms" in Pcb(space="factors").cautions()[0]
    assert "equal ranks" in Pcb(space="factors").refusal((1, 2))
