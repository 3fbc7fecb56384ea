import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack, LoraModule


def module(r, scaling=1.0, dtype=torch.float32, bias=False, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return LoraModule(
        A=torch.randn(r, 6, generator=rng).to(dtype),
        B=torch.randn(5, r, generator=rng).to(dtype),
        scaling=scaling,
        bias=torch.randn(5, generator=rng).to(dtype) if bias else None,
    )


def test_a_stack_holds_exactly_the_deltas_of_its_modules():
    modules = [module(2, 0.5), module(4, 2.0, seed=1), module(3, 1.0, seed=2)]

    stack = FactorStack.of("layer", modules, [1.0, 2.0, 3.0])

    assert stack.A.shape == (3, 4, 6) and stack.B.shape == (3, 5, 4)
    for i, one in enumerate(modules):
        torch.testing.assert_close(stack.deltas()[i], one.delta(), rtol=1e-6, atol=1e-6)
    assert stack.ranks == (2, 4, 3) and stack.scalings == (0.5, 2.0, 1.0)


def test_padding_is_zero():
    stack = FactorStack.of("layer", [module(1), module(3)], [1.0, 1.0])

    assert not stack.A[0, 1:].any() and not stack.B[0, :, 1:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_unlike_types_become_float32_without_promoting_each_other(dtype):
    modules = [module(2), module(2, dtype=dtype, seed=1)]

    stack = FactorStack.of("layer", modules, [1.0, 1.0])

    assert stack.A.dtype == stack.B.dtype == torch.float32
    assert torch.equal(stack.A[1], modules[1].A.float())


def test_stacking_leaves_the_modules_alone():
    one = module(2, 3.0, bias=True)
    before = [one.A.clone(), one.B.clone(), one.bias.clone()]

    FactorStack.of("layer", [one], [1.0])

    assert all(map(torch.equal, before, [one.A, one.B, one.bias]))


def test_a_bias_is_scaled_like_its_weight_and_zero_where_there_is_none():
    one, other = module(2, 3.0, bias=True), module(2)

    stack = FactorStack.of("layer", [one, other], [1.0, 1.0])

    torch.testing.assert_close(stack.bias[0], 3.0 * one.bias)
    assert not stack.bias[1].any()
    assert FactorStack.of("layer", [other], [1.0]).bias is None


def test_the_total_weight_counts_absent_adapters():
    stack = FactorStack.of("layer", [module(2)], [0.5], absent=[2.0])

    assert stack.total_weight() == 2.5


def test_streams_depend_on_every_part_of_their_name_and_on_nothing_else():
    def draw(seed=0, layer="x", adapter="a", purpose="p"):
        return torch.rand(4, generator=Draws(seed, layer).stream(adapter, purpose))

    assert torch.equal(draw(), draw())
    for other in (draw(seed=1), draw(layer="y"), draw(adapter="b"), draw(purpose="q")):
        assert not torch.equal(draw(), other)
