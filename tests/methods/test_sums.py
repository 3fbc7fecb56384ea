"""Task arithmetic, the mean, and PEFT's linear: three things called a sum."""

import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.errors import RecipeError
from copamerge.methods.factor_linear import FactorLinear
from copamerge.methods.mean import Mean
from copamerge.methods.task_arithmetic import TaskArithmetic
from strategies import CASES, LIKE_RANKS, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def weighted_sum(stack):
    return sum(w * B @ A for A, B, w, _ in plain(stack))


def weighted_bias(stack):
    return sum(w * b for _, _, w, b in plain(stack))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scale", [1.0, 0.3, 0.0])
def test_task_arithmetic_is_the_weighted_sum(name, scale):
    stack = CASES[name]

    merged = TaskArithmetic(scale=scale).merge(stack, DRAWS)

    assert merged.rank == sum(stack.ranks)
    assert_equal(as_array(merged), scale * weighted_sum(stack))
    bias = TaskArithmetic(scale=scale).merge_bias(stack, DRAWS)
    assert_equal(bias, scale * weighted_bias(stack))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", [Mean(), TaskArithmetic(normalize=True)])
def test_means_divide_by_all_weights(name, method):
    stack = CASES[name]
    total = float(stack.weights.sum()) + sum(stack.absent)

    merged = method.merge(stack, DRAWS)

    assert merged.rank == sum(stack.ranks)
    assert_equal(as_array(merged), weighted_sum(stack) / total)
    assert_equal(method.merge_bias(stack, DRAWS), weighted_bias(stack) / total)


@pytest.mark.parametrize("method", [Mean(), TaskArithmetic(normalize=True)])
def test_weights_that_sum_to_zero_have_no_mean(method):
    stack = random_stack((2, 2), weights=[1.0, -1.0])

    with pytest.raises(RecipeError, match="sum to 0"):
        method.merge(stack, DRAWS)
    with pytest.raises(RecipeError, match="sum to 0"):
        method.merge_bias(stack, DRAWS)


def test_concatenation_copies_a_only_where_padding_must_go():
    like, unlike = random_stack((2, 2)), random_stack((3, 1))

    merged = TaskArithmetic().merge(like, DRAWS)

    assert merged.A.data_ptr() == like.A.data_ptr()
    assert TaskArithmetic().merge(unlike, DRAWS).A.shape[0] == 4
    assert torch.equal(merged.B, torch.cat(list(like.B), dim=1))


# --- PEFT's linear ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIKE_RANKS)
def test_factor_linear_is_a_product_of_sums(name):
    stack = LIKE_RANKS[name]
    A_m = B_m = 0
    for (A, B, w, _), s in zip(plain(stack), stack.scalings, strict=True):
        root = abs(w * s) ** 0.5
        A_m = A_m + (root if w * s >= 0 else -root) * A
        B_m = B_m + root * B / s

    merged = FactorLinear().merge(stack, DRAWS)

    assert merged.rank == stack.ranks[0]
    assert_equal(as_array(merged), B_m @ A_m)
    assert_equal(FactorLinear().merge_bias(stack, DRAWS), weighted_bias(stack))


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")
def test_factor_linear_equals_peft(tmp_path):
    import peft

    scalings = [2.0, 0.5, 1.0]
    weights = [1.0, -0.5, 0.3]
    stack = random_stack((4, 4, 4), d_in=9, d_out=8, weights=weights, scalings=scalings, bias=False)
    model = torch.nn.Sequential(torch.nn.Linear(9, 8, bias=False))
    for i, s in enumerate(scalings):
        config = peft.LoraConfig(r=4, lora_alpha=4 * s, target_modules=["0"])
        if i == 0:
            model = peft.get_peft_model(model, config, adapter_name="0")
        else:
            model.add_adapter(str(i), config)
        layer = model.base_model.model[0]
        layer.lora_A[str(i)].weight.data.copy_(stack.A[i])
        layer.lora_B[str(i)].weight.data.copy_(stack.B[i] / s)

    model.add_weighted_adapter(list("012"), weights, "merged", combination_type="linear")

    wanted = layer.get_delta_weight("merged").detach().double().numpy()
    assert_equal(as_array(FactorLinear().merge(stack, DRAWS)), wanted, 1e-5)


def test_factor_linear_of_copies_is_n_times_the_adapter():
    # methods.md 2.21: N copies with w = 1/N give N tau, not tau.
    stack = random_stack((2, 2, 2), weights=[1 / 3] * 3)
    stack.A[:], stack.B[:] = stack.A[:1].clone(), stack.B[:1].clone()

    merged = FactorLinear().merge(stack, DRAWS)

    [(A, B, _, _), *_] = plain(stack)
    assert_equal(as_array(merged), 3 * B @ A)


def test_factor_linear_needs_equal_ranks_and_warns():
    assert "2, 3" in FactorLinear().refusal((2, 3))
    assert FactorLinear().refusal((2, 2)) is None
    assert "cross terms" in FactorLinear().cautions()[0]
