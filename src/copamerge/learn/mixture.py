"""Adapters beside a base's weights, with coefficients that can change and be differentiated."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from copamerge.core.adapter import Kind
from copamerge.core.lora import FactorStack
from copamerge.errors import AdapterError, first_few
from copamerge.merging import Plan
from copamerge.merging.walk import not_finite

Coefficients = Callable[[str], Float[Tensor, " n"]]
"""Layer -> the coefficient of each adapter that has it, in recipe order."""
Change = Callable[[FactorStack, Tensor, Tensor], Tensor]
"""(stack, coefficients, x) -> what is added to the layer's output for its input x."""


def weighted_sum(
    stack: FactorStack, c: Float[Tensor, " n"], x: Float[Tensor, "*dims d_in"]
) -> Float[Tensor, "*dims d_out"]:
    """`sum_n c_n B_n A_n x`: factors side by side, never a matrix of the layer's size."""
    n, r, d_in = stack.A.shape
    inner = (x @ stack.A.reshape(n * r, d_in).mT) * c.repeat_interleave(r)
    out: Tensor = inner @ stack.B.movedim(1, 2).reshape(n * r, -1)
    return out if stack.bias is None else out + c @ stack.bias


def sum_of_factors(
    stack: FactorStack, c: Float[Tensor, " n"], x: Float[Tensor, "*dims d_in"]
) -> Float[Tensor, "*dims d_out"]:
    """`(sum_n c_n B_n) (sum_n c_n A_n) x`: quadratic in the coefficients, with cross terms."""
    A, B = torch.tensordot(c, stack.A, 1), torch.tensordot(c, stack.B, 1)
    out: Tensor = (x @ A.mT) @ B.mT
    return out if stack.bias is None else out + c @ stack.bias


def stacks_of(plan: Plan, device: torch.device) -> dict[str, FactorStack]:
    """Every layer's factors in memory, scaling folded in.

    Raises:
        AdapterError: full tensors beside the factors, layers that are not linear, NaN or infinity
            in an input; all of it.
    """
    problems = []
    for adapter in plan.adapters:
        if adapter.saved:
            some = ", ".join(sorted(adapter.saved)[:3])
            problems.append(
                f"{adapter.label}: holds full tensors beside its factors ({some}), which have no "
                "coefficient to learn; use an adapter without modules_to_save"
            )
        other = [name for name, x in adapter.layers.items() if x.kind is not Kind.LINEAR]
        problems += first_few(
            [
                f"{adapter.label}: layer {name!r} is an adapted {adapter.layers[name].kind.value}; "
                "coefficients are learnt for linear layers only"
                for name in sorted(other)
            ],
            adapter.label,
            "more layers that are not linear",
        )
        broken = [line for name in adapter.layers for line in not_finite(adapter, name)]
        problems += first_few(broken, adapter.label, "more tensors like these")
    if problems:
        raise AdapterError(problems)
    return {
        layer.name: FactorStack.of(
            layer.name,
            [plan.adapters[i].module(layer.name).to(device) for i in layer.present],
            layer.weights,
        )
        for layer in plan.layers
    }


@contextmanager
def hung(
    model: nn.Module,
    stacks: Mapping[str, FactorStack],
    change: Change,
    coefficients: Coefficients,
) -> Iterator[None]:
    """Inside the block each layer's output has its `change` added; the weights stay untouched.

    Coefficients are asked for at every forward pass, so gradients reach whatever they come from.
    """
    modules = dict(model.named_modules())

    def hook_of(stack: FactorStack) -> Callable[[Any, tuple[Any, ...], Tensor], Tensor]:
        def hook(_: Any, given: tuple[Any, ...], out: Tensor) -> Tensor:
            x = given[0].to(stack.A.dtype)
            return out + change(stack, coefficients(stack.layer), x).to(out.dtype)

        return hook

    handles = [
        modules[name].register_forward_hook(hook_of(stack)) for name, stack in stacks.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
